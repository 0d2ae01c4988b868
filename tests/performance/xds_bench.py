"""The speed and memory of the xDS server: `python -m tests.performance.xds_bench` writes the report."""
# ruff: noqa: T201 - a program for the terminal

import argparse
import asyncio
import gc
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from time import process_time

from prometheus_client import CollectorRegistry

from control_plane.config.loading import Loaded, load
from control_plane.config.model.gateway import Gateway
from control_plane.endpoints import Endpoints
from control_plane.metrics import Metrics
from control_plane.reconciler import Reconciler
from control_plane.resource_types import (
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    LISTENER,
    ROUTE_CONFIGURATION,
    NodeKind,
)
from control_plane.snapshot import Snapshot
from control_plane.translate import Translator
from control_plane.validation.admission import Admission
from control_plane.xds.delta import DeltaSubscription
from control_plane.xds.session import Node
from control_plane.xds.store import Client, Store
from gateway_runtime.telemetry import configure_logging
from tests.performance import xds_streams
from tests.performance.control_plane_work import gateway_yaml
from tests.performance.processes import BenchError
from tests.performance.stand import ROOT
from tests.performance.xds_streams import Cost, assignment, endpoints, resident_kib

REPORT = ROOT / "docs" / "performance" / "xds.md"
ENDPOINTS = 10
"""Of each cluster."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the report."""

    what: str
    value: float
    unit: str
    at_most: float | None = None

    @property
    def row(self) -> str:
        if self.at_most is None:
            return f"| {self.what} | {self._shown(self.value)} | | |"
        met = "yes" if self.value <= self.at_most else "no"
        return f"| {self.what} | {self._shown(self.value)} | {self._shown(self.at_most)} | {met} |"

    def _shown(self, value: float) -> str:
        digits = 0 if value >= 100 or value == int(value) else 1 if value >= 10 else 2
        return f"{value:,.{digits}f}{self.unit}"


@dataclass(frozen=True, slots=True)
class Sizes:
    clusters: int
    routes: int
    changes: int
    streams: tuple[int, int]
    repetitions: int


FULL = Sizes(clusters=10_000, routes=1000, changes=200, streams=(50, 100), repetitions=3)
QUICK = Sizes(clusters=100, routes=20, changes=20, streams=(2, 3), repetitions=1)


class _OneFile:
    def __init__(self, text: str) -> None:
        self._text = text

    def read(self, path: str) -> bytes:
        return self._text.encode()

    def glob(self, pattern: str) -> Sequence[str]:
        return ()


def loaded(services: int, routes: int) -> Loaded:
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
            }
            for number in range(routes)
        ],
    }
    return load("/gateway.yaml", _OneFile(json.dumps(document)), {}, now=datetime.now(UTC))


class Builder:
    """Translates and validates as the reconciler does, and counts CPU time."""

    def __init__(self, text: Loaded) -> None:
        self._text = text
        self._translator, self._admission = Translator(), Admission()
        self.snapshot: Snapshot | None = None

    def build(self, gateway: Gateway, found: Endpoints) -> float:
        """Seconds."""
        began = process_time()
        snapshot = self._translator.translate(gateway, found, self._text.materials)
        self.snapshot = self._admission.admit(snapshot, self.snapshot).snapshot
        return process_time() - began


def builds(sizes: Sizes) -> list[Figure]:
    """The first one, one after an edit of a service, one after a change of endpoints."""
    text = loaded(sizes.clusters, sizes.routes)
    gateway = text.gateway
    if gateway is None:
        raise BenchError("; ".join(map(str, text.faults)))
    found = {f"s{number}": endpoints(number) for number in range(sizes.clusters)}
    firsts, edits, moves = [], [], []
    for repetition in range(sizes.repetitions):
        builder = Builder(text)
        gc.collect()
        firsts.append(builder.build(gateway, found))
        before = builder.snapshot
        services = dict(gateway.services)
        services["s7"] = services["s7"].model_copy(update={"connect_timeout": timedelta(seconds=3)})
        edited = gateway.model_copy(update={"services": services})
        edits.append(builder.build(edited, found))
        _expect(builder.snapshot, before, CLUSTER, "s7")
        before = builder.snapshot
        moves.append(builder.build(edited, {**found, "s0": endpoints(0, repetition + 1)}))
        _expect(builder.snapshot, before, CLUSTER_LOAD_ASSIGNMENT, "s0")
    size = f"{sizes.clusters:,} clusters x {ENDPOINTS} endpoints"
    return [
        Figure(f"{size}: full build, validation included", median(firsts), " s", 1.5),
        Figure("... a second build after an edit of one service", median(edits) * 1e3, " ms", 20),
        Figure("... a second build after a change of one service's endpoints", median(moves) * 1e3, " ms", 20),
    ]


