"""The control plane's HTTP side: a status page and /api/status beside what every process has."""

from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web
from prometheus_client import CollectorRegistry

from control_plane.admin.api import Api
from control_plane.admin.guard import Sessions, authenticated, login_routes, on_prepare, same_site, security_headers
from control_plane.admin.status import Status, cluster_status, status
from control_plane.dashboard.live import Live
from control_plane.dashboard.pages import Pages, login_page
from control_plane.dashboard.scene import Scenes
from control_plane.gateways import Gateways
from control_plane.kubernetes.discovery import Discovery
from control_plane.reconciler import Reconciler
from control_plane.traffic.traffic import Traffic
from control_plane.xds.store import Store
from gateway_runtime.admin import admin_app


@dataclass(frozen=True, slots=True)
class Protection:
    """What is asked from callers; probes are asked nothing."""

    token: str = field(default="", repr=False)
    """`Authorization: Bearer <token>`; "" for none."""
    by_certificate: bool = False
    """A client certificate is enough, and needed if there is no token."""
    is_loopback: bool = False
    """Only this machine can reach it."""

    @property
    def is_protected(self) -> bool:
        return bool(self.token) or self.by_certificate


def control_plane_app(
    registry: CollectorRegistry,
    store: Store,
    source: Reconciler | Gateways,
    *,
    is_draining: Callable[[], bool],
    traffic: Traffic,
    live: Live,
    round_s: Callable[[], float] = lambda: 0.0,
    protection: Protection = Protection(),  # frozen
    discovery: Discovery | None = None,
) -> web.Application:
    """
    Args:
        is_draining: whether this process is about to end.
        traffic: live numbers.
        live: sends changes of pages; somebody runs it.
        round_s: between two reports of one Envoy that are read.
    """

    def readiness() -> str | None:
        """A stale configuration is one to serve: /readyz stays 200 when the file breaks."""
        if is_draining():
            return "draining"
        if store.is_open:
            return None
        missing = discovery.missing if discovery is not None else ()
        return f"no configuration yet, waiting for {', '.join(missing)}" if missing else "no configuration yet"

    def current() -> Status:
        cluster = cluster_status(discovery, source.gateways) if discovery is not None else None
        return status(source.status, store, cluster, source.statuses)

    app = admin_app(registry, readiness)
    app.add_routes(Api(store, source, current).routes())
    sessions = Sessions(protection.token) if protection.token else None
    _protect(app, protection, sessions)
    scenes = Scenes(current, lambda: source.gateways, store, traffic, round_s)
    app.add_routes(Pages(scenes, live, has_login=sessions is not None).routes())
    return app


def _protect(app: web.Application, protection: Protection, sessions: Sessions | None) -> None:
    """Headers for browsers, and the questions that callers are asked."""
    app.middlewares.append(security_headers())
    app.middlewares.append(same_site(only_local=not protection.is_protected and protection.is_loopback))
    if protection.is_protected:
        app.middlewares.append(authenticated(sessions, by_certificate=protection.by_certificate))
    app.on_response_prepare.append(on_prepare)
    if sessions is not None:
        app.add_routes(login_routes(sessions, login_page))
