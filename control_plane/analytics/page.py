"""The report as one page: no script, nothing from elsewhere, dark and light; loaded again every 30 s if asked to."""

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from urllib.parse import urlencode

from control_plane.analytics.report import Deprecated, Line, Report
from control_plane.analytics.windows import WINDOWS

_STYLE = (
    ":root{color-scheme:light dark;--paper:#fff;--ink:#16181c;"
    "--line:#d0d4da;--soft:#5b6470;--bar:#1f5fb8;--bad:#b3261e}"
    "@media(prefers-color-scheme:dark){:root{--paper:#14161a;--ink:#e8eaed;"
    "--line:#3a4048;--soft:#a4adb8;--bar:#6ea8fe;--bad:#ff8a80}}"
    "html{background:var(--paper);color:var(--ink)}a{color:var(--bar)}"
    "body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;padding:1.5rem;max-width:76rem}"
    "h1{font-size:1.5rem;margin:0}h2{font-size:1.15rem;margin:2rem 0 .5rem}"
    "nav{margin:.5rem 0 1rem}nav a,nav b{margin-right:1rem}.soft{color:var(--soft)}.bad{color:var(--bad)}"
    "dl{display:flex;flex-wrap:wrap;gap:1.5rem;margin:1rem 0}dt{color:var(--soft)}dd{margin:0;font-size:1.4rem}"
    ".wide{overflow-x:auto;margin-top:1.2rem}table{border-collapse:collapse;width:100%}"
    "caption{text-align:left;font-weight:600;padding:.3rem 0}"
    "td,th{padding:.25rem .9rem .25rem 0;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line);"
    "font-variant-numeric:tabular-nums}"
    "td:first-child,th:first-child{text-align:left;white-space:normal;overflow-wrap:anywhere}"
    "meter{width:7rem;height:.8rem;vertical-align:middle}.share{display:inline-block;min-width:3.6em}"
)


def page(made: Report, *, reloads: bool = False) -> str:
    """The whole document.

    Args:
        reloads: it loads itself again, which takes away from readers what they are reading: only who asks gets it.
    """
    total = made.total
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta http-equiv="refresh" content="30">' if reloads else "",
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>Usage, {escape(made.window)}</title><style>{_STYLE}</style></head><body><main>",
        f"<h1>Usage{f' of {escape(made.gateway)}' if made.gateway else ''}</h1>",
        *_navigation(made, reloads),
        f'<p class="soft">{escape(made.since)} to {escape(made.until)}</p>',
        *_figures(made),
    ]
    if not total.requests:
        parts.append("<p>No requests in this window.</p>")
    parts += [
        *_table("Consumers", "consumer", made.by_consumer, with_latency=False),
        *_table("Routes", "route", made.by_route),
        *_table("API versions", "version", made.by_version),
        *_table("Statuses", "status", made.by_status, with_latency=False),
        *_deprecated(made.deprecated),
        "</main></body></html>",
    ]
    return "".join(parts)


def _navigation(made: Report, reloads: bool) -> Iterator[str]:
    yield '<nav aria-label="Window">'
    for name in WINDOWS:
        query = _query(name, made.gateway, reloads)
        current = name == made.window
        yield f'<b aria-current="page">{name}</b>' if current else f'<a href="/?{query}">{name}</a>'
    query = _query(made.window, made.gateway)
    yield f'<a href="/api/usage?{query}">JSON</a><a href="/api/usage.csv?{query}">CSV</a>'
    switched = "stop loading it again" if reloads else "load it again every 30 s"
    yield f'<a href="/?{_query(made.window, made.gateway, not reloads)}">{switched}</a></nav>'


def _query(window: str, gateway: str, reloads: bool = False) -> str:
    more = ({"gateway": gateway} if gateway else {}) | ({"reload": "30"} if reloads else {})
    return escape(urlencode({"window": window} | more))


def _figures(made: Report) -> Iterator[str]:
    total, found = made.total, made.total.latency_ms
    yield "<dl>"
    figures = [
        ("requests", f"{total.requests:,}"),
        ("consumers", f"{made.consumers:,}"),
        ("4xx", f"{total.client_errors:,}"),
        ("5xx", f"{total.server_errors:,}"),
        ("p50, p95, p99", f"{found.p50:,.1f} / {found.p95:,.1f} / {found.p99:,.1f} ms" if found is not None else "-"),
        ("not counted", f"{made.lost:,}"),
    ]
    for name, value in figures:
        yield f"<div><dt>{name}</dt><dd>{value}</dd></div>"
    yield "</dl>"


def _table(title: str, what: str, lines: Sequence[Line], *, with_latency: bool = True) -> Iterator[str]:
    if not lines:
        return
    heads = [
        what,
        "requests",
        "share",
        "4xx",
        "5xx",
        "bytes",
        *(("p50 ms", "p95 ms", "p99 ms") if with_latency else ()),
    ]
    yield f"{_region(title)}<table><caption>{title}</caption><thead><tr>"
    yield "".join(f'<th scope="col">{head}</th>' for head in heads)
    yield "</tr></thead><tbody>"
    for line in lines:
        yield f'<tr><th scope="row">{escape(line.name)}</th>{"".join(_cells(line, with_latency))}</tr>'
    yield "</tbody></table></div>"


def _region(label: str) -> str:
    """The beginning of a part that scrolls sideways, also by keyboard."""
    return f'<div class="wide" role="region" aria-label="{escape(label)}" tabindex="0">'


def _cells(line: Line, with_latency: bool) -> Iterator[str]:
    percent = f"{line.share:.1%}"
    yield f'<td>{line.requests:,}</td><td><meter value="{line.share}" aria-hidden="true"></meter> '
    yield f'<span class="share">{percent}</span></td>'
    bad = ' class="bad"' if line.server_errors else ""
    yield f"<td>{line.client_errors:,}</td><td{bad}>{line.server_errors:,}</td><td>{line.bytes:,}</td>"
    if with_latency:
        found = line.latency_ms
        values = (found.p50, found.p95, found.p99) if found is not None else ()
        yield "".join(f"<td>{value:,.1f}</td>" for value in values) or "<td>-</td>" * 3


def _deprecated(places: Iterable[Deprecated]) -> Iterator[str]:
    for place in places:
        version = f", {place.version}" if place.version != "(none)" else ""
        yield f"<section><h2>Deprecated: {escape(place.route)}{escape(version)} ({escape(place.gateway)})</h2><p>"
        facts = [f"since {place.since}"]
        facts += [f"until {place.sunset}"] if place.sunset else []
        facts += [f"successor {place.successor}"] if place.successor else []
        facts.append(f"{place.requests:,} requests of {place.consumers:,} consumers, {place.share:.1%} of all")
        yield escape("; ".join(facts))
        label = f"Last callers of {place.route}{version} ({place.gateway})"
        yield f"</p>{_region(label)}<table><caption>Last callers</caption><thead><tr>"
        yield "".join(f'<th scope="col">{head}</th>' for head in ("consumer", "last call", "requests"))
        yield "</tr></thead><tbody>"
        for caller in place.last_callers:
            cells = f"<td>{escape(caller.last_seen)}</td><td>{caller.requests:,}</td>"
            yield f'<tr><th scope="row">{escape(caller.consumer)}</th>{cells}</tr>'
        yield "</tbody></table></div></section>"
