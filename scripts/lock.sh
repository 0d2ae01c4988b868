#!/bin/sh
# Pins what pyproject.toml asks for: versions and hashes, no addresses (make lock).
set -eu
cd "$(dirname "$0")/.."
exec .venv/bin/pip-compile --quiet --allow-unsafe --strip-extras --generate-hashes --no-emit-index-url \
    --no-emit-trusted-host --no-emit-find-links --no-header --no-annotate --extra test --extra dev \
    --output-file requirements/dev.lock pyproject.toml
