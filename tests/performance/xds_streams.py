"""The xDS server with many streams, beside a bare grpc.aio server that pushes the same bytes and reads the same ACKs.

`python -m tests.performance.xds_streams KIND` is the server, a process of its own: its CPU and memory are what counts.
"""

import asyncio
import gc
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from time import perf_counter, process_time

import grpc
from envoy.service.discovery.v3 import discovery_pb2
from prometheus_client import CollectorRegistry

from control_plane.endpoints import Endpoint
from control_plane.metrics import Metrics
from control_plane.resource_types import CLUSTER_LOAD_ASSIGNMENT
from control_plane.snapshot import Resource, Snapshot
from control_plane.translate.endpoints import cluster_load_assignment
from control_plane.xds.server import XdsServer
from control_plane.xds.store import Client, Store
from control_plane.xds.wire import delta_discovery_response
from gateway_runtime.grpc_server import MIB, GrpcServer, ServerOptions
from gateway_runtime.telemetry import configure_logging

_METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
CLUSTERS = 1000


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one server with some streams."""

    cpu_s: float
    """For one change that goes to every stream, and their ACKs."""
    p99_s: float
    """From the change to an ACK."""
    kib_per_stream: float


def endpoints(number: int, variant: int = 0) -> tuple[Endpoint, ...]:
    """Ten of one service."""
    return tuple(Endpoint(f"10.{number >> 8 & 255}.{number & 255}.{j}", 8080 + variant) for j in range(10))


def assignment(number: int, variant: int = 0) -> Resource:
    return Resource.of(f"s{number}", cluster_load_assignment(f"s{number}", endpoints(number, variant)))


def resident_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


@dataclass
class _Acks:
    """Counts acknowledgements and wakes who waits for all of them."""

    missing: int = 0
    """Of those that are expected; below 0 before anybody expects some."""
    began: float = 0.0
    latencies: list[float] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def expect(self, count: int) -> None:
        """So many more; those that came before anybody expected them count."""
        self.missing, self.began = self.missing + count, perf_counter()
        self.done.clear()
        if self.missing == 0:
            self.done.set()

    def note(self) -> None:
        self.latencies.append(perf_counter() - self.began)
        self.missing -= 1
        if self.missing == 0:
            self.done.set()


async def _serve(kind: str) -> None:
    """Say the port; for a line with a number of streams, change endpoints and say what that cost."""
    configure_logging("error", "json", process="bench")
    acks = _Acks()
    server = GrpcServer(ServerOptions(max_receive_bytes=32 * MIB))
    publish = _ours(server, acks) if kind == "ours" else _bare(server, acks)
    address = server.bind("127.0.0.1:0", name="xDS")
    await server.start()
    print(address.rpartition(":")[2], flush=True)  # noqa: T201
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        word, *numbers = line.split()
        if word == b"memory":
            gc.collect()
            print(resident_kib(), flush=True)  # noqa: T201
            continue
        if word == b"acknowledged":  # the first responses
            acks.expect(int(numbers[0]))
            await acks.done.wait()
            print(flush=True)  # noqa: T201
            continue
        count, changes = map(int, numbers)
        acks.latencies.clear()
        began = process_time()
        for number in range(changes):
            acks.expect(count)
            publish(number + 1)
            await acks.done.wait()
        spent = (process_time() - began) / changes
        p99 = quantiles(acks.latencies, n=100)[98]
        print(json.dumps({"cpu_s": spent, "p99_s": p99}), flush=True)  # noqa: T201


def _ours(server: GrpcServer, acks: _Acks) -> Callable[[int], None]:
    store = Store()
    store.publish("bench", Snapshot.of(assignment(number) for number in range(CLUSTERS)))
    store.open()
    progress = store.on_service_progress

    def on_progress(client: Client) -> None:
        progress(client)
        acks.note()

    store.on_service_progress = on_progress  # type: ignore[method-assign]
    xds = XdsServer(store, Metrics(CollectorRegistry()))
    server.server.add_generic_rpc_handlers(tuple(xds.handlers()))

    def publish(variant: int) -> None:
        resource = assignment(variant % 50, variant)
        changes = {CLUSTER_LOAD_ASSIGNMENT: frozenset({resource.name})}
        store.publish("bench", store.feeds["bench"].current.snapshot.with_resource(resource), changes)

    return publish


def _bare(server: GrpcServer, acks: _Acks) -> Callable[[int], None]:
    waiting: set[asyncio.Queue[bytes]] = set()

    async def handle(_requests: object, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        await context.read()
        await context.write(
            delta_discovery_response(CLUSTER_LOAD_ASSIGNMENT, "0", "0", [assignment(n) for n in range(CLUSTERS)], [])
        )
        await context.read()
        waiting.add(queue)
        acks.note()
        while True:
            await context.write(await queue.get())
            await context.read()
            acks.note()

    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(handle)
    service, method = _METHOD[1:].split("/")
    server.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))

    def publish(variant: int) -> None:
        payload = delta_discovery_response(
            CLUSTER_LOAD_ASSIGNMENT, str(variant), str(variant), [assignment(variant % 50, variant)], []
        )
        for queue in waiting:
            queue.put_nowait(payload)

    return publish


async def _client(port: int, ready: asyncio.Queue[None], number: int) -> None:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(_METHOD)()
        first = discovery_pb2.DeltaDiscoveryRequest(
            type_url=CLUSTER_LOAD_ASSIGNMENT, resource_names_subscribe=[f"s{n}" for n in range(CLUSTERS)]
        )
        first.node.id, first.node.cluster = f"client-{number}", "bench"
        await call.write(first.SerializeToString())
        is_first = True
        while isinstance(answer := await call.read(), bytes):
            nonce = discovery_pb2.DeltaDiscoveryResponse.FromString(answer).nonce
            ack = discovery_pb2.DeltaDiscoveryRequest(type_url=CLUSTER_LOAD_ASSIGNMENT, response_nonce=nonce)
            await call.write(ack.SerializeToString())
            if is_first:
                ready.put_nowait(None)
                is_first = False


class _Server:
    """The server process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def started(cls, kind: str) -> "_Server":
        command = [sys.executable, "-m", "tests.performance.xds_streams", kind]
        pipe = subprocess.PIPE
        return cls(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe))

    async def line(self) -> str:
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode()

    async def ask(self, text: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}\n".encode())
        return await self.line()

    async def end(self) -> None:
        self._process.kill()
        await self._process.wait()


async def measure(kind: str, streams: int, changes: int) -> Cost:
    """
    Args:
        kind: `ours` or `bare`.
        changes: of endpoints, one after the other, each when all streams have acknowledged the one before.
    """
    server = await _Server.started(kind)
    clients: list[asyncio.Task[None]] = []
    try:
        port, before = int(await server.line()), int(await server.ask("memory"))
        ready: asyncio.Queue[None] = asyncio.Queue()
        clients += [asyncio.create_task(_client(port, ready, number)) for number in range(streams)]
        for _ in range(streams):
            await ready.get()
        await server.ask(f"acknowledged {streams}")
        memory = (int(await server.ask("memory")) - before) / streams
        found = json.loads(await server.ask(f"go {streams} {changes}"))
        return Cost(found["cpu_s"], found["p99_s"], memory)
    finally:
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        await server.end()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
