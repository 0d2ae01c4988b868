"""What was found -> the report, and the report as JSON and CSV. Field names are an interface: they are added to."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from control_plane.analytics import latency
from control_plane.analytics.entries import OTHER, Deprecation, Key
from control_plane.analytics.latency import Bins, Percentiles
from control_plane.analytics.storage import Count, DeprecatedUse, Found
from control_plane.analytics.windows import Window

UNVERSIONED = "(none)"
NO_ROUTE = "(no route)"


@dataclass(frozen=True, slots=True)
class Line:
    """Requests that have something in common."""

    name: str
    requests: int
    share: float
    """Of all requests of the window, 0 to 1."""
    client_errors: int
    server_errors: int
    bytes: int
    latency_ms: Percentiles | None = None
    """Of routes, versions and everything; not of consumers."""


@dataclass(frozen=True, slots=True)
class LastCaller:
    consumer: str
    last_seen: str
    requests: int
    """Since it was first seen, forgotten 30 days after its last call."""


@dataclass(frozen=True, slots=True)
class Deprecated:
    """A route that says it is deprecated, and who still calls it."""

    gateway: str
    route: str
    version: str
    since: str
    sunset: str
    successor: str
    requests: int
    share: float
    consumers: int
    last_callers: tuple[LastCaller, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """One window of one gateway, or of all."""

    window: str
    since: str
    until: str
    gateway: str
    """"" is all of them."""
    total: Line
    consumers: int
    """How many are named, anonymous callers aside."""
    lost: int
    """Requests of the window that are not in it, as far as Envoys tell."""
    by_consumer: tuple[Line, ...]
    """The most requests first; the rest together is the last one, OTHER. So it is with the other lists."""
    by_route: tuple[Line, ...]
    by_version: tuple[Line, ...]
    by_status: tuple[Line, ...]
    deprecated: tuple[Deprecated, ...]


def report(found: Found, window: Window, now_s: float, *, gateway: str) -> Report:
    total = found.totals
    by_route = _latencies((place.route, bins) for place, bins in found.latency.items())
    by_version = _latencies((place.version, bins) for place, bins in found.latency.items())
    everything: Bins = {}
    for bins in found.latency.values():
        latency.add(everything, bins)
    return Report(
        window=window.name,
        since=_moment(window.first_bucket(now_s)),
        until=_moment(now_s),
        gateway=gateway,
        total=_line(total, total.requests, latency.percentiles(everything)),
        consumers=found.consumers,
        lost=found.lost,
        by_consumer=_lines(found.by["consumer"], total, {}, ""),
        by_route=_lines(found.by["route"], total, by_route, NO_ROUTE),
        by_version=_lines(found.by["version"], total, by_version, UNVERSIONED),
        by_status=_lines(found.by["status"], total, {}, ""),
        deprecated=tuple(_deprecated(each, total.requests) for each in found.deprecated),
    )


def to_json(made: Report) -> bytes:
    return orjson.dumps(made, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def to_csv(series: Iterable[tuple[Key, int, int]]) -> str:
    """A line for each combination of what is counted by."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("gateway", "consumer", "route", "version", "status", "requests", "bytes"))
    for key, requests, size in series:
        writer.writerow(
            (_cell(key.gateway), _cell(key.consumer), _cell(key.route), key.version, key.status, requests, size)
        )
    return text.getvalue()


def _cell(text: str) -> str:
    """Not a formula, whatever a token's subject looks like (https://owasp.org/www-community/attacks/CSV_Injection)."""
    return f"'{text}" if text[:1] in tuple("=+-@\t\r") else text


def _latencies(parts: Iterable[tuple[str, Bins]]) -> dict[str, Percentiles]:
    sums: dict[str, Bins] = {}
    for name, bins in parts:
        latency.add(sums.setdefault(name, {}), bins)
    return {name: found for name, bins in sums.items() if (found := latency.percentiles(bins)) is not None}


def _lines(counts: Sequence[Count], total: Count, latencies: dict[str, Percentiles], nameless: str) -> tuple[Line, ...]:
    lines = [_line(each, total.requests, latencies.get(each.name), nameless) for each in counts]
    rest = Count(
        OTHER,
        total.requests - sum(each.requests for each in counts),
        total.client_errors - sum(each.client_errors for each in counts),
        total.server_errors - sum(each.server_errors for each in counts),
        total.bytes - sum(each.bytes for each in counts),
    )
    return (*lines, _line(rest, total.requests)) if rest.requests > 0 else tuple(lines)


def _line(count: Count, all_requests: int, percentiles: Percentiles | None = None, nameless: str = "") -> Line:
    return Line(
        count.name or nameless,
        count.requests,
        _share(count.requests, all_requests),
        count.client_errors,
        count.server_errors,
        count.bytes,
        percentiles,
    )


def _deprecated(use: DeprecatedUse, all_requests: int) -> Deprecated:
    place, said = use.place, use.deprecation
    callers = tuple(LastCaller(name, _moment(last_seen_s), requests) for name, requests, last_seen_s in use.callers)
    return Deprecated(
        place.gateway,
        place.route,
        place.version or UNVERSIONED,
        _since(said),
        said.sunset,
        said.successor,
        use.requests,
        _share(use.requests, all_requests),
        use.consumers,
        callers,
    )


def _since(said: Deprecation) -> str:
    """A Deprecation header is `@` and seconds since 1970."""
    seconds = said.since.removeprefix("@")
    return _moment(int(seconds)) if seconds.isdigit() and len(seconds) < 12 else said.since


def _share(requests: int, all_requests: int) -> float:
    return round(requests / all_requests, 4) if all_requests else 0.0


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
