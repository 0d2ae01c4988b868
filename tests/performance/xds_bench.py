"""python -m tests.performance.xds_bench: the speed and memory of the xDS server, as ratios within one run.

The server under test is a process of its own; its CPU is what counts, and beside it stands a bare grpc.aio server that
pushes the same bytes and reads the same acknowledgements.
"""

import asyncio
import gc
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, process_time

import grpc
from envoy.service.discovery.v3 import discovery_pb2
from prometheus_client import CollectorRegistry

from control_plane.config.loading import Loaded, load
from control_plane.endpoints import Endpoint
from control_plane.metrics import Metrics
from control_plane.resource_types import CLUSTER_LOAD_ASSIGNMENT, NodeKind
from control_plane.snapshot import Resource, Snapshot
from control_plane.translate import translate
from control_plane.translate.endpoints import load_assignment
from control_plane.validation.admission import Admission
from control_plane.xds.delta import DeltaSubscription
from control_plane.xds.server import XdsServer
from control_plane.xds.session import Node
from control_plane.xds.store import Client, Store
from control_plane.xds.wire import delta_discovery_response
from gateway_runtime.grpc_server import MIB, GrpcServer, ServerOptions
from gateway_runtime.telemetry import configure_logging

_METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
_CHANGES = 200
_CLUSTERS = 1000
"""In the tests with streams."""


class _OneFile:
    def __init__(self, text: str) -> None:
        self._text = text

    def read(self, path: str) -> bytes:
        return self._text.encode()

    def glob(self, pattern: str) -> Sequence[str]:
        return ()


def loaded(services: int, routes: int, timeout: str = "10s") -> Loaded:
    """Kubernetes services, and routes that lead to them."""
    document = {
        "version": 1,
        "name": "bench",
        "listeners": [{"name": "public", "port": 10000}],
        "services": {
            f"s{number}": {"kubernetes": {"namespace": "n", "service": f"s{number}", "port": "http"}}
            for number in range(services)
        },
        "routes": [
            {
                "name": f"r{number}",
                "match": {"path_prefix": f"/r{number}"},
                "auth": "none",
                "service": f"s{number % services}",
                "timeout": timeout if number == routes // 2 else "10s",
            }
            for number in range(routes)
        ],
    }
    return load("/gateway.yaml", _OneFile(json.dumps(document)), {}, now=datetime.now(UTC))


def endpoints(number: int, variant: int = 0) -> tuple[Endpoint, ...]:
    """Ten of one service."""
    return tuple(Endpoint(f"10.{number >> 8 & 255}.{number & 255}.{j}", 8080 + variant) for j in range(10))


def assignment(number: int, variant: int = 0) -> Resource:
    return load_assignment(f"s{number}", endpoints(number, variant))


def resident_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def build(clusters: int) -> dict[str, float]:
    """CPU seconds of a full build with validation, of one after an edit, and KiB of memory an endpoint."""
    text = loaded(clusters, min(clusters, 1000))
    assert text.gateway is not None
    found = {f"s{number}": endpoints(number) for number in range(clusters)}
    gc.collect()
    before, began = resident_kib(), process_time()
    admission = Admission()
    snapshot = admission.admit(translate(text.gateway, found, text.materials), None).snapshot
    full = process_time() - began
    gc.collect()
    memory = (resident_kib() - before) / (clusters * 10)
    began = process_time()
    again = admission.admit(translate(text.gateway, {**found, "s0": endpoints(0, 1)}, text.materials), snapshot)
    second = process_time() - began
    assert again.snapshot.changes_since(snapshot) == {CLUSTER_LOAD_ASSIGNMENT: frozenset({"s0"})}
    return {"full_s": full, "second_s": second, "kib_per_endpoint": memory}


def route_edit() -> float:
    """CPU seconds from a text of 1,000 routes, one of them edited, to the response."""
    store, client = Store(), None
    admission, snapshot = Admission(), None
    for timeout in ("10s", "11s", "12s"):
        began = process_time()
        text = loaded(100, 1000, timeout)
        assert text.gateway is not None
        snapshot = admission.admit(translate(text.gateway, {}, text.materials), snapshot).snapshot
        store.publish("bench", snapshot)
        if client is not None:
            client.catch_up(0.0)
        spent = process_time() - began
    return spent


