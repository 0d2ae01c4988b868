"""One report (OTLP metrics of an Envoy or a callout) as plain values; names are those of translate/stats_sink.py.

What is not known is left aside: an Envoy of another version may report more.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2

from control_plane.resource_types import NodeKind
from gateway_runtime.report_names import NODE_CLUSTER, NODE_ID, NODE_KIND

BOUNDS_MS = (
    *(0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0, 30_000.0),
    *(60_000.0, 300_000.0, 600_000.0, 1_800_000.0, 3_600_000.0),
)
"""Upper bounds of Envoy's histogram buckets; one more bucket holds what is above."""

CLASSES = 5
RETRIES, TIMEOUTS, OVERFLOWS, CONNECT_FAILURES = range(CLASSES, CLASSES + 4)
BUCKETS = CONNECT_FAILURES + 1
HTTP_WIDTH = BUCKETS + len(BOUNDS_MS) + 1
"""Numbers of a listener or service: answers of class 1xx..5xx, four kinds of trouble, latency buckets."""

LISTENER, SERVICE, DECISIONS, CACHE = "listener", "service", "decisions", "cache"
Key = tuple[str, ...]
"""(LISTENER, name), (SERVICE, cluster), (DECISIONS, route, reason) or (CACHE, route, outcome)."""
Numbers = tuple[float, ...]
"""Cumulative; HTTP_WIDTH of them for listeners and services, else one."""


@dataclass(frozen=True, slots=True)
class EndpointsSeen:
    """The endpoints of one cluster as one Envoy sees them, by address as it stands in names (`stat_name`)."""

    healthy: frozenset[str] = frozenset()
    unhealthy: frozenset[str] = frozenset()
    """Fail their health check, or are ejected; no requests go there."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one node says of itself."""

    node: str
    cluster: str
    kind: NodeKind
    counters: Mapping[Key, Numbers]
    gauges: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """By metric and listener or cluster ("" for those of the process)."""
    endpoints: Mapping[str, EndpointsSeen] = field(default_factory=dict)
    """By cluster, of those whose endpoints Envoy judges itself."""


class BadReportError(Exception):
    """These bytes are no report, or nobody's."""


_SUFFIXES = {
    **{f".upstream_rq_{digit}xx": digit - 1 for digit in range(1, CLASSES + 1)},
    **{f".downstream_rq_{digit}xx": digit - 1 for digit in range(1, CLASSES + 1)},
    ".upstream_rq_retry": RETRIES,
    ".upstream_rq_timeout": TIMEOUTS,
    ".upstream_rq_pending_overflow": OVERFLOWS,
    ".upstream_cx_connect_fail": CONNECT_FAILURES,
    ".upstream_rq_time": BUCKETS,
    ".downstream_rq_time": BUCKETS,
}
"""Place among the numbers of a listener or service, by the end of a statistic's name."""
_OF_CALLOUTS = {
    "gateway_authz_decisions_total": (DECISIONS, "reason"),
    "gateway_cache_requests_total": (CACHE, "outcome"),
}
_MOST_NAMES = 500_000


def stat_name(name: str) -> str:
    """A cluster or listener as it stands in the names of Envoy's statistics."""
    return name.replace("://", "_").replace(":", "_")


_GAUGE, _HEALTH = -1, -2
_Meaning = tuple[int, Key]
"""The place of a counter among its numbers, and their key; _GAUGE, with metric and cluster; _HEALTH, with cluster
and address.

A tuple, not classes: this is looked at once for each number of each report.
"""


def _meaning(name: str) -> _Meaning:
    """What the full name of a statistic says."""
    family, _, rest = name.partition(".")
    head, _, last = rest.rpartition(".")
    place = _SUFFIXES.get("." + last)
    if place is not None:
        return place, (SERVICE if family == "cluster" else LISTENER, head)
    if family == "cluster" and last == "healthy":
        cluster, _, address = head.partition(".endpoint.")
        return _HEALTH, (cluster, address)
    if head.endswith(".outlier_detection"):
        return _GAUGE, ("ejections_active", head.removesuffix(".outlier_detection"))
    return _GAUGE, (last, head)


