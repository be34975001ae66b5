#!/bin/sh
# Serve the flow in the current directory, or the one that Azure ML mounts for the deployment's `model`.
#   RAFT_CONNECTION, RAFT_MODEL   instead of those of the node ask_model
#   RAFT_CHECK=off                call the model for requests only, not before the start
#   PORT 8080   THREADS 64        one process holds the index; its threads wait for the model
#   WORKERS 1                     processes
#   EXTENSION local               connections from connections/*.yaml and the environment, as the image holds no key;
#             azureml             from the workspace; the default with PROMPTFLOW_RUN_MODE=serving
if [ -n "$AZUREML_MODEL_DIR" ]; then
  for folder in "$AZUREML_MODEL_DIR"/*/; do
    if [ -f "$folder/flow.dag.yaml" ]; then
      cd "$folder" && break
    fi
  done
fi
if [ "$PROMPTFLOW_RUN_MODE" = serving ]; then
  EXTENSION=${EXTENSION:-azureml}
fi
export EXTENSION="${EXTENSION:-local}"
exec python -m deploy.serve
