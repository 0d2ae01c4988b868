"""A pod's service account while its token and its CA are renewed; nobody restarts anything."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import incluster_config

from control_plane.kubernetes.api import CredentialsError
from control_plane.kubernetes.connection import Connection, in_cluster
from tests.certificates import Authority
from tests.kubernetes.api_server import ApiServer
from tests.kubernetes.cluster import CORE, SLICES, Namespace, credentials_of, endpoint_slice, namespace
from tests.kubernetes.test_discovery import RESOURCE, observed


@dataclass
class Pod:
    """Where the kubelet keeps a pod's token and CA, and the API server that they are for."""

    folder: Path
    server: ApiServer
    shop: Namespace

    @property
    def token(self) -> Path:
        return self.folder / "token"

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"


def tls(authority: Authority) -> ssl.SSLContext:
    files = authority.issue("api-server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    return context


@pytest.fixture
async def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pod]:
    authority = Authority(tmp_path)
    async with ApiServer(tokens={"first", "good"}, tls=tls(authority)).serving() as server, shop_of(server) as shop:
        found = Pod(tmp_path, server, shop)
        found.token.write_text("first")
        found.ca.write_bytes(authority.file.read_bytes())
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
        monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(found.token))
        monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(found.ca))
        yield found


@asynccontextmanager
async def shop_of(server: ApiServer) -> AsyncIterator[Namespace]:
    """Made by an administrator who trusts everybody."""

    async def credentials() -> Configuration:
        configuration = await credentials_of(server)()
        configuration.verify_ssl = False
        return configuration

    async with namespace(server, credentials) as found:
        yield found


async def renewed_while_away(pod: Pod, renew: Callable[[], None]) -> None:
    """The API server goes away, something about the credentials changes, it comes back: discovery goes on."""
    async with Connection(in_cluster) as connection, observed(replace(pod.shop, connection=connection)) as observer:
        await observer.until(lambda: pod.server.watching == 2)
        await pod.server.stop()
        renew()
        await pod.server.start()

        await observer.until(lambda: pod.server.watching == 2)
        await pod.shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.1"))
        await observer.until(lambda: observer.addresses() == ["10.1.0.1"])


async def test_a_rotated_token_is_read_again_when_the_old_one_is_refused(pod: Pod) -> None:
    """At once: the client itself would go on with the old one for up to a minute."""

    def renew() -> None:
        pod.token.write_text("second")
        pod.server.tokens = {"second", "good"}

    await renewed_while_away(pod, renew)


async def test_a_rotated_ca_is_read_again(pod: Pod) -> None:
    """Its API server shows as a handshake that fails."""

    def renew() -> None:
        authority = Authority(pod.folder, "fresh")
        pod.server.tls = tls(authority)
        pod.ca.write_bytes(authority.file.read_bytes())

    await renewed_while_away(pod, renew)


async def test_a_token_that_cannot_be_read_for_a_moment_ends_nothing(pod: Pod) -> None:
    """The kubelet swaps files; what was read last counts meanwhile."""

    def renew() -> None:
        pod.token.unlink()

    await renewed_while_away(pod, renew)


async def test_a_process_outside_of_a_pod_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, no traceback."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    with pytest.raises(CredentialsError, match="no Kubernetes credentials of a pod: Service host/port is not set"):
        await in_cluster()


async def test_a_pod_needs_no_more_than_its_files(pod: Pod) -> None:
    """The first request is allowed with them."""
    async with Connection(in_cluster) as connection:
        answer = await connection.request("GET", f"{CORE}/namespaces/{pod.shop.name}/services")

    assert 200 == answer.status