def _expect(after: Snapshot | None, before: Snapshot | None, type_url: str, name: str) -> None:
    changes = after.changes_since(before) if after is not None and before is not None else None
    if changes != {type_url: frozenset({name})}:
        raise BenchError(f"{name} was edited, and {changes} changed")


def memory_kib(clusters: int) -> float:
    """Of everything that is kept: model, endpoints, snapshot, and what makes the next build fast."""
    gc.collect()
    before = resident_kib()
    text = loaded(clusters, min(clusters, 1000))
    found = {f"s{number}": endpoints(number) for number in range(clusters)}
    builder = Builder(text)
    assert text.gateway is not None
    builder.build(text.gateway, found)
    gc.collect()
    return resident_kib() - before


def memory(sizes: Sizes) -> Figure:
    """In a process of its own, whose heap holds nothing else."""
    command = [sys.executable, "-m", "tests.performance.xds_bench", "--memory-of", str(sizes.clusters)]
    used = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return Figure("... resident memory per endpoint", used / (sizes.clusters * ENDPOINTS), " KiB", 1.5)


class _Envoy:
    """A client of all types on one delta stream, without the socket."""

    def __init__(self, store: Store, gateway: str) -> None:
        self._store = store
        node = Node("envoy", gateway, NodeKind.ENVOY)
        self._client = Client(node, store.feeds[gateway], peer="", variant="delta", timings=store.timings)
        self._client.attach(asyncio.Event())
        snapshot = store.feeds[gateway].current.snapshot
        for type_url in (CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER, ROUTE_CONFIGURATION):
            subscription = DeltaSubscription(type_url, answer_s=store.timings.answer_s)
            is_named = type_url in (CLUSTER_LOAD_ASSIGNMENT, ROUTE_CONFIGURATION)
            _request(subscription, "", tuple(snapshot.of_type(type_url)) if is_named else ())
            self._client.session.subscribe(subscription)
        self.take()

    def take(self) -> tuple[int, list[str]]:
        """Acknowledge every response that is due; their bytes and the names of what they held."""
        now, size, names = self._store.clock(), 0, list[str]()
        self._client.catch_up(now)
        while (push := self._client.session.take(self._client.session.subscriptions, now)) is not None:
            subscription = self._client.session.subscriptions[push.type_url]
            assert isinstance(subscription, DeltaSubscription)
            _request(subscription, push.nonce, ())
            size += len(push.payload)
            names += push.changed
        return size, names


def _request(subscription: DeltaSubscription, nonce: str, names: Sequence[str]) -> None:
    subscription.request(nonce=nonce, subscribe=names, unsubscribe=(), initial_versions={}, error=None, now=0.0)


