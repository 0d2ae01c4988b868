"""A real Envoy on a protected xDS port: mTLS with certificates that change under it, and bearer tokens."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from control_plane.translate.bootstrap import MutualTls
from tests.certificates import Authority, Files
from tests.e2e.fleet import Document, Fleet, fleet, write
from tests.e2e.waiting import until
from tests.ports import free_port

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(120)]

VARIANTS = pytest.mark.parametrize(
    ("api_type", "per_type"), [("delta-grpc", False), ("grpc", False), ("delta-grpc", True), ("grpc", True)]
)


@pytest.fixture
def ships(tmp_path: Path, envoy_binary: str) -> Iterator[Fleet]:
    with fleet(tmp_path, envoy_binary) as found:
        yield found


def configuration(port: int, answer: str) -> Document:
    return {
        "version": 1,
        "name": "secured",
        "listeners": [{"name": "public", "address": "127.0.0.1", "port": port}],
        "routes": [
            {
                "name": "answer",
                "match": {"path": "/"},
                "auth": "none",
                "direct_response": {"status": 200, "body": answer},
            }
        ],
    }


def mutual(files: Files) -> MutualTls:
    return MutualTls(str(files.ca), str(files.certificate), str(files.key))


def answers(port: int, text: str) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/").text == text
    except httpx.TransportError:
        return False


@VARIANTS
def test_an_envoy_with_a_certificate_is_served_and_rotation_breaks_nothing(
    ships: Fleet, tmp_path: Path, api_type: str, per_type: bool
) -> None:
    """The server's certificate is replaced while the stream is open; a new Envoy connects with the new one."""
    authority, port = Authority(tmp_path), free_port()
    write(tmp_path / "gateway.yaml", configuration(port, "one"))
    files = authority.issue("server")
    replica = ships.control_plane(
        *("--config", str(tmp_path / "gateway.yaml"), "--xds-ca", str(files.ca)),
        *("--xds-cert", str(files.certificate), "--xds-key", str(files.key)),
    )
    client = mutual(authority.issue("envoy", "spiffe://tests/gateway/secured/envoy"))
    envoy = ships.envoy(replica.port, cluster="secured", api_type=api_type, per_type=per_type, mutual_tls=client)
    until(lambda: answers(port, "one"), "the first configuration", 20)
    connections = envoy.stat("cluster.xds.upstream_cx_total")

    renewed = authority.issue("renewed")
    shutil.copy(renewed.key, files.key)
    shutil.copy(renewed.certificate, files.certificate)
    write(tmp_path / "gateway.yaml", configuration(port, "two"))
    until(lambda: answers(port, "two"), "an edit on the open stream", 10)

    assert connections == envoy.stat("cluster.xds.upstream_cx_total")
    second = ships.envoy(replica.port, cluster="secured", node_id="second", mutual_tls=client)
    second.until_ready()
    assert 1 == second.stat("control_plane.connected_state")
    assert "certificate_renewed" in replica.process.log.read_text()


def test_an_envoy_of_another_gateway_gets_nothing(ships: Fleet, tmp_path: Path) -> None:
    """Its certificate is good for its own gateway; status says who was refused, and why."""
    authority, port = Authority(tmp_path), free_port()
    write(tmp_path / "gateway.yaml", configuration(port, "one"))
    files = authority.issue("server")
    replica = ships.control_plane(
        *("--config", str(tmp_path / "gateway.yaml"), "--xds-ca", str(files.ca)),
        *("--xds-cert", str(files.certificate), "--xds-key", str(files.key)),
    )
    client = mutual(authority.issue("envoy", "spiffe://tests/gateway/other/envoy"))
    envoy = ships.envoy(replica.port, cluster="secured", mutual_tls=client)

    def refusals() -> list[Document]:
        found = replica.status()["refused"]
        assert isinstance(found, list)
        return found

    until(lambda: bool(refusals()), "a refusal in the status", 20)
    assert "spiffe://tests/gateway/other/envoy" in str(refusals()[0]["reason"])
    assert set() == envoy.resources()["listeners"]


@VARIANTS
def test_an_envoy_with_the_token_is_served(ships: Fleet, tmp_path: Path, api_type: str, per_type: bool) -> None:
    """The bootstrap carries it for every stream; without it Envoy gets nothing."""
    port = free_port()
    write(tmp_path / "gateway.yaml", configuration(port, "one"))
    replica = ships.control_plane("--config", str(tmp_path / "gateway.yaml"), "--xds-token", "a-shared-secret")
    without = ships.envoy(replica.port, cluster="secured", node_id="without", api_type=api_type, per_type=per_type)
    ships.envoy(replica.port, cluster="secured", api_type=api_type, per_type=per_type, token="a-shared-secret")

    until(lambda: answers(port, "one"), "the configuration", 20)
    assert set() == without.resources()["listeners"]
