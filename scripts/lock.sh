#!/bin/sh
# Pins what pyproject.toml asks for: versions and hashes, no addresses (make lock).
set -eu
cd "$(dirname "$0")/.."
pin() {
    output=$1
    shift
    .venv/bin/pip-compile --quiet --allow-unsafe --strip-extras --generate-hashes --no-emit-index-url \
        --no-emit-trusted-host --no-emit-find-links --no-header --no-annotate "$@" --output-file "$output"
}

pin requirements/dev.lock --extra test --extra dev pyproject.toml
pin requirements/runtime.lock pyproject.toml # what the images hold
for tool in audit browser docs k6 load; do
    pin "requirements/$tool.lock" "requirements/$tool.in"
done

# xds-protos ships an older copy of opentelemetry/proto: whichever of the two is installed last wins, so this one is
# installed once more, after everything else.
{
    echo "# From runtime.lock; installed again after it, over the older copy of these modules in xds-protos (make lock)."
    awk '/^opentelemetry-proto==/ {found = 1} found {print} found && !/\\$/ {exit}' requirements/runtime.lock
} >requirements/last.lock
