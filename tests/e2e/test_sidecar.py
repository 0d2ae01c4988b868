"""An edge and a sidecar from one control plane: a request through both, each with its own configuration only."""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.e2e.echo import Echo, echo
from tests.e2e.fleet import ControlPlane, Document, Envoy, Fleet, fleet, write
from tests.e2e.load import load
from tests.e2e.waiting import until
from tests.golden.cases import CASES
from tests.ports import free_ports

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("sidecar"), pytest.mark.timeout(120)]

MATERIALS = CASES.parent / "materials"
SERVER = {"certificate_file": str(MATERIALS / "server.crt"), "private_key_file": str(MATERIALS / "server.key")}
CA = str(MATERIALS / "ca.crt")
PROVIDER = {"issuer": "i", "algorithms": ["HS256"], "secret": "x" * 32, "forward_claims": {"sub": "x-user-id"}}


@dataclass
class Mesh:
    """An edge Envoy -> a sidecar Envoy -> the service beside it, which calls another one through its sidecar."""

    folder: Path
    ships: Fleet
    control_plane: ControlPlane
    edge: Envoy
    sidecar: Envoy
    service: Echo
    port: int
    """Of the edge's listener; the sidecar's inbound and outbound ones follow."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def edge(port: int, **changed: object) -> Document:
    client = {"ca_file": CA, "sni": "api.example.com", **SERVER}
    return {
        "version": 1,
        "name": "edge",
        "listeners": [{"name": "public", "address": "127.0.0.1", "port": port}],
        "services": {"app": {"endpoints": [{"address": "127.0.0.1", "port": port + 1}], "tls": client}},
        "auth": {"jwt": {"main": PROVIDER}},
        "routes": [{"name": "app", "match": {"path_prefix": "/"}, "auth": "none", "service": "app", **changed}],
    }


def sidecar(port: int, local: int, elsewhere: int, **changed: object) -> Document:
    return {
        "version": 1,
        "name": "app-sidecar",
        "mode": "sidecar",
        "listeners": [
            {"name": "inbound", "address": "0.0.0.0", "port": port + 1, "tls": SERVER, "client_ca_file": CA},
            {"name": "outbound", "address": "127.0.0.1", "port": port + 2},
        ],
        "services": {
            "local": {"local": local},
            "elsewhere": {"endpoints": [{"address": "127.0.0.1", "port": elsewhere}]},
        },
        "auth": {"jwt": {"main": PROVIDER}},
        "defaults": {"auth": "none"},
        "routes": [
            {"name": "in", "listeners": ["inbound"], "match": {"path_prefix": "/"}, "service": "local", **changed},
            {"name": "out", "listeners": ["outbound"], "match": {"path_prefix": "/"}, "service": "elsewhere"},
        ],
    }


@contextmanager
def meshed(folder: Path, envoy_binary: str) -> Iterator[Mesh]:
    gateways = folder / "gateways"
    gateways.mkdir()
    port = free_ports(3)
    with echo(2) as service, fleet(folder, envoy_binary) as ships:
        write(gateways / "edge.yaml", edge(port))
        write(gateways / "sidecar.yaml", sidecar(port, *service.ports))
        control_plane = ships.control_plane("--config-dir", str(gateways))
        edge_envoy = ships.envoy(control_plane.port, cluster="edge")
        sidecar_envoy = ships.envoy(control_plane.port, cluster="app-sidecar")
        for envoy in (edge_envoy, sidecar_envoy):
            envoy.until_ready()
        mesh = Mesh(gateways, ships, control_plane, edge_envoy, sidecar_envoy, service, port)
        until(lambda: httpx.get(mesh.url).status_code == 200, "a request passes both")
        yield mesh


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory, envoy_binary: str) -> Iterator[Mesh]:
    """One for all; a test that changes it changes it back."""
    with meshed(tmp_path_factory.mktemp("mesh"), envoy_binary) as mesh:
        yield mesh


def headers_of(answer: httpx.Response) -> dict[str, str]:
    return dict(json.loads(answer.text)["headers"])


def test_a_request_passes_both_and_each_has_its_own_resources(mesh: Mesh) -> None:
    """The service hears who the client is; neither Envoy has anything of the other's."""
    answer = httpx.get(f"{mesh.url}/hello", headers={"x-user-id": "mallory", "x-forwarded-for": "6.6.6.6"})

    assert mesh.service.ports[0] == answer.json()["port"]
    assert "6.6.6.6" not in headers_of(answer)["x-forwarded-for"]
    assert "x-user-id" not in headers_of(answer)
    assert {"app"} == {name for name in mesh.edge.resources()["clusters"] if ":" not in name}
    assert {"local", "elsewhere"} == {name for name in mesh.sidecar.resources()["clusters"] if ":" not in name}
    assert {"public"} == mesh.edge.resources()["listeners"]
    assert {"inbound", "outbound"} == mesh.sidecar.resources()["listeners"]
    assert {"inbound", "outbound"} == mesh.sidecar.resources()["routes"]


