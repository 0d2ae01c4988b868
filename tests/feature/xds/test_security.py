"""Who may connect: mTLS, tokens, and what a credential is good for, on every method alike."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from envoy.service.status.v3 import csds_pb2
from google.protobuf.message import Message

from control_plane.resource_types import AUTHZ_POLICY, CLUSTER, SECRET, NodeKind
from control_plane.snapshot import Resource
from control_plane.xds.access import Access
from control_plane.xds.server import _METHODS as METHODS
from gateway_runtime.certificates import Renewing
from gateway_runtime.grpc_server import server_credentials
from gateway_runtime.transport import Dialling, TlsFiles
from gateway_runtime.xds_client import XdsClient
from tests.certificates import Authority, Files
from tests.feature.xds.probe import LIMIT_S, code_of, delta, node, sotw
from tests.feature.xds.serving import QUICK, Serving, cluster, policy, serving
from tests.feature.xds.test_process import control_plane, ended, get
from tests.feature.xds.test_reconciler import GOOD
from tests.ports import free_ports

CSDS = "/envoy.service.status.v3.ClientStatusDiscoveryService/"
FETCH_STATUS = CSDS + "FetchClientStatus"
ENVOY = "spiffe://tests/gateway/meetinity/envoy"
_ALL = [f"/{service}/{method}" for service, method, _, _ in METHODS] + [CSDS + "StreamClientStatus"]


def tls(files: Files) -> TlsFiles:
    return TlsFiles(str(files.certificate), str(files.key), str(files.ca))


@asynccontextmanager
async def dialled(address: str, dialling: Dialling) -> AsyncIterator[grpc.aio.Channel]:
    async with dialling.channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield channel


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def secured(authority: Authority) -> AsyncIterator[Serving]:
    """A server that wants client certificates."""
    credentials = server_credentials(Renewing(tls(authority.issue("server", "localhost"))))
    async with serving(QUICK, access=Access(wants_certificate=True), credentials=credentials) as running:
        running.publish(cluster("a"))
        yield running


async def test_a_certificate_for_the_node_is_served(secured: Serving, authority: Authority) -> None:
    """Gateway and kind of the node are those of the certificate."""
    async with dialled(secured.address, Dialling(tls(authority.issue("envoy", ENVOY)))) as channel:
        probe = delta(channel)
        await probe.subscribe(CLUSTER)

        assert ["a"] == [one.name for one in (await probe.receive()).resources]


async def test_without_a_certificate_nobody_connects(secured: Serving, authority: Authority) -> None:
    """Neither in plain text, nor with TLS alone, nor with a certificate of another CA."""
    stranger = Authority(authority.file.parent, "stranger").issue("strange", ENVOY)
    trusting = Files(authority.file, stranger.certificate, stranger.key)
    for dialling in (Dialling(), Dialling(tls(trusting))):
        assert grpc.StatusCode.UNAVAILABLE == await code_of(secured.address, _ALL[0], b"", dialling)


@pytest.mark.parametrize(
    ("cluster_name", "agent"), [("other", "envoy"), ("meetinity", "meetinity-ext-authz"), ("", "meetinity-ext-authz")]
)
async def test_a_node_is_what_its_certificate_says(
    secured: Serving, authority: Authority, cluster_name: str, agent: str
) -> None:
    """An Envoy's certificate gets neither another gateway's resources nor the policies and secrets of our services."""
    async with dialled(secured.address, Dialling(tls(authority.issue("envoy", ENVOY)))) as channel:
        probe = delta(channel, node(cluster=cluster_name, user_agent_name=agent))
        await probe.subscribe(CLUSTER)

        assert grpc.StatusCode.PERMISSION_DENIED == (await probe.status())[0]


@pytest.mark.parametrize("method", _ALL)
async def test_every_method_asks_alike(method: str) -> None:
    """A missing and a wrong token end state of the world, delta, single types and CSDS in the same way."""
    async with serving(QUICK, access=Access(token="right")) as running:
        running.publish(cluster("a"))
        for token, expected in (("", False), ("wrong", False), ("right", True)):
            code = await code_of(running.address, method, b"\xff", Dialling(token=token))

            assert expected == (code is not grpc.StatusCode.UNAUTHENTICATED)


async def test_secrets_go_only_to_those_whose_credential_is_for_them(authority: Authority) -> None:
    """The certificate of ext_authz gets its secret; the Envoy's of the same gateway does not see that it exists."""
    from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

    secret = Resource.of("jwt", secret_pb2.Secret(name="jwt"), frozenset({NodeKind.EXT_AUTHZ}))
    credentials = server_credentials(Renewing(tls(authority.issue("server"))))
    async with serving(QUICK, access=Access(wants_certificate=True), credentials=credentials) as running:
        running.publish(cluster("a"), secret, policy("p"))
        found = {}
        for name, agent in ((ENVOY, "envoy"), ("spiffe://tests/gateway/meetinity/ext-authz", "meetinity-ext-authz")):
            async with dialled(running.address, Dialling(tls(authority.issue("client", name)))) as channel:
                probe = delta(channel, node(user_agent_name=agent))
                await probe.subscribe(SECRET, "jwt")
                found[agent] = [one.name for one in (await probe.receive()).resources]

    assert {"envoy": [], "meetinity-ext-authz": ["jwt"]} == found


