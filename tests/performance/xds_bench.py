"""What an endpoint change costs the xDS server, beside a bare grpc.aio server that pushes the same bytes.

The server runs in a process of its own whose CPU time is asked for, so the clients cost nothing here.
`python -m tests.performance.xds_bench` prints everything; the functions are what `make bench` calls.
"""

import asyncio
import ctypes
import gc
import resource
import statistics
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc
import uvloop
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.service.discovery.v3 import discovery_pb2
from prometheus_client import CollectorRegistry

from control_plane.metrics import Metrics
from control_plane.resource_types import CLUSTER, CLUSTER_LOAD_ASSIGNMENT
from control_plane.snapshot import Resource, Snapshot
from control_plane.xds.server import Pacing, XdsServer
from control_plane.xds.store import Store
from gateway_runtime.grpc_server import MIB, GrpcServer, ServerOptions
from gateway_runtime.telemetry import configure_logging

_METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
_GATEWAY = "bench"
_ENDPOINTS = 10
_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one endpoint change with so many clusters and streams."""

    clusters: int
    streams: int
    cpu_us: float
    """CPU time of the server process, all streams together."""
    p50_ms: float
    p99_ms: float
    """From the command to the arrival at a client."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one server process."""

    per_endpoint_bytes: float
    per_stream_bytes: float


# --- the servers -----------------------------------------------------------------------------------------------------


def _assignment(number: int, change: int) -> Resource:
    name = f"cluster-{number:05}"
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    endpoints = message.endpoints.add().lb_endpoints
    for index in range(_ENDPOINTS):
        address = endpoints.add().endpoint.address.socket_address
        address.address = f"10.{number // 250}.{number % 250}.{index}"
        address.port_value = 8000 + change % 1000
    return Resource.of(name, message)


def _cluster(number: int) -> Resource:
    message = cluster_pb2.Cluster(name=f"cluster-{number:05}", type=cluster_pb2.Cluster.EDS)
    message.eds_cluster_config.eds_config.ads.SetInParent()
    return Resource.of(message.name, message)


class _Ours:
    def __init__(self, clusters: int) -> None:
        self._clusters = clusters
        self._changes = 0
        self._store = Store()
        self._server = XdsServer(self._store, Metrics(CollectorRegistry()), pacing=Pacing(10_000, 10_000))

    def handlers(self) -> Sequence[grpc.GenericRpcHandler]:
        return self._server.handlers()

    def fill(self) -> None:
        resources = [_cluster(number) for number in range(self._clusters)]
        resources += [_assignment(number, 0) for number in range(self._clusters)]
        self._store.publish(_GATEWAY, Snapshot.of(resources))
        self._store.open()

    def change(self) -> None:
        self._changes += 1
        one = _assignment(self._changes % self._clusters, self._changes)
        snapshot = self._store.feeds[_GATEWAY].current.snapshot.with_resource(one)
        self._store.publish(_GATEWAY, snapshot, {CLUSTER_LOAD_ASSIGNMENT: frozenset({one.name})})