def change_cost(clusters: int) -> float:
    """CPU seconds of one endpoint change and its ACK, with so many clusters and one client, without gRPC."""
    store = Store()
    snapshot = Snapshot.of(assignment(number) for number in range(clusters))
    store.publish("bench", snapshot)
    client = Client(
        Node("1", "bench", NodeKind.ENVOY), store.feeds["bench"], peer="", variant="delta", timings=store.timings
    )
    subscription = DeltaSubscription(CLUSTER_LOAD_ASSIGNMENT, answer_s=5.0)
    client.session.subscribe(subscription)
    names = [f"s{number}" for number in range(clusters)]
    subscription.request(nonce="", subscribe=names, unsubscribe=(), initial_versions={}, error=None, now=0.0)
    costs = []
    for number in range(_CHANGES):
        began = process_time()
        if number:
            resource = assignment(number % 50, number)
            changes = {CLUSTER_LOAD_ASSIGNMENT: frozenset({resource.name})}
            store.publish("bench", store.feeds["bench"].current.snapshot.with_resource(resource), changes)
        client.catch_up(0.0)
        push = client.session.take({CLUSTER_LOAD_ASSIGNMENT}, 0.0)
        assert push is not None
        subscription.request(nonce=push.nonce, subscribe=(), unsubscribe=(), initial_versions={}, error=None, now=0.0)
        costs.append(process_time() - began)
    return median(costs[10:])


@dataclass
class _Acks:
    """Counts acknowledgements and wakes who waits for all of them."""

    done: asyncio.Event = field(default_factory=asyncio.Event)
    missing: int = 0
    began: float = 0.0
    latencies: list[float] = field(default_factory=list)

    def expect(self, count: int) -> None:
        self.missing, self.began = count, perf_counter()
        self.done.clear()

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
        word, count = line.split()
        if word == b"memory":
            gc.collect()
            print(resident_kib(), flush=True)  # noqa: T201
            continue
        acks.latencies.clear()
        began = process_time()
        for number in range(_CHANGES):
            acks.expect(int(count))
            publish(number + 1)
            await acks.done.wait()
        spent = (process_time() - began) / _CHANGES
        p99 = quantiles(acks.latencies, n=100)[98]
        print(json.dumps({"cpu_s": spent, "p99_s": p99}), flush=True)  # noqa: T201


def _ours(server: GrpcServer, acks: _Acks) -> Callable[[int], None]:
    store = Store()
    store.publish("bench", Snapshot.of(assignment(number) for number in range(_CLUSTERS)))
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
            delta_discovery_response(CLUSTER_LOAD_ASSIGNMENT, "0", "0", [assignment(n) for n in range(_CLUSTERS)], [])
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
            type_url=CLUSTER_LOAD_ASSIGNMENT, resource_names_subscribe=[f"s{n}" for n in range(_CLUSTERS)]
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


async def streams(kind: str, count: int) -> dict[str, float]:
    """CPU of the server for one change that goes to so many streams, p99 until the ACK, KiB a stream."""
    command = [sys.executable, "-m", "tests.performance.xds_bench", "--serve", kind]
    process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    ready: asyncio.Queue[None] = asyncio.Queue()

    async def ask(text: str) -> str:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(text.encode())
        return (await process.stdout.readline()).decode()

    before = int(await ask("memory 0\n"))
    clients = [asyncio.create_task(_client(port, ready, number)) for number in range(count)]
    try:
        for _ in range(count):
            await ready.get()
        await asyncio.sleep(1)  # the last ACKs
        memory = (int(await ask("memory 0\n")) - before) / count
        result: dict[str, float] = json.loads(await ask(f"go {count}\n"))
        return {**result, "kib_per_stream": memory}
    finally:
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        process.kill()
        await process.wait()


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


async def main() -> None:
    """Print every line of the promise with what was measured."""
    big = build(10_000)
    _say(f"10,000 clusters x 10 endpoints: full build {big['full_s']:.2f} s of CPU (at most 1.5)")
    _say(f"  second build after one edit {big['second_s'] * 1e3:.0f} ms (at most 20)")
    _say(f"  {big['kib_per_endpoint']:.2f} KiB per endpoint (at most 1.5)")
    _say(f"1,000 routes, one edited: {route_edit() * 1e3:.0f} ms of CPU from text to push (at most 100)")
    costs = {clusters: change_cost(clusters) for clusters in (100, 1000, 10_000)}
    spread = max(costs.values()) / min(costs.values())
    shown = ", ".join(f"{clusters}: {cost * 1e6:.0f} us" for clusters, cost in costs.items())
    _say(f"endpoint change by clusters: {shown}; spread {spread:.2f} (at most 1.2)")
    for count in (50, 100):
        ours, bare = await streams("ours", count), await streams("bare", count)
        cpu, p99 = ours["cpu_s"] / bare["cpu_s"], ours["p99_s"] / bare["p99_s"]
        _say(f"{count} delta streams, one change: {ours['cpu_s'] * 1e3:.2f} ms of CPU, {cpu:.2f} x bare (at most 2.5)")
        _say(f"  p99 until the ACK {ours['p99_s'] * 1e3:.1f} ms, {p99:.2f} x bare (at most 3)")
        _say(f"  {ours['kib_per_stream']:.0f} KiB per stream, bare {bare['kib_per_stream']:.0f} (at most 100)")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        asyncio.run(_serve(sys.argv[2]))
    else:
        asyncio.run(main())
