"""The control plane's HTTP side: a status page and /api/status beside what every process has."""

import hmac
from collections.abc import Callable

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CollectorRegistry

from control_plane.admin.page import page
from control_plane.admin.status import Status, cluster_status, status
from control_plane.kubernetes.discovery import Discovery
from control_plane.reconciler import Reconciler
from control_plane.xds.store import Store
from gateway_runtime.admin import admin_app

_OPEN = frozenset({"/healthz", "/readyz"})
"""Probes have no token."""


def control_plane_app(
    registry: CollectorRegistry,
    store: Store,
    reconciler: Reconciler,
    *,
    is_draining: Callable[[], bool],
    token: str = "",
    discovery: Discovery | None = None,
) -> web.Application:
    """
    Args:
        is_draining: whether this process is about to end.
        token: every caller but probes needs `Authorization: Bearer <token>`; "" asks for none.
    """

    def readiness() -> str | None:
        """A stale configuration is one to serve: /readyz stays 200 when the file breaks."""
        if is_draining():
            return "draining"
        return None if store.is_open else "no configuration yet"

    def current() -> Status:
        cluster = cluster_status(discovery, reconciler.gateway) if discovery is not None else None
        return status(reconciler.status, store, cluster)

    async def api_status(_request: web.Request) -> web.Response:
        headers = {"Cache-Control": "no-store"}
        return web.Response(body=orjson.dumps(current()), content_type="application/json", headers=headers)

    async def status_page(_request: web.Request) -> web.Response:
        policy = "default-src 'none'; style-src 'unsafe-inline'"
        headers = {"Cache-Control": "no-store", "Content-Security-Policy": policy}
        return web.Response(text=page(current()), content_type="text/html", headers=headers)

    app = admin_app(registry, readiness)
    app.add_routes([web.get("/", status_page), web.get("/api/status", api_status)])
    if token:
        app.middlewares.append(_authenticated(token))
    return app


def _authenticated(token: str) -> Middleware:
    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        sent = request.headers.get("Authorization", "").encode()
        if request.path in _OPEN or hmac.compare_digest(sent, f"Bearer {token}".encode()):
            return await handler(request)
        return web.Response(status=401, text="a token is needed\n", headers={"WWW-Authenticate": "Bearer"})

    return check
