"""The first page: is anything wrong, and how does the gateway do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from control_plane.dashboard import changes, clients, services
from control_plane.dashboard.charts import Chart, chart, sparkline
from control_plane.dashboard.findings import Finding, Severity, findings
from control_plane.dashboard.scene import Scene
from control_plane.dashboard.wording import count, milliseconds, percent, rate
from control_plane.traffic.numbers import Callouts, Http, Point
from control_plane.traffic.traffic import SAMPLE_S

_BUSIEST = 8
_LATEST = 6


@dataclass(frozen=True, slots=True)
class Figure:
    """One number with its recent course."""

    key: str
    name: str
    value: str
    note: str
    """What else belongs to it."""
    tone: str
    """good, bad or plain."""
    course: Chart | None


@dataclass(frozen=True, slots=True)
class Overview:
    """All of the first page."""

    gateway: str
    findings: Sequence[Finding]
    verdict: str
    tone: str
    """good, warning or critical."""
    figures: Sequence[Figure]
    requests: Chart | None
    latency: Chart | None
    busiest: Sequence[tuple[services.ServiceRow, Chart | None]]
    by_kind: Sequence[tuple[str, int, int]]
    """Kind of client, how many are connected, and how many of them have everything."""
    reporting: int
    latest: Sequence[changes.EntryRow]
    resources: Mapping[str, int]


def overview(scene: Scene, gateway: str) -> Overview:
    """Of one gateway; what is wrong is of all."""
    found = findings(scene)
    total, callouts = scene.traffic.total(gateway), scene.traffic.callouts(gateway)
    points = scene.traffic.history(gateway)
    rows = [row for row in services.rows(scene, gateway) if row.http.requests]
    rows.sort(key=lambda row: -row.http.requests)
    return Overview(
        gateway,
        found,
        *_verdict(found),
        _figures(scene, gateway, total, callouts, points),
        _requests(points),
        _latency(points),
        [(row, services.trend(scene, row)) for row in rows[:_BUSIEST]],
        _by_kind(scene, gateway),
        len(scene.traffic.reporting(gateway)),
        changes.rows(scene, gateway, _LATEST),
        next((one.resources for one in scene.status.gateways if one.name == gateway), {}),
    )


def _verdict(found: Sequence[Finding]) -> tuple[str, str]:
    critical = sum(one.severity is Severity.CRITICAL for one in found)
    if critical:
        others = len(found) - critical
        return f"{count(critical, 'problem')} now{f', {others} more to look at' if others else ''}", "critical"
    if found:
        return f"{count(len(found), 'thing')} to look at, requests are served", "warning"
    return "Everything is in order", "good"


def _figures(scene: Scene, gateway: str, total: Http, callouts: Callouts, points: Sequence[Point]) -> Sequence[Figure]:
    active = scene.traffic.active_requests(gateway)
    spark = points[-60:]

    def course(values: Sequence[float | None], name: str, label: str) -> Chart | None:
        return sparkline([value or 0.0 for value in values], name, label) if len(values) > 1 else None

    return (
        Figure(
            "requests",
            "Requests",
            f"{rate(total.requests)} /s",
            f"{active:,} in flight" if active is not None else "how many are in flight is not known",
            "plain",
            course([one.requests for one in spark], "requests", "requests, the last five minutes"),
        ),
        Figure(
            "errors",
            "Server errors",
            percent(total.error_ratio),
            f"{rate(total.server_errors)} /s 5xx, {rate(total.client_errors)} /s 4xx",
            "bad" if (total.error_ratio or 0.0) > 0.01 else "plain",
            course([one.server_errors for one in spark], "errors", "server errors, the last five minutes"),
        ),
        Figure(
            "latency",
            "Latency, 95th percentile",
            milliseconds(total.p95_ms),
            f"median {milliseconds(total.p50_ms)}, 99th {milliseconds(total.p99_ms)}",
            "plain",
            course([one.p95_ms for one in spark], "latency", "latency, the last five minutes"),
        ),
        Figure(
            "cache",
            "Cache hits",
            percent(callouts.hit_ratio),
            f"{rate(sum(callouts.cache.values()))} /s ask the cache",
            "plain",
            course([one.hit_ratio for one in spark], "hits", "cache hits, the last five minutes"),
        ),
        Figure(
            "limits",
            "Limit denials",
            f"{rate(callouts.limited)} /s",
            f"{rate(callouts.denied)} /s refused for other reasons",
            "plain",
            course([one.limited for one in spark], "limited", "denials by limits, the last five minutes"),
        ),
    )


def _requests(points: Sequence[Point]) -> Chart | None:
    if len(points) < 2:
        return None
    span_s = (len(points) - 1) * SAMPLE_S
    return chart(
        [
            ("requests", [one.requests for one in points]),
            ("client-errors", [one.client_errors for one in points]),
            ("errors", [one.server_errors for one in points]),
        ],
        f"Requests a second, now {rate(points[-1].requests)}, of them {rate(points[-1].server_errors)} server errors.",
        unit="",
        span_s=span_s,
    )


def _latency(points: Sequence[Point]) -> Chart | None:
    if len(points) < 2:
        return None
    now = points[-1]
    return chart(
        [
            ("p99", [one.p99_ms for one in points]),
            ("p95", [one.p95_ms for one in points]),
            ("p50", [one.p50_ms for one in points]),
        ],
        f"Latency: median {milliseconds(now.p50_ms)}, p95 {milliseconds(now.p95_ms)}, p99 {milliseconds(now.p99_ms)}.",
        unit="ms",
        span_s=(len(points) - 1) * SAMPLE_S,
    )


def _by_kind(scene: Scene, gateway: str) -> Sequence[tuple[str, int, int]]:
    counts: dict[str, list[int]] = {}
    for node in scene.status.nodes:
        if node.cluster in (gateway, ""):
            one = counts.setdefault(clients.KINDS.get(node.kind, node.kind), [0, 0])
            one[0] += 1
            one[1] += node.in_sync
    return [(kind, connected, in_sync) for kind, (connected, in_sync) in sorted(counts.items())]
