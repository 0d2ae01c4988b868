#!/bin/sh
# Pins what pyproject.toml asks for: versions and hashes, no addresses (make lock).
set -eu
cd "$(dirname "$0")/.."
pin() {
    output=$1
    shift
    .venv/bin/pip-compile --quiet --allow-unsafe --strip-extras --generate-hashes --no-emit-index-url \
        --no-emit-trusted-host --no-emit-find-links --no-header --no-annotate "$@" --output-file "$output" pyproject.toml
}

pin requirements/dev.lock --extra test --extra dev
pin requirements/runtime.lock # what the images hold
