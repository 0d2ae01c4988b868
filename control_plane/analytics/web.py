"""The HTTP side: the report as a page, JSON and CSV beside what every process has. Read-only."""

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry

from control_plane.analytics.page import page
from control_plane.analytics.report import to_csv, to_json
from control_plane.analytics.storage import StorageError
from control_plane.analytics.windows import WINDOWS, Window
from control_plane.analytics.worker import Worker
from gateway_runtime.admin import admin_app, token_wanted

_MAX_TOP = 1000
_CSV_ROWS = 10_000
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
PAGE_HEADERS = {
    **_HEADERS,
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
}


def analytics_app(registry: CollectorRegistry, worker: Worker, *, token: str = "") -> web.Application:
    """
    Args:
        token: every caller but probes needs `Authorization: Bearer <token>`; "" asks for none.
    """

    async def as_page(request: web.Request) -> web.Response:
        window, gateway, top = _wanted(request)
        made = await worker.report(window, gateway=gateway, top=top)
        text = page(made, reloads="reload" in request.query)
        return web.Response(text=text, content_type="text/html", headers=PAGE_HEADERS)

    async def as_json(request: web.Request) -> web.Response:
        window, gateway, top = _wanted(request)
        made = await worker.report(window, gateway=gateway, top=top)
        return web.Response(body=to_json(made), content_type="application/json", headers=_HEADERS)

    async def as_csv(request: web.Request) -> web.Response:
        window, gateway, _ = _wanted(request)
        series = await worker.series(window, gateway=gateway, limit=_CSV_ROWS)
        headers = {**_HEADERS, "Content-Disposition": f'attachment; filename="usage-{window.name}.csv"'}
        return web.Response(text=to_csv(series), content_type="text/csv", headers=headers)

    app = admin_app(registry, lambda: None)
    app.add_routes([web.get("/", as_page), web.get("/api/usage", as_json), web.get("/api/usage.csv", as_csv)])
    app.middlewares.append(_storage_errors)
    if token:
        app.middlewares.insert(0, token_wanted(token))
    return app


@web.middleware
async def _storage_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The reason stands in the log."""
    try:
        return await handler(request)
    except StorageError:
        raise web.HTTPServiceUnavailable(text="the usage cannot be read now\n") from None


def _wanted(request: web.Request) -> tuple[Window, str, int]:
    """Window, gateway and how many of each kind are named."""
    name = request.query.get("window", "24h")
    if name not in WINDOWS:
        raise web.HTTPBadRequest(text=f"window is one of {', '.join(WINDOWS)}\n")
    top = request.query.get("top", "20")
    if not (top.isascii() and top.isdigit() and 1 <= len(top) <= 4 and 1 <= int(top) <= _MAX_TOP):
        raise web.HTTPBadRequest(text=f"top is a number from 1 to {_MAX_TOP}\n")
    return WINDOWS[name], request.query.get("gateway", ""), int(top)