class _Bare:
    """One reader and one writer per stream; the bytes are the same for all."""

    def __init__(self) -> None:
        self._changes = 0
        self._payload = b""
        self._wakeups: set[asyncio.Event] = set()

    def handlers(self) -> Sequence[grpc.GenericRpcHandler]:
        service, method = _METHOD[1:].split("/")
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(self._serve)
        return [grpc.method_handlers_generic_handler(service, {method: handler})]

    def fill(self) -> None:
        self._prepare()

    def _prepare(self) -> None:
        one = _assignment(self._changes % 100, self._changes)
        response = discovery_pb2.DeltaDiscoveryResponse(
            type_url=CLUSTER_LOAD_ASSIGNMENT, nonce=str(self._changes), system_version_info=one.version
        )
        entry = response.resources.add(name=one.name, version=one.version)
        entry.resource.type_url, entry.resource.value = one.type_url, one.body
        self._payload = response.SerializeToString()

    def change(self) -> None:
        self._changes += 1
        self._prepare()
        for wakeup in self._wakeups:
            wakeup.set()

    async def _serve(self, _requests: object, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
        wakeup = asyncio.Event()
        wakeup.set()
        self._wakeups.add(wakeup)
        try:
            async with asyncio.TaskGroup() as tasks:
                writer = tasks.create_task(self._write(context, wakeup))
                while isinstance(await context.read(), bytes):
                    pass
                writer.cancel()
        finally:
            self._wakeups.discard(wakeup)

    async def _write(self, context: "grpc.aio.ServicerContext[bytes, bytes]", wakeup: asyncio.Event) -> None:
        while True:
            await wakeup.wait()
            wakeup.clear()
            await context.write(self._payload)


async def _serve(served: "_Ours | _Bare") -> None:
    """Commands come in on stdin, a letter a line; each is answered with a line."""
    server = GrpcServer(ServerOptions(max_receive_bytes=32 * MIB))
    server.server.add_generic_rpc_handlers(tuple(served.handlers()))
    address = server.bind("127.0.0.1:0", name="bench")
    await server.start()
    gc.collect()
    _say(address)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while command := (await reader.readline()).strip():
        match command:
            case b"f":
                served.fill()
                _say("filled")
            case b"c":
                served.change()
            case b"t":
                _say(str(time.process_time()))
            case _:
                gc.collect()
                # What glibc keeps for later is not what the streams need.
                ctypes.CDLL(None).malloc_trim(0)
                _say(str(_resident_bytes()))
    await server.stop(drain_s=0)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


# --- the clients -----------------------------------------------------------------------------------------------------


class _Child:
    def __init__(self, process: Process, address: str) -> None:
        self._process = process
        self.address = address

    async def ask(self, letter: str) -> str:
        self.tell(letter)
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode().strip()

    def tell(self, letter: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(letter.encode() + b"\n")


@asynccontextmanager
async def _child(kind: str, clusters: int) -> AsyncIterator[_Child]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.performance.xds_bench", "serve", kind, str(clusters)), stdin=PIPE, stdout=PIPE
    )
    assert process.stdout is not None
    try:
        yield _Child(process, (await process.stdout.readline()).decode().strip())
    finally:
        process.kill()
        await process.wait()


class _Client:
    """Takes all clusters and assignments and acknowledges everything."""

    def __init__(self, call: "grpc.aio.StreamStreamCall[bytes, bytes]", number: int, clusters: int) -> None:
        self._call = call
        self._number = number
        self._clusters = clusters
        self.arrivals = 0
        self.arrived_at = 0.0
        self.ready = asyncio.Event()
        self.wakeup = asyncio.Event()

    async def run(self) -> None:
        names = [f"cluster-{number:05}" for number in range(self._clusters)]
        node = base_pb2.Node(id=f"bench-{self._number}", cluster=_GATEWAY, user_agent_name="envoy")
        await self._send(discovery_pb2.DeltaDiscoveryRequest(type_url=CLUSTER, node=node))
        eds = discovery_pb2.DeltaDiscoveryRequest(type_url=CLUSTER_LOAD_ASSIGNMENT, resource_names_subscribe=names)
        await self._send(eds)
        while isinstance(message := await self._call.read(), bytes):
            arrived_at = time.perf_counter()
            response = discovery_pb2.DeltaDiscoveryResponse.FromString(message)
            ack = discovery_pb2.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
            await self._send(ack)
            if response.type_url == CLUSTER_LOAD_ASSIGNMENT:
                self.arrivals += 1
                self.arrived_at = arrived_at
                self.ready.set()
                self.wakeup.set()

    async def _send(self, request: discovery_pb2.DeltaDiscoveryRequest) -> None:
        await self._call.write(request.SerializeToString())


@asynccontextmanager
async def _clients(address: str, count: int, clusters: int) -> AsyncIterator[list[_Client]]:
    async with AsyncExitStack() as stack:
        clients = []
        tasks = []
        for number in range(count):
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(address, options=_OPTIONS))
            call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(_METHOD)()
            client = _Client(call, number, clusters)
            clients.append(client)
            tasks.append(asyncio.create_task(client.run(), name=f"client-{number}"))
        async with asyncio.timeout(120):
            for client in clients:
                await client.ready.wait()
        await asyncio.sleep(0.5)
        try:
            yield clients
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def endpoint_change(kind: str, *, clusters: int, streams: int, changes: int = 200) -> Cost:
    """One change at a time, the next when all clients have the last."""
    async with _child(kind, clusters) as child:
        await child.ask("f")
        async with _clients(child.address, streams, clusters if kind == "ours" else 1) as clients:
            for client in clients:
                client.wakeup.clear()
            await _changes(child, clients, 20)
            began = float(await child.ask("t"))
            waits = await _changes(child, clients, changes)
            await asyncio.sleep(0.1)
            cpu = float(await child.ask("t")) - began
    waits.sort()
    return Cost(
        clusters, streams, cpu / changes * 1e6, statistics.median(waits) * 1e3, waits[int(len(waits) * 0.99)] * 1e3
    )