class Reader:
    """Remembers what names mean: they are the same in every report."""

    def __init__(self) -> None:
        self._meanings: dict[str, _Meaning] = {}

    def read(self, body: bytes) -> Report:
        """Raises BadReportError."""
        message = metrics_service_pb2.ExportMetricsServiceRequest()
        try:
            message.ParseFromString(body)
        except DecodeError as error:
            raise BadReportError("this is no ExportMetricsServiceRequest") from error
        if len(message.resource_metrics) != 1:
            raise BadReportError("a report is one resource's")
        sender = {one.key: one.value.string_value for one in message.resource_metrics[0].resource.attributes}
        if not sender.get(NODE_ID):
            raise BadReportError(f"a report needs the resource attribute {NODE_ID}")
        kind = NodeKind.of(sender.get(NODE_KIND, ""))
        reading = _of_envoy(self._known, message) if kind is NodeKind.ENVOY else _of_callout(message)
        return Report(
            sender[NODE_ID],
            sender.get(NODE_CLUSTER, ""),
            kind,
            {key: tuple(numbers) for key, numbers in reading.counters.items()},
            reading.gauges,
            {name: EndpointsSeen(frozenset(up), frozenset(down)) for name, (up, down) in reading.endpoints.items()},
        )

    def _known(self, name: str) -> _Meaning:
        found = self._meanings.get(name)
        if found is None:
            if len(self._meanings) >= _MOST_NAMES:
                self._meanings.clear()  # endpoints have come and gone for a long time
            found = self._meanings[name] = _meaning(name)
        return found


def _metrics(message: metrics_service_pb2.ExportMetricsServiceRequest) -> Iterator[metrics_pb2.Metric]:
    for scope in message.resource_metrics[0].scope_metrics:
        yield from scope.metrics


class _Reading:
    """Numbers of one thing come in several metrics."""

    def __init__(self) -> None:
        self.counters: dict[Key, list[float]] = {}
        self.gauges: dict[tuple[str, str], float] = {}
        self.endpoints: dict[str, tuple[set[str], set[str]]] = {}

    def endpoint(self, cluster: str, address: str, *, healthy: bool) -> None:
        seen = self.endpoints.get(cluster)
        if seen is None:
            seen = self.endpoints[cluster] = (set(), set())
        seen[0 if healthy else 1].add(address)

    def http(self, key: Key) -> list[float]:
        numbers = self.counters.get(key)
        if numbers is None:
            numbers = self.counters[key] = [0] * HTTP_WIDTH
        return numbers


def _of_envoy(
    meaning_of: Callable[[str], _Meaning], message: metrics_service_pb2.ExportMetricsServiceRequest
) -> _Reading:
    """Every metric has one data point: full names leave nothing to distinguish."""
    reading = _Reading()
    for metric in _metrics(message):
        place, key = meaning_of(metric.name)
        if place == _HEALTH:
            reading.endpoint(*key, healthy=_value(metric.gauge) != 0)
        elif place == _GAUGE:
            reading.gauges[key[0], key[1]] = _value(metric.gauge)
        elif place != BUCKETS:
            reading.http(key)[place] += _value(metric.sum)
        elif metric.histogram.data_points:
            _take_histogram(reading.http(key), metric.histogram.data_points[0])
    return reading


def _value(numbers: metrics_pb2.Sum | metrics_pb2.Gauge) -> int:
    points = numbers.data_points
    return points[0].as_int if points else 0


def _take_histogram(numbers: list[float], point: metrics_pb2.HistogramDataPoint) -> None:
    """Buckets of other bounds than Envoy's own are left aside: their place among these would be a guess."""
    if len(point.bucket_counts) == len(BOUNDS_MS) + 1 and tuple(point.explicit_bounds) == BOUNDS_MS:
        numbers[BUCKETS:] = point.bucket_counts


def _of_callout(message: metrics_service_pb2.ExportMetricsServiceRequest) -> _Reading:
    reading = _Reading()
    for metric in _metrics(message):
        if metric.name not in _OF_CALLOUTS:
            continue
        kind, label = _OF_CALLOUTS[metric.name]
        for point in metric.sum.data_points:
            labels = {one.key: one.value.string_value for one in point.attributes}
            numbers = reading.counters.setdefault((kind, labels.get("route", ""), labels.get(label, "")), [0])
            numbers[0] += point.as_double
    return reading


def quantile_ms(buckets: Sequence[float], q: float) -> float | None:
    """By linear interpolation in the bucket that holds it, as Prometheus does; None without any request."""
    total = sum(buckets)
    if total <= 0:
        return None
    rank, lower = q * total, 0.0
    for upper, count, reached in zip((*BOUNDS_MS, BOUNDS_MS[-1]), buckets, accumulate(buckets), strict=True):
        if reached >= rank and count > 0:
            return lower + (upper - lower) * (1 - (reached - rank) / count)
        lower = upper
    return BOUNDS_MS[-1]
