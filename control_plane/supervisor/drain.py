"""Empties an Envoy before it is stopped: no request that it accepted is lost."""

import asyncio

from control_plane.supervisor.probe import http_request
from control_plane.supervisor.processes import EnvoyDrain

POLL_S = 0.05
HOST = "127.0.0.1"
ACTIVE_STATS = "/stats?filter=downstream_rq_active"


async def drain_envoy(drain: EnvoyDrain) -> None:
    """Fail the health check, close listeners gracefully, and wait until no request is active or the limit has passed.

    /ready answers 503 from here on; answers carry `connection: close`, so that clients go elsewhere
    (https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/operations/draining).
    """
    try:
        async with asyncio.timeout(drain.limit_s):
            await http_request("POST", HOST, drain.admin_port, "/healthcheck/fail")
            await http_request("POST", HOST, drain.admin_port, "/drain_listeners?graceful")
            while await _active_requests(drain.admin_port):  # noqa: ASYNC110 - Envoy tells nobody
                await asyncio.sleep(POLL_S)
    except (OSError, TimeoutError):
        pass  # it is dead, or has had its time


async def _active_requests(admin_port: int) -> int:
    _, text = await http_request("GET", HOST, admin_port, ACTIVE_STATS)
    return active_requests(text)


def active_requests(stats: str) -> int:
    """The sum over the listeners of clients; the admin's own, which asks for it, does not count."""
    total = 0
    for line in stats.splitlines():
        name, separator, value = line.rpartition(": ")
        if separator and name.startswith("http.") and not name.startswith(("http.admin.", "http.status.")):
            total += int(value) if value.isdigit() else 0
    return total
