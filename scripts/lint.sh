#!/bin/sh
# Every check that runs no code of the project (make lint). All of them run; the exit status is 1 if one failed.
set -u
cd "$(dirname "$0")/.."
status=0

check() {
    name=$1
    shift
    if output=$("$@" 2>&1); then
        printf 'ok    %s\n' "$name"
    else
        printf 'FAIL  %s\n%s\n' "$name" "$output"
        status=1
    fi
}

# generated code is what protoc makes of the .proto files today
protos_are_fresh() {
    fresh=$(mktemp -d) || return 1
    .venv/bin/python -m grpc_tools.protoc -I. --python_out="$fresh" --pyi_out="$fresh" protos/gateway/policy/v1/*.proto &&
        diff -r -x '*.proto' -x __pycache__ protos/gateway "$fresh/protos/gateway"
    result=$?
    rm -rf "$fresh"
    [ $result -eq 0 ] || echo "run: make protos"
    return $result
}

no_envoy_package() { [ ! -e envoy/__init__.py ] || { echo "envoy/__init__.py hides the API package of xds-protos"; false; }; }

check "ruff format" .venv/bin/ruff format --check .
check "ruff" .venv/bin/ruff check .
check "mypy" .venv/bin/mypy
check "import rules" .venv/bin/lint-imports
check "codespell" .venv/bin/codespell
check "generated code" protos_are_fresh
check "Dockerfile" .venv/bin/hadolint Dockerfile
check "workflows" .venv/bin/actionlint
check "no package named envoy" no_envoy_package
exit $status
