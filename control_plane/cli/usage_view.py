"""What `gatewayctl usage` asks for, and its tables."""

import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_TIMEOUT_S = 30.0


class UsageError(Exception):
    """For the operator, in one line."""


class _Shown(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Latency(_Shown):
    p50: float
    p95: float
    p99: float


class _Line(_Shown):
    name: str
    requests: int
    share: float
    client_errors: int
    server_errors: int
    bytes: int
    latency_ms: _Latency | None


class _Caller(_Shown):
    consumer: str
    last_seen: str
    requests: int


class _Deprecated(_Shown):
    route: str
    version: str
    since: str
    sunset: str
    successor: str
    requests: int
    share: float
    consumers: int
    last_callers: tuple[_Caller, ...]


class _Report(_Shown):
    """As much of report.Report as is shown."""

    window: str
    since: str
    until: str
    total: _Line
    consumers: int
    lost: int
    by_consumer: tuple[_Line, ...]
    by_route: tuple[_Line, ...]
    by_version: tuple[_Line, ...]
    by_status: tuple[_Line, ...]
    deprecated: tuple[_Deprecated, ...]


def fetch(server: str, token: str, *, as_csv: bool, window: str, top: int, gateway: str) -> bytes:
    """The answer's body. Raises UsageError."""
    query = urlencode({"window": window, "top": top} | ({"gateway": gateway} if gateway else {}))
    url = f"{server.rstrip('/')}/api/usage{'.csv' if as_csv else ''}?{query}"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # nosec B310 - the caller's own --server
            body: bytes = answer.read()
            return body
    except urllib.error.HTTPError as error:
        hint = ": set GATEWAY_TOKEN" if error.code == 401 else ""
        raise UsageError(f"{server} answers {error.code} {error.reason}{hint}") from error
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise UsageError(f"no analytics at {server}: {reason} (is it switched off?)") from error


def show(body: bytes, server: str) -> None:
    """Print the tables. Raises UsageError."""
    try:
        report = _Report.model_validate_json(body)
    except ValidationError as error:
        raise UsageError(f"{server} is no analytics of this gateway") from error
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{report.window}: {report.since} to {report.until}")
    lost = f", {report.lost:,} not counted" if report.lost else ""
    total = report.total
    console.print(
        f"{total.requests:,} requests of {report.consumers:,} consumers, {total.client_errors:,} 4xx, "
        f"{total.server_errors:,} 5xx{lost}"
    )
    for what, lines, with_latency in (
        ("consumer", report.by_consumer, False),
        ("route", report.by_route, True),
        ("version", report.by_version, True),
        ("status", report.by_status, False),
    ):
        if lines:
            console.print(_table(what, lines, with_latency))
    for text in _deprecated(report.deprecated):
        console.print(text)


def _table(what: str, lines: Sequence[_Line], with_latency: bool) -> Table:
    table = Table(what, box=None, pad_edge=False, header_style="bold")
    heads = ("requests", "share", "4xx", "5xx", "bytes", *(("p50 ms", "p95 ms", "p99 ms") if with_latency else ()))
    for head in heads:
        table.add_column(head, justify="right")
    for line in lines:
        cells = [f"{line.requests:,}", f"{line.share:.1%}", f"{line.client_errors:,}", f"{line.server_errors:,}"]
        cells.append(f"{line.bytes:,}")
        if with_latency:
            found = line.latency_ms
            cells += [f"{value:,.1f}" for value in (found.p50, found.p95, found.p99)] if found is not None else []
        table.add_row(escape(line.name), *cells)
    return table


def _deprecated(places: Sequence[_Deprecated]) -> Iterator[str | Table]:
    for place in places:
        facts = [f"since {place.since}"]
        facts += [f"until {place.sunset}"] if place.sunset else []
        facts += [f"successor {place.successor}"] if place.successor else []
        use = f"{place.requests:,} requests of {place.consumers:,} consumers ({place.share:.1%} of all)"
        yield escape(f"\ndeprecated: route {place.route}, version {place.version}, {', '.join(facts)}: {use}")
        table = Table("last caller", "last call", box=None, pad_edge=False, header_style="bold")
        table.add_column("requests", justify="right")
        for caller in place.last_callers:
            table.add_row(escape(caller.consumer), caller.last_seen, f"{caller.requests:,}")
        yield table
