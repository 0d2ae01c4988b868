"""The gRPC and HTTP servers that every process runs."""

from pathlib import Path

import aiohttp
import grpc
import pytest
from grpc_health.v1 import health_pb2
from prometheus_client import CollectorRegistry, Counter

from gateway_runtime.admin import admin_app, http_server
from gateway_runtime.grpc_server import GrpcServer
from gateway_runtime.process import StartError


async def _health(target: str) -> int:
    async with grpc.aio.insecure_channel(target) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        answer = await check(health_pb2.HealthCheckRequest(), timeout=5)
        return answer.status


async def test_health_is_not_serving_until_told() -> None:
    """Envoy sends nothing to a service that has no policies yet."""
    server = GrpcServer()
    target = server.bind("127.0.0.1:0", name="test")
    async with server.running(drain_s=0.1):
        before = await _health(target)
        await server.set_serving(True)
        after = await _health(target)

    status = health_pb2.HealthCheckResponse
    assert (status.NOT_SERVING, status.SERVING) == (before, after)


async def test_a_unix_socket_serves_too(tmp_path: Path) -> None:
    """Workers can listen on one path each."""
    server = GrpcServer()
    target = server.bind(f"unix:{tmp_path}/s", name="test")
    async with server.running(drain_s=0.1):
        assert health_pb2.HealthCheckResponse.NOT_SERVING == await _health(target)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("unix:/no/such/folder/s", "there is no folder /no/such/folder"),
        ("nonsense", "it is not HOST:PORT or unix:PATH"),
        ("192.0.2.1:1234", "Cannot assign requested address"),
    ],
)
async def test_an_address_that_cannot_be_bound_is_explained(address: str, reason: str) -> None:
    """In one line with the name of the server."""
    with pytest.raises(StartError) as raised:
        GrpcServer().bind(address, name="xDS")

    assert f"xDS: cannot listen on {address}: {reason}" == str(raised.value)


async def test_a_taken_port_is_explained() -> None:
    """Two processes never share one."""
    first = GrpcServer()
    target = first.bind("127.0.0.1:0", name="test")
    async with first.running(drain_s=0.1):
        with pytest.raises(StartError, match="Address already in use"):
            GrpcServer().bind(target, name="test")
        with pytest.raises(StartError, match="in use"):
            async with http_server(admin_app(CollectorRegistry(), lambda: None), target, name="test"):
                pass


async def test_admin_answers_health_readiness_and_metrics() -> None:
    """/readyz carries the reason."""
    registry = CollectorRegistry()
    Counter("things", "Things.", registry=registry).inc()
    reasons: list[str | None] = ["no policies yet", None]
    app = admin_app(registry, lambda: reasons.pop(0))
    async with http_server(app, "127.0.0.1:0", name="admin") as address, aiohttp.ClientSession() as session:
        answers = []
        for path in ("/healthz", "/readyz", "/readyz", "/metrics"):
            async with session.get(f"http://{address}{path}") as answer:
                answers.append((answer.status, (await answer.text()).splitlines()[0]))

    assert [(200, "ok"), (503, "no policies yet"), (200, "ok"), (200, "# HELP things_total Things.")] == answers
