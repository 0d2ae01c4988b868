#!/bin/sh
# Makes a kind cluster, builds and loads the images, applies the kind overlay, runs tests/kubernetes against it, and removes
# the cluster again (make kind-test). KEEP=1 leaves it; NAME is the cluster's name. Needs docker and kind.
set -eu
cd "$(dirname "$0")/.."
name=${NAME:-meetinity-gateway}
logs=.gateway/kind
export KUBECONFIG="$PWD/.gateway/kind/kubeconfig"
kubectl=.venv/bin/kubectl

for program in docker kind; do
    command -v "$program" >/dev/null || { echo "kind-test: $program is missing" >&2; exit 1; }
done
mkdir -p "$logs"

collect() {
    "$kubectl" get pods,endpointslices,events -A -o wide >"$logs/cluster.log" 2>&1 || true
    for deployment in control-plane envoy ext-authz ext-proc; do
        "$kubectl" -n meetinity-gateway logs "deployment/$deployment" --all-pods --prefix --tail=500 \
            >"$logs/$deployment.log" 2>&1 || true
    done
}

finish() {
    status=$?
    [ "$status" -eq 0 ] || collect
    [ -n "${KEEP:-}" ] || kind delete cluster --name "$name" >/dev/null 2>&1 || true
    exit "$status"
}
trap finish EXIT

kind create cluster --name "$name" --config deploy/kind.yaml --wait 120s
for target in control-plane ext-authz ext-proc envoy; do
    docker build --quiet --target "$target" --tag "meetinity-gateway:$target" .
    kind load docker-image --name "$name" "meetinity-gateway:$target"
done
"$kubectl" apply -k deploy/kubernetes/overlays/kind
for deployment in control-plane ext-authz ext-proc envoy; do
    "$kubectl" -n meetinity-gateway rollout status "deployment/$deployment" --timeout 180s
done
for deployment in users events; do
    "$kubectl" -n meetinity rollout status "deployment/$deployment" --timeout 180s
done
GATEWAY_URL=${GATEWAY_URL:-http://127.0.0.1:30080} .venv/bin/python -m pytest tests/kubernetes -p no:randomly "$@"
