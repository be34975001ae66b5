#!/bin/sh
# Serve the flow in the current directory. One process holds the index; its threads wait for the model.
#   PORT 8080   THREADS 64   WORKERS 1
# Connections are first created from connections/*.yaml and the environment, as the image holds no key.
set -e
python -m tools connect
exec gunicorn --workers "${WORKERS:-1}" --threads "${THREADS:-64}" --timeout 300 \
  --bind "0.0.0.0:${PORT:-8080}" "promptflow.core._serving.app:create_app(extension_type='${EXTENSION:-local}')"
