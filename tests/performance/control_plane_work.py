"""What the control plane's own work costs: reading, translating and publishing configurations of some size."""

import asyncio
from collections.abc import Callable, Sequence
from statistics import median
from time import process_time

from control_plane.config.loading import Loaded, load
from control_plane.config.model.gateway import Gateway
from control_plane.endpoints import Endpoint
from control_plane.resource_types import CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER, NodeKind
from control_plane.translate import translate
from control_plane.translate.endpoints import load_assignment
from control_plane.xds.delta import DeltaSubscription
from control_plane.xds.session import Node
from control_plane.xds.store import Client, Store
from tests.performance.processes import BenchError
from tests.performance.report import Timing

_PATH = "gateway.yaml"
_HEAD = """\
version: 1
name: bench
listeners: [{name: public, address: 127.0.0.1, port: 10000}]
auth:
  jwt:
    bench:
      issuer: https://issuer.example
      audiences: [bench]
      algorithms: [HS256]
      secret: "a shared secret of the benchmark, 32 bytes or more"
rate_limits:
  per-user: {rate: 100/minute, key: [user]}
defaults:
  auth: {any_of: [jwt.bench]}
  retry: {attempts: 2, on: [connect-failure, 503]}
"""


class _OneFile:
    """A configuration that includes and names nothing."""

    def __init__(self, text: str) -> None:
        self._content = text.encode()

    def read(self, path: str) -> bytes:
        if path != _PATH:
            raise FileNotFoundError(path)
        return self._content

    def glob(self, _pattern: str) -> Sequence[str]:
        return ()


def gateway_yaml(*, routes: int, services: int) -> str:
    """A file with so many routes and services with ten endpoints each; every second route is cached and limited."""
    lines = [_HEAD, "services:\n"]
    for number in range(services):
        endpoints = ", ".join(
            f"{{address: 10.{number // 250}.{number % 250}.{last}, port: 8080}}" for last in range(1, 11)
        )
        lines.append(f"  service-{number}: {{endpoints: [{endpoints}]}}\n")
    lines.append("routes:\n")
    for number in range(routes):
        policies = ", cache: {ttl: 5s}, rate_limits: [per-user]" if number % 2 else ""
        match, service = f"{{path_prefix: /api/{number}}}", f"service-{number % services}"
        lines.append(f"  - {{name: route-{number}, match: {match}, service: {service}{policies}}}\n")
    return "".join(lines)


def measure(*, quick: bool) -> list[Timing]:
    """Reading and translating routes, and publishing one changed endpoint; small sizes in a quick run."""
    routes, repetitions = (50, 1) if quick else (1000, 5)
    files = _OneFile(gateway_yaml(routes=routes, services=routes // 10))
    loaded, gateway = _load(files)
    timings = [
        Timing(f"read and check {routes:,} routes", cpu_ms(lambda: load(_PATH, files, {}), repetitions)),
        Timing(f"translate {routes:,} routes", cpu_ms(lambda: translate(gateway, {}, loaded.materials), repetitions)),
    ]
    for clusters, streams in ((10, 2),) if quick else ((100, 1), (1000, 1), (1000, 50)):
        publication = Publication(clusters=clusters, streams=streams)
        title = f"publish one changed endpoint of {clusters:,} clusters to {streams} delta stream{'s' * (streams > 1)}"
        timings.append(Timing(title, cpu_ms(publication.change_one_endpoint, 20 * repetitions)))
    return timings


class Publication:
    """A store with connected Envoys; each change goes through everything but the sockets."""

    def __init__(self, *, clusters: int, streams: int) -> None:
        loaded, gateway = _load(_OneFile(gateway_yaml(routes=1, services=clusters)))
        self._snapshot = translate(gateway, {}, loaded.materials)
        self._store = Store()
        self._store.publish(gateway.name, self._snapshot)
        self._gateway = gateway.name
        self._clients = [self._connected(f"envoy-{number}") for number in range(streams)]
        self._changes = 0

    def change_one_endpoint(self) -> None:
        """One endpoint of one service has moved: build, publish, send to every stream, take its ACK."""
        self._changes += 1
        name = "service-7"
        endpoints = [Endpoint("10.0.0.1", 8000 + self._changes), *(Endpoint(f"10.0.0.{n}", 8080) for n in range(2, 11))]
        self._snapshot = self._snapshot.with_resource(load_assignment(name, endpoints))
        self._store.publish(self._gateway, self._snapshot)
        now = self._store.clock()
        for client in self._clients:
            client.catch_up(now)
            sent = _send_all(client, now)
            if [(name,)] != sent:
                raise BenchError(f"one changed endpoint was sent as {sent}")

    def _connected(self, node_id: str) -> Client:
        node = Node(node_id, self._gateway, NodeKind.ENVOY)
        client = Client(node, self._store.feeds[self._gateway], peer="", variant="delta", timings=self._store.timings)
        client.attach(asyncio.Event())
        now = self._store.clock()
        for type_url in _TYPES:
            subscription = DeltaSubscription(type_url, answer_s=self._store.timings.answer_s)
            names = self._snapshot.of_type(type_url) if type_url == CLUSTER_LOAD_ASSIGNMENT else ()
            _request(subscription, now, names=tuple(names))
            client.session.subscribe(subscription)
        client.catch_up(now)
        _send_all(client, now)
        return client


_TYPES = (CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER)


def _request(subscription: DeltaSubscription, now: float, *, nonce: str = "", names: Sequence[str] = ()) -> None:
    subscription.request(nonce=nonce, subscribe=names, unsubscribe=(), initial_versions={}, error=None, now=now)


def _send_all(client: Client, now: float) -> list[tuple[str, ...]]:
    """Take and acknowledge every response that is due; returns the names in each."""
    sent = []
    while (push := client.session.take(_TYPES, now)) is not None:
        subscription = client.session.subscriptions[push.type_url]
        assert isinstance(subscription, DeltaSubscription)
        _request(subscription, now, nonce=push.nonce)
        sent.append(push.changed)
    return sent


def _load(files: _OneFile) -> tuple[Loaded, Gateway]:
    loaded = load(_PATH, files, {})
    if loaded.gateway is None:
        raise BenchError("; ".join(map(str, loaded.faults)))
    return loaded, loaded.gateway


def cpu_ms(work: Callable[[], object], repetitions: int) -> float:
    """Median CPU time of one call, in milliseconds."""
    times = []
    for _ in range(repetitions):
        start = process_time()
        work()
        times.append(process_time() - start)
    return median(times) * 1000