async def route_edits(sizes: Sizes) -> list[Figure]:
    """A file on disk through the reconciler to the response, with policies, caches and limits on the routes."""
    text = gateway_yaml(routes=sizes.routes, services=max(sizes.routes // 10, 1))
    edited = f"name: route-{sizes.routes // 2},"
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        path, store = Path(folder) / "gateway.yaml", Store()
        path.write_text(text)
        reconciler = Reconciler(path=str(path), environment={}, store=store, metrics=Metrics(CollectorRegistry()))
        await _read(reconciler)
        envoy = _Envoy(store, "bench")
        path.touch()
        await _read(reconciler)
        unchanged, _ = envoy.take()
        costs, sizes_sent = [], []
        for number in range(2 * sizes.repetitions + 1):
            path.write_text(text.replace(edited, f"{edited} timeout: {number + 1}s,"))
            began = process_time()
            await _read(reconciler)
            sent, names = envoy.take()
            costs.append(process_time() - began)
            sizes_sent.append(sent)
            if names != ["public"]:
                raise BenchError(f"one route was edited, and {names} were sent")
    return [
        Figure(f"{sizes.routes:,} routes, one edited: CPU from file to push", median(costs) * 1e3, " ms", 100),
        Figure("... bytes sent to a delta stream, its one changed RouteConfiguration", median(sizes_sent), " B"),
        Figure("... bytes sent after a reload that changes nothing", unchanged, " B", 0),
    ]


async def _read(reconciler: Reconciler) -> None:
    if not await reconciler.begin(strict=True):
        raise BenchError("; ".join(reconciler.status.faults))


class Changing:
    """One client and endpoint changes, without gRPC."""

    def __init__(self, clusters: int) -> None:
        self._store, self._clusters = Store(), clusters
        self._store.publish("bench", Snapshot.of(assignment(number) for number in range(clusters)))
        feed = self._store.feeds["bench"]
        node = Node("1", "bench", NodeKind.ENVOY)
        self._client = Client(node, feed, peer="", variant="delta", timings=self._store.timings)
        self._subscription = DeltaSubscription(CLUSTER_LOAD_ASSIGNMENT, answer_s=5.0)
        self._client.session.subscribe(self._subscription)
        _request(self._subscription, "", [f"s{number}" for number in range(clusters)])
        self._take()
        self._count = 0

    def change(self) -> float:
        """CPU seconds from the endpoints to the ACK."""
        self._count += 1
        began = process_time()
        resource = assignment(self._count % min(50, self._clusters), self._count)
        changes = {CLUSTER_LOAD_ASSIGNMENT: frozenset({resource.name})}
        self._store.publish("bench", self._store.feeds["bench"].current.snapshot.with_resource(resource), changes)
        self._take()
        return process_time() - began

    def _take(self) -> None:
        self._client.catch_up(0.0)
        push = self._client.session.take({CLUSTER_LOAD_ASSIGNMENT}, 0.0)
        assert push is not None
        _request(self._subscription, push.nonce, ())


def endpoint_changes(sizes: Sizes) -> list[Figure]:
    """In turns, so that the machine's moods meet all alike."""
    counts = (sizes.clusters // 100, sizes.clusters // 10, sizes.clusters)
    changing = {count: Changing(count) for count in counts}
    gc.collect()
    costs: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(sizes.changes):
        for count in counts:
            costs[count].append(changing[count].change())
    medians = {count: median(found) for count, found in costs.items()}
    return [
        *(Figure(f"one endpoint change, {count:,} clusters", cost * 1e6, " us") for count, cost in medians.items()),
        Figure("... the dearest in times of the cheapest", max(medians.values()) / min(medians.values()), " x", 1.2),
    ]


async def streams(sizes: Sizes) -> list[Figure]:
    """Ours and the bare server in turns; memory of the most streams, because what is taken once is in it too."""
    figures, memory_of = list[Figure](), ("", 0.0, 0.0)
    for count in sizes.streams:
        ours, bare = list[Cost](), list[Cost]()
        for _ in range(sizes.repetitions):
            ours.append(await xds_streams.measure("ours", count, sizes.changes))
            bare.append(await xds_streams.measure("bare", count, sizes.changes))
        pairs = list(zip(ours, bare, strict=True))
        cpu, p99 = median(one.cpu_s for one in ours) * 1e3, median(one.p99_s for one in ours) * 1e3
        figures += [
            Figure(f"{count} delta streams, one endpoint change: CPU", cpu, " ms"),
            Figure("... in times of a bare grpc.aio server", median(a.cpu_s / b.cpu_s for a, b in pairs), " x", 2.5),
            Figure("... p99 until the ACK", p99, " ms"),
            Figure("... in times of a bare grpc.aio server", median(a.p99_s / b.p99_s for a, b in pairs), " x", 3),
        ]
        own, others = (median(one.kib_per_stream for one in costs) for costs in (ours, bare))
        memory_of = (f"{count} streams: memory per stream, gRPC's own included", own, others)
    what, own, others = memory_of
    return [*figures, Figure(what, own, " KiB", 100), Figure("... of the bare server", others, " KiB")]


async def measure(sizes: Sizes) -> list[Figure]:
    """Every line of the promise."""
    return [
        *builds(sizes),
        memory(sizes),
        *await route_edits(sizes),
        *endpoint_changes(sizes),
        *await streams(sizes),
    ]


def document(figures: Sequence[Figure], sizes: Sizes) -> str:
    return "\n".join(
        [
            "# What serving xDS costs",
            "",
            f"CPU time, Python {platform.python_version()}, {platform.machine()};"
            " `python -m tests.performance.xds_bench` measures it again.",
            f"Medians of {sizes.repetitions} rounds. Streams are measured beside a bare grpc.aio server that pushes",
            f"the same bytes and reads the same ACKs; both serve {xds_streams.CLUSTERS:,} assignments to each stream.",
            "",
            "| what | measured | at most | met |",
            "|---|---|---|---|",
            *(figure.row for figure in figures),
            "",
        ]
    )


def main(command_line: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.performance.xds_bench")
    parser.add_argument("--quick", action="store_true", help="small sizes: does everything run? writes no report")
    parser.add_argument("--memory-of", type=int, metavar="CLUSTERS", help=argparse.SUPPRESS)
    arguments = parser.parse_args(command_line)
    configure_logging("error", "json", process="bench")
    if arguments.memory_of:
        print(memory_kib(arguments.memory_of))
        return 0
    sizes = QUICK if arguments.quick else FULL
    try:
        text = document(asyncio.run(measure(sizes)), sizes)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(text)
    if not arguments.quick:
        REPORT.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
