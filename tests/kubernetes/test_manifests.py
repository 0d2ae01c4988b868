"""The manifests under deploy/: what they become, and that a cluster would take them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from control_plane.config.loading import load
from control_plane.config_file import DiskFiles
from control_plane.kubernetes.election import LEASE_NAME
from control_plane.kubernetes.watched import kubernetes_services
from tests.kubernetes.manifests import DEPLOY, GOLDEN, KUBERNETES, OVERLAYS, documents, kustomized

Manifest = dict[str, Any]
FULL = ["kind", "production"]


def golden(name: str) -> list[Manifest]:
    return documents((GOLDEN / f"{name}.yaml").read_text(encoding="utf-8"))


def of_kind(name: str, kind: str) -> list[Manifest]:
    return [one for one in golden(name) if one["kind"] == kind]


def pods(name: str) -> Iterator[tuple[str, Manifest]]:
    for deployment in of_kind(name, "Deployment"):
        yield deployment["metadata"]["name"], deployment["spec"]["template"]["spec"]


def containers(name: str) -> Iterator[tuple[str, Manifest]]:
    for _, pod in pods(name):
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            yield container["name"], container


@pytest.mark.parametrize("name", sorted(OVERLAYS))
def test_kustomize_output(name: str) -> None:
    """A change of the manifests shows in review as what the cluster will get (make golden rewrites it)."""
    assert (GOLDEN / f"{name}.yaml").read_text(encoding="utf-8") == kustomized(OVERLAYS[name])


def test_there_is_no_stale_golden_file() -> None:
    """One per overlay."""
    assert sorted(OVERLAYS) == sorted(path.stem for path in GOLDEN.iterdir())


@pytest.mark.parametrize("name", sorted(OVERLAYS))
def test_every_manifest_fits_its_schema(name: str) -> None:
    """Strictly: a misspelt field would be ignored by the API server and missed by everybody."""
    for manifest in golden(name):
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_the_schema_check_sees_a_misspelt_field() -> None:
    """The check itself works."""
    manifest = of_kind("kind", "Deployment")[0]
    manifest["spec"]["replica"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", sorted(OVERLAYS))
def test_containers_are_locked_down(name: str) -> None:
    """Non-root, read-only root, no capabilities, bounded memory: what the `restricted` standard asks for, and more."""
    for _, pod in pods(name):
        assert pod["securityContext"]["runAsNonRoot"]
        assert {"type": "RuntimeDefault"} == pod["securityContext"]["seccompProfile"]
    for _, container in containers(name):
        assert {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        } == container["securityContext"]
        assert {"cpu", "memory"} == container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("name", FULL)
def test_only_the_control_plane_has_a_token(name: str) -> None:
    """Envoy and the callouts never talk to the API server."""
    mounted = [deployment for deployment, pod in pods(name) if pod.get("automountServiceAccountToken") is not False]

    assert ["control-plane"] == mounted


@pytest.mark.parametrize("name", FULL)
def test_rights_are_the_least(name: str) -> None:
    """Nothing cluster-wide, no wildcard, no Secret that is not named."""
    assert [] == of_kind(name, "ClusterRole") + of_kind(name, "ClusterRoleBinding")
    for role in of_kind(name, "Role"):
        for rule in role["rules"]:
            assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
            assert rule["resources"] != ["secrets"] or rule.get("resourceNames")


@pytest.mark.parametrize("name", FULL)
def test_rights_cover_what_the_configuration_needs(name: str) -> None:
    """Each namespace that gateway.yaml names can be read; the ConfigMap and the Lease are those of the process."""
    roles = {(role["metadata"]["namespace"], role["metadata"]["name"]): role for role in of_kind(name, "Role")}
    overlay = OVERLAYS[name] / "gateway.yaml"
    file = overlay if overlay.exists() else DEPLOY / "base" / "gateway.yaml"
    gateway = load(str(file), DiskFiles(), {}).gateway
    assert gateway is not None
    for namespace in {reference.namespace for _, reference in kubernetes_services(gateway)}:
        rules = roles[namespace, "meetinity-gateway-discovery"]["rules"]
        granted = {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}
        assert {(r, v) for r in ("services", "endpointslices") for v in ("list", "watch")} <= granted
    own = roles["meetinity-gateway", "control-plane"]["rules"]
    assert {"gateway", LEASE_NAME} == {one for rule in own for one in rule.get("resourceNames", ())}


@pytest.mark.parametrize("name", FULL)
def test_every_reference_between_manifests_resolves(name: str) -> None:
    """Selectors, target ports, ConfigMap keys and budgets fit the pods they are meant for."""
    templates = [one["spec"]["template"] for one in of_kind(name, "Deployment")]
    for service in of_kind(name, "Service"):
        selected = [one for one in templates if service["spec"]["selector"].items() <= _labels(one).items()]
        assert len(selected) == 1, service["metadata"]["name"]
        ports = {port["name"] for c in selected[0]["spec"]["containers"] for port in c["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    deployments = {one["metadata"]["name"] for one in of_kind(name, "Deployment")}
    for scaler in of_kind(name, "HorizontalPodAutoscaler"):
        assert scaler["spec"]["scaleTargetRef"]["name"] in deployments
    assert ["gateway"] == [one["metadata"]["name"] for one in of_kind(name, "ConfigMap")]


def _labels(template: Manifest) -> dict[str, str]:
    found: dict[str, str] = template["metadata"]["labels"]
    return found


@pytest.mark.parametrize(
    "file",
    [
        *DEPLOY.glob("base/gateway.yaml"),
        *DEPLOY.glob("overlays/*/gateway.yaml"),
        *DEPLOY.glob("sidecar/*/*-sidecar.yaml"),
    ],
)
def test_shipped_configurations_are_valid(file: Path) -> None:
    """`gatewayctl validate` finds no fault in them."""
    assert () == load(str(file), DiskFiles(), {}).faults


def test_the_control_plane_has_two_replicas_and_a_budget() -> None:
    """One may always be gone."""
    found = {one["metadata"]["name"]: one for one in of_kind("production", "Deployment")}
    assert found["control-plane"]["spec"]["replicas"] >= 2
    budgets = {one["metadata"]["name"] for one in of_kind("production", "PodDisruptionBudget")}
    assert {"control-plane", "envoy", "ext-authz", "ext-proc"} == budgets


def test_termination_takes_longer_than_draining() -> None:
    """The kubelet must not kill an Envoy that still answers."""
    for name, pod in pods("production"):
        if name != "envoy":
            continue
        command = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert float(command[command.index("--limit") + 1]) < pod["terminationGracePeriodSeconds"]


def test_the_kind_cluster_maps_the_port_of_the_overlay() -> None:
    """The tests reach the gateway at the port that kind.yaml opens."""
    cluster = yaml.safe_load((DEPLOY.parent / "kind.yaml").read_text(encoding="utf-8"))
    (envoy,) = [one for one in of_kind("kind", "Service") if one["metadata"]["name"] == "envoy"]

    assert cluster["nodes"][0]["extraPortMappings"][0]["containerPort"] == envoy["spec"]["ports"][0]["nodePort"]


def test_the_control_plane_of_a_sidecar_serves_its_configuration() -> None:
    """Beside the edge's, from one ConfigMap; the sidecar asks for the gateway of that name."""
    manifests = documents(kustomized(OVERLAYS["production"].parent / "sidecars"))
    (deployment,) = [
        one for one in manifests if (one["kind"], one["metadata"]["name"]) == ("Deployment", "control-plane")
    ]
    (config_map,) = [one for one in manifests if one["kind"] == "ConfigMap"]
    environment = {
        one["name"]: one.get("value") for one in deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    (sidecar,) = [container for name, container in containers("sidecar") if name == "envoy"]
    asked = {one["name"]: one.get("value") for one in sidecar["env"]}

    assert "GATEWAY_CONFIG" not in environment
    assert "/var/lib/gateway/config" == environment["GATEWAY_CONFIG_DIR"]
    assert {"gateway.yaml", "users-sidecar.yaml"} == config_map["data"].keys()
    assert yaml.safe_load(config_map["data"]["users-sidecar.yaml"])["name"] == asked["GATEWAY_NAME"]
    assert "sidecar" == asked["GATEWAY_MODE"]
