#!/bin/sh
# Generates the Python code and type stubs of the project's own .proto files (make protos).
set -eu
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
"$python" -m grpc_tools.protoc -I. --python_out=. --pyi_out=. protos/gateway/policy/v1/*.proto
