"""The HTTP side of a process: /metrics, /healthz and /readyz, and whatever routes the process adds."""

import asyncio
import hmac
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry
from prometheus_client.exposition import choose_encoder

from gateway_runtime.log_metrics import LogCollector
from gateway_runtime.process import StartError
from gateway_runtime.telemetry import Logs

Readiness = Callable[[], str | None]
"""None if the process is ready, else why not in a few words."""


_OPEN = frozenset({"/healthz", "/readyz"})
"""Probes have no token."""


def register_process_metrics(registry: CollectorRegistry, logs: Logs) -> None:
    """CPU, memory, descriptors, age, garbage collection and log of this process, which every registry should have."""
    for collector in (GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, LogCollector(logs)):
        registry.register(collector)


def admin_app(registry: CollectorRegistry, readiness: Readiness) -> web.Application:
    """An application with the three paths that every process has.

    /healthz answers 200 as long as the event loop turns; /readyz 200 or 503 with the reason.
    """

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    async def healthz(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_request: web.Request) -> web.Response:
        reason = readiness()
        return web.Response(text="ok\n") if reason is None else web.Response(status=503, text=f"{reason}\n")

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz), web.get("/readyz", readyz)])
    return app


def token_wanted(token: str) -> Middleware:
    """Every caller but probes needs `Authorization: Bearer <token>`."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        sent = request.headers.get("Authorization", "").encode()
        if request.path in _OPEN or hmac.compare_digest(sent, f"Bearer {token}".encode()):
            return await handler(request)
        return web.Response(status=401, text="a token is needed\n", headers={"WWW-Authenticate": "Bearer"})

    return check


@asynccontextmanager
async def http_server(
    app: web.Application, address: str, *, name: str, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Serve app on `host:port` inside the block; the value is the bound `host:port` (port 0: any free one).

    Args:
        tls: None: plain HTTP.

    Raises:
        StartError: the address is taken or not of this machine.
    """
    host, _, port = address.rpartition(":")
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host.strip("[]"), int(port), ssl_context=tls)
        try:
            await site.start()
        except OSError as error:
            raise StartError(f"{name}: cannot listen on {address}: {error.strerror or error}") from error
        bound = runner.addresses[0][1]
        yield f"{host}:{bound}"
    finally:
        await runner.cleanup()


async def serve_http(app: web.Application, address: str, *, name: str) -> None:
    """Serve until cancelled."""
    async with http_server(app, address, name=name):
        await asyncio.Event().wait()