async def _changes(child: _Child, clients: list[_Client], count: int) -> list[float]:
    waits = []
    for _ in range(count):
        began = time.perf_counter()
        child.tell("c")
        async with asyncio.timeout(30):
            for client in clients:
                await client.wakeup.wait()
                client.wakeup.clear()
                waits.append(client.arrived_at - began)
    return waits


async def memory(*, clusters: int = 10_000, streams: int = 20) -> Memory:
    """Resident memory of the server process: of the snapshot, and of streams that have it all.

    They come one after the other: what many first pushes at once need for a moment is another question.
    """
    async with _child("ours", clusters) as child, AsyncExitStack() as connected:
        empty = float(await child.ask("m"))
        await child.ask("f")
        filled = float(await child.ask("m"))
        # The first streams pay for buffers and caches of the process that the others share.
        for _ in range(3):
            await connected.enter_async_context(_clients(child.address, 1, clusters))
        first = float(await child.ask("m"))
        for _ in range(streams):
            await connected.enter_async_context(_clients(child.address, 1, clusters))
        all_of_them = float(await child.ask("m"))
    return Memory((filled - empty) / (clusters * _ENDPOINTS), (all_of_them - first) / streams)


async def report() -> None:
    """All of it, as text."""
    base = 0.0
    for clusters in (100, 1_000, 10_000):
        cost = await endpoint_change("ours", clusters=clusters, streams=1)
        base = base or cost.cpu_us
        _say(f"{clusters:>6} clusters, 1 stream: {cost.cpu_us:7.0f} us a change, {cost.cpu_us / base:.2f} of 100")
    for streams in (50, 100):
        ours = await endpoint_change("ours", clusters=100, streams=streams)
        bare = await endpoint_change("bare", clusters=100, streams=streams)
        _say(
            f"{streams:>6} streams: {ours.cpu_us:.0f} us a change, bare {bare.cpu_us:.0f} us, ratio "
            f"{ours.cpu_us / bare.cpu_us:.2f}; p99 {ours.p99_ms:.1f} ms, bare {bare.p99_ms:.1f} ms, "
            f"ratio {ours.p99_ms / bare.p99_ms:.2f}"
        )
    found = await memory()
    _say(
        f"10,000 clusters x {_ENDPOINTS}: {found.per_endpoint_bytes:.0f} B per endpoint, "
        f"{found.per_stream_bytes / 1024:.0f} KiB per stream"
    )


def main(arguments: Sequence[str]) -> None:
    work: Callable[[], Awaitable[None]]
    if arguments[:1] == ["serve"]:
        kind, clusters = arguments[1], int(arguments[2])
        configure_logging("warning")

        async def serve() -> None:
            await _serve(_Ours(clusters) if kind == "ours" else _Bare())

        work = serve
    else:
        work = report

    async def run() -> None:
        await work()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


if __name__ == "__main__":
    main(sys.argv[1:])
