"""A real control plane's xDS server, a real service behind real gRPC, and calls to it; no Envoy."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import orjson
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from prometheus_client import CollectorRegistry

from control_plane.metrics import Metrics
from control_plane.resource_types import NodeKind
from control_plane.snapshot import Resource, Snapshot
from control_plane.xds.server import XdsServer
from control_plane.xds.store import Store
from gateway_runtime.grpc_server import GrpcServer
from protos.gateway.policy.v1 import authz_pb2
from tests.unit.ext_authz.fixtures import SECRET, Answer, answer

CHECK = "/envoy.service.auth.v3.Authorization/Check"
GATEWAY = "test"
DEADLINE_S = 20.0
_SERVICE = frozenset({NodeKind.EXT_AUTHZ})


def snapshot(*policies: authz_pb2.AuthzPolicy, secrets: Mapping[str, bytes] | None = None) -> Snapshot:
    resources = [Resource.of(policy.name, policy, _SERVICE) for policy in policies]
    for name, content in {"hmac": SECRET, **(secrets or {})}.items():
        secret = secret_pb2.Secret(name=name)
        secret.generic_secret.secret.inline_bytes = content
        resources.append(Resource.of(name, secret, _SERVICE))
    return Snapshot.of(resources)


class ControlPlane:
    """What serves snapshots; publishing the first one opens it."""

    def __init__(self, store: Store, address: str) -> None:
        self.store = store
        self.address = address

    def publish(self, published: Snapshot) -> None:
        self.store.publish(GATEWAY, published)
        if not self.store.is_open:
            self.store.open()


@asynccontextmanager
async def control_plane() -> AsyncIterator[ControlPlane]:
    store = Store()
    xds = XdsServer(store, Metrics(CollectorRegistry()))
    server = GrpcServer()
    server.server.add_generic_rpc_handlers(tuple(xds.handlers()))
    address = server.bind("127.0.0.1:0", name="xDS")
    async with server.running(drain_s=0.2):
        try:
            yield ControlPlane(store, address)
        finally:
            xds.close()


class Process:
    """`python -m ext_authz` and what it logs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, object]] = []

    async def line(self, event: str, count: int = 1) -> dict[str, object]:
        """Wait until an event was logged that many times; return the last one."""
        assert self.process.stderr is not None
        async with asyncio.timeout(DEADLINE_S):
            while sum(each.get("event") == event for each in self.lines) < count:
                text = await self.process.stderr.readline()
                assert text, f"ended before {event}: {self.lines}"
                self.lines.append(orjson.loads(text) if text.startswith(b"{") else {"text": text.decode()})
        return [each for each in self.lines if each.get("event") == event][-1]

    async def end(self) -> int:
        if self.process.returncode is None:
            self.process.terminate()
        async with asyncio.timeout(DEADLINE_S):
            assert self.process.stderr is not None
            rest = await self.process.stderr.read()
            self.lines += [orjson.loads(text) for text in rest.splitlines() if text.startswith(b"{")]
            return await self.process.wait()


@asynccontextmanager
async def ext_authz(xds_address: str, *arguments: str) -> AsyncIterator[Process]:
    root = Path(__file__).parents[3]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ext_authz", "--xds-address", xds_address, "--gateway", GATEWAY),
        *("--address", "127.0.0.1:0", "--admin-address", "127.0.0.1:0", "--notice", "0", "--log-format", "json"),
        *arguments,
        stderr=subprocess.PIPE,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    running = Process(process)
    try:
        yield running
    finally:
        await running.end()


async def check(address: str, message: bytes) -> Answer:
    async with grpc.aio.insecure_channel(address) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CHECK)
        return answer(await call(message, timeout=DEADLINE_S, wait_for_ready=True))


async def eventually(condition: Callable[[], bool]) -> None:
    """Poll until the condition holds."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - a condition of any kind has no event
            await asyncio.sleep(0.005)