async def test_a_new_certificate_serves_without_breaking_streams(authority: Authority) -> None:
    """New connections see the new one; a pair that does not fit keeps the last good one."""
    files = authority.issue("server", "old.test")
    client = authority.issue("client", ENVOY)
    async with serving(
        QUICK, access=Access(wants_certificate=True), credentials=server_credentials(Renewing(tls(files)))
    ) as running:
        running.publish(cluster("a"))
        async with dialled(running.address, Dialling(tls(client))) as channel:
            probe = sotw(channel)
            await probe.subscribe(CLUSTER)
            await probe.receive()
            await probe.ack(CLUSTER)
            old = files.certificate.read_bytes()
            files.certificate.write_bytes(b"half")
            assert await _serves(running.address, client)
            other = authority.issue("server", "new.test")
            assert old != other.certificate.read_bytes()
            # Only the new authority is believed: who connects now has seen the new certificate.
            renewed = Authority(authority.file.parent, "renewed")
            moved = renewed.issue("server", "new.test")
            os.replace(moved.ca, authority.file)
            fresh = renewed.issue("fresh", ENVOY)
            believing = Files(authority.file, fresh.certificate, fresh.key)
            assert await _serves(running.address, believing)
            running.publish(cluster("a", "2"))

            assert CLUSTER == (await probe.receive()).type_url


async def _serves(address: str, files: Files) -> bool:
    async with dialled(address, Dialling(tls(files))) as channel:
        probe = delta(channel)
        await probe.subscribe(CLUSTER)
        return bool((await probe.receive()).resources)


class _Sink:
    def __init__(self) -> None:
        self.names: set[str] = set()

    def apply(self, changed: dict[str, bytes], removed: list[str]) -> None:
        self.names |= changed.keys()


@pytest.mark.parametrize("with_token", [True, False])
async def test_our_own_client_connects_with_certificate_or_token(
    authority: Authority, tmp_path: Path, with_token: bool
) -> None:
    """ext_authz and ext_proc use this client."""
    token = tmp_path / "token"
    token.write_text("right\n")
    credentials = None if with_token else server_credentials(Renewing(tls(authority.issue("server"))))
    access = Access(token="right") if with_token else Access(wants_certificate=True)
    dialling = (
        Dialling(token_file=str(token))
        if with_token
        else Dialling(tls(authority.issue("authz", "spiffe://tests/gateway/ext-authz")))
    )
    ready, sink = asyncio.Event(), _Sink()
    async with serving(QUICK, access=access, credentials=credentials) as running:
        running.publish(cluster("a"), policy("p"))
        client = XdsClient(
            target=running.address,
            node_id="authz",
            user_agent_name="meetinity-ext-authz",
            cluster="",
            sinks={AUTHZ_POLICY: sink},  # type: ignore[dict-item]
            on_ready=ready.set,
            dialling=dialling,
        )
        task = asyncio.create_task(client.run())
        async with asyncio.timeout(LIMIT_S):
            await ready.wait()
        task.cancel()
        await asyncio.wait([task])

    assert {"p"} == sink.names


async def _status(channel: grpc.aio.Channel, request: Message) -> csds_pb2.ClientStatusResponse:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(FETCH_STATUS)
    return csds_pb2.ClientStatusResponse.FromString(await call(request.SerializeToString()))


async def test_an_envoys_certificate_does_not_show_the_status_of_others(secured: Serving, authority: Authority) -> None:
    """CSDS wants a credential of kind status."""
    async with dialled(secured.address, Dialling(tls(authority.issue("envoy", ENVOY)))) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await _status(channel, csds_pb2.ClientStatusRequest())

    assert grpc.StatusCode.PERMISSION_DENIED == refused.value.code()
    async with dialled(
        secured.address, Dialling(tls(authority.issue("status", "spiffe://tests/gateway/status")))
    ) as channel:
        assert [] == list((await _status(channel, csds_pb2.ClientStatusRequest())).config)


async def test_an_address_for_all_wants_mtls_or_a_token(tmp_path: Path) -> None:
    """One line, exit status 2."""
    config, first = tmp_path / "gateway.yaml", free_ports(2)
    config.write_text(GOOD)
    async with control_plane(config, first, first + 1, "--xds-address", f"0.0.0.0:{first}") as process:
        status, errors = await ended(process)

    assert 2 == status
    assert 1 == len(errors)
    assert "mTLS" in errors[0]
    assert "GATEWAY_XDS_TOKEN" in errors[0]


async def test_the_process_takes_certificates(tmp_path: Path, authority: Authority) -> None:
    """With them it listens where others can reach it, and serves only those who have one."""
    config, first = tmp_path / "gateway.yaml", free_ports(2)
    config.write_text(GOOD)
    files = authority.issue("server")
    flags = ("--xds-ca", str(files.ca), "--xds-cert", str(files.certificate), "--xds-key", str(files.key))
    address = f"0.0.0.0:{first}"
    async with control_plane(config, first, first + 1, "--xds-address", address, *flags):
        assert (200, "ok\n") == await get(first + 1, "/healthz")
        client = Dialling(tls(authority.issue("envoy", "spiffe://tests/gateway/shop/envoy")))
        async with dialled(f"127.0.0.1:{first}", client) as channel:
            probe = delta(channel, node(cluster="meetinity"))
            await probe.subscribe(CLUSTER)

            assert grpc.StatusCode.PERMISSION_DENIED == (await probe.status())[0]
