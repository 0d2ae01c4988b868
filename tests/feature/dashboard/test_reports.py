"""Reports of statistics over real gRPC: who may send them, and as whom."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import pytest
from prometheus_client import CollectorRegistry, Counter

from control_plane.metrics import Metrics
from control_plane.resource_types import NodeKind
from control_plane.traffic.service import SERVICE_NAME, Reports
from control_plane.traffic.traffic import NO_NAMES, Names, Traffic
from control_plane.traffic.turns import Turns
from control_plane.xds.access import STATUS, Access, Clients, Grant
from control_plane.xds.server import presented
from gateway_runtime.grpc_server import GrpcServer, ServerOptions
from gateway_runtime.report_names import NODE_CLUSTER, NODE_ID, NODE_KIND
from gateway_runtime.reporting import encoded
from tests.reports import envoy_report

EXPORT = f"/{SERVICE_NAME}/Export"
NAMES = Names(frozenset({"public"}), frozenset({"users"}), frozenset({"list-users"}))


@dataclass
class Receiving:
    """A server that takes reports, and its clock."""

    address: str
    traffic: Traffic
    registry: CollectorRegistry
    now: list[float]

    def counted(self, result: str) -> float:
        return self.registry.get_sample_value("gateway_reports_total", {"result": result}) or 0.0


@asynccontextmanager
async def receiving(access: Access, turns: Turns | None = None) -> AsyncIterator[Receiving]:
    registry, now = CollectorRegistry(), [0.0]
    traffic = Traffic(lambda name: NAMES if name == "shop" else NO_NAMES)
    reports = Reports(
        traffic,
        Metrics(registry),
        access,
        presented,
        gateways=lambda: ("shop",),
        turns=turns,
        clock=lambda: now[0],
    )
    server = GrpcServer(ServerOptions())
    server.server.add_generic_rpc_handlers((reports.handler(),))
    address = server.bind("127.0.0.1:0", name="xDS")
    await server.start()
    try:
        yield Receiving(address, traffic, registry, now)
    finally:
        await server.stop(drain_s=0.1)


async def _send(address: str, body: bytes, token: str = "") -> grpc.StatusCode:
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            export: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(EXPORT)
            await export(body, metadata=metadata, timeout=20)
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


async def test_two_reports_make_a_rate() -> None:
    """Of the gateway and its services."""
    async with receiving(Access()) as running:
        await _send(running.address, envoy_report("e1", "shop"))
        running.now[0] = 10.0
        await _send(running.address, envoy_report("e1", "shop", counters={"cluster.users.upstream_rq_2xx": 40}))

        assert 4.0 == running.traffic.service("shop", "users").requests
        assert 2.0 == running.counted("taken")


@pytest.mark.parametrize(
    ("token", "cluster", "expected"),
    [
        ("", "shop", grpc.StatusCode.UNAUTHENTICATED),
        ("wrong", "shop", grpc.StatusCode.UNAUTHENTICATED),
        ("envoy of shop", "other", grpc.StatusCode.PERMISSION_DENIED),
        ("status only", "shop", grpc.StatusCode.PERMISSION_DENIED),
        ("envoy of shop", "shop", grpc.StatusCode.OK),
    ],
)
async def test_a_report_needs_the_credential_of_its_node(token: str, cluster: str, expected: grpc.StatusCode) -> None:
    """As an xDS stream does: nobody paints numbers onto another's page."""
    import hashlib

    def digest(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    grants = {
        digest("envoy of shop"): Grant("shop", frozenset({"shop"}), frozenset({NodeKind.ENVOY.value})),
        digest("status only"): Grant("status", None, frozenset({STATUS})),
    }
    async with receiving(Access(clients=lambda: Clients({}, {}, grants))) as running:
        assert expected == await _send(running.address, envoy_report("e1", cluster), token)


async def test_nonsense_is_refused() -> None:
    """And ends only its own call."""
    async with receiving(Access()) as running:
        codes = [await _send(running.address, body) for body in (b"", b"nonsense", envoy_report("", "shop"))]
        assert [grpc.StatusCode.INVALID_ARGUMENT] * 3 == codes
        assert grpc.StatusCode.OK == await _send(running.address, envoy_report("e1", "shop"))


async def test_what_there_is_no_time_for_is_left_out() -> None:
    """It is answered all the same."""
    turns = Turns()
    turns.took("e1", 1.0, 0.0)
    async with receiving(Access(), turns) as running:
        running.now[0] = 5.0
        assert grpc.StatusCode.OK == await _send(running.address, envoy_report("e1", "shop"))
        assert (1.0, {}) == (running.counted("left_out"), dict(running.traffic.reporting("shop")))


async def test_a_callout_of_all_gateways_counts_for_the_only_one() -> None:
    """As `gatewayctl up` starts them; only the counters that are asked for are told."""
    registry = CollectorRegistry()
    decisions = Counter("gateway_authz_decisions", "By reason.", ["route", "reason"], registry=registry)
    Counter("other", "Not told.", registry=registry).inc()
    attributes = {NODE_ID: "a1", NODE_CLUSTER: "", NODE_KIND: NodeKind.EXT_AUTHZ.value}
    decisions.labels("list-users", "ok").inc(0)
    async with receiving(Access()) as running:
        for moment in (0.0, 10.0):
            running.now[0] = moment
            body = encoded(registry, frozenset({"gateway_authz_decisions_total"}), attributes)
            assert b"other" not in body
            await _send(running.address, body)
            decisions.labels("list-users", "rate_limit").inc(25)
            await asyncio.sleep(0)

        assert 2.5 == running.traffic.callouts("shop").limited