def test_only_callers_with_a_certificate_are_let_in(mesh: Mesh) -> None:
    """And they are believed: identity headers, the client's address, the request id."""
    inbound = f"https://127.0.0.1:{mesh.port + 1}/"
    context = ssl.create_default_context(cafile=CA)
    context.check_hostname = False
    with pytest.raises(httpx.TransportError):
        httpx.get(inbound, verify=context)
    context.load_cert_chain(SERVER["certificate_file"], SERVER["private_key_file"])
    claimed = {"x-user-id": "alice", "x-forwarded-for": "198.51.100.7", "x-request-id": "given"}
    heard = headers_of(httpx.get(inbound, verify=context, headers=claimed))

    assert "alice" == heard["x-user-id"]
    assert "198.51.100.7" == heard["x-forwarded-for"].split(",")[0]
    assert "given" == heard["x-request-id"]


def test_the_edge_believes_nobody(mesh: Mesh) -> None:
    """What a client claims at the edge does not reach a service that believes its sidecar."""
    heard = headers_of(httpx.get(mesh.url, headers={"x-request-id": "given", "x-forwarded-for": "198.51.100.7"}))

    assert "given" != heard["x-request-id"]
    assert "198.51.100.7" not in heard["x-forwarded-for"]


def test_the_service_calls_others_through_its_sidecar(mesh: Mesh) -> None:
    """The outbound listener is on loopback."""
    assert mesh.service.ports[1] == httpx.get(f"http://127.0.0.1:{mesh.port + 2}/").json()["port"]


def test_edits_of_either_fail_no_request(mesh: Mesh) -> None:
    """Edge and sidecar change in turn, under load through both."""
    with load(mesh.url, clients=4, pause_s=0.01) as tally:
        tally.until_more(40)
        for number in range(6):
            prefix = f"/step-{number}"
            if number % 2:
                write(mesh.folder / "edge.yaml", edge(mesh.port, rewrite={"path_prefix": prefix}))
            else:
                changed = sidecar(mesh.port, *mesh.service.ports, rewrite={"path_prefix": prefix})
                write(mesh.folder / "sidecar.yaml", changed)
                write(mesh.folder / "edge.yaml", edge(mesh.port))
            until(lambda prefix=prefix: prefix in httpx.get(mesh.url).text, f"{prefix} is live", 10)  # type: ignore[misc]
            write(mesh.folder / "sidecar.yaml", sidecar(mesh.port, *mesh.service.ports))
            until(lambda: mesh.control_plane.status()["config"]["valid"], "both are valid")  # type: ignore[index]
        write(mesh.folder / "edge.yaml", edge(mesh.port))
        tally.until_more(40)

    assert {} == tally.failures


def test_an_unknown_gateway_is_told_the_names_there_are(mesh: Mesh) -> None:
    """It gets nothing, not even an empty answer, and the status shows it."""
    stranger = mesh.ships.envoy(mesh.control_plane.port, cluster="other")
    told = "node.cluster 'other' is no gateway of this control plane; there is: app-sidecar, edge"
    until(lambda: told in stranger.process.log.read_text(), "the stranger is told")

    assert {"clusters": set(), "listeners": set(), "routes": set()} == stranger.resources()
    until(lambda: "other" in json.dumps(mesh.control_plane.status()), "the status shows it")


def test_a_gateway_whose_file_is_gone_is_served_on(tmp_path: Path, envoy_binary: str) -> None:
    """Until an operator removes it; then new Envoys are refused and the running one keeps what it has."""
    with meshed(tmp_path, envoy_binary) as mesh:
        _lose_a_file(mesh)


def _lose_a_file(mesh: Mesh) -> None:
    (mesh.folder / "sidecar.yaml").unlink()
    until(lambda: not mesh.control_plane.status()["config"]["valid"], "the loss is noticed")  # type: ignore[index]
    assert 200 == httpx.get(mesh.url).status_code
    gateways = f"{mesh.control_plane.http}/api/gateways"
    assert 409 == httpx.delete(f"{gateways}/edge").status_code
    assert 204 == httpx.delete(f"{gateways}/app-sidecar").status_code
    assert 404 == httpx.delete(f"{gateways}/app-sidecar").status_code
    assert 200 == httpx.get(mesh.url).status_code
