#!/bin/sh
# Serve the model below MODELS, wherever in it: Azure ML mounts it as NAME/VERSION, with or without one more folder.
#   SERVED_NAME      what requests call it (raft-tuned)
#   SERVE_OPTIONS    further options of `vllm serve`
MODELS=${MODELS:-/models}
config=$(find -L "$MODELS" -name config.json | head -n 1)
if [ -z "$config" ]; then
  echo "error: there is no model below $MODELS: name one under model: in deployment.yaml" >&2
  exit 1
fi
# shellcheck disable=SC2086  # several options in one variable
exec vllm serve "$(dirname "$config")" --host 0.0.0.0 --port 8000 \
  --served-model-name "${SERVED_NAME:-raft-tuned}" $SERVE_OPTIONS
