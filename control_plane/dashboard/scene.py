"""What all pages are made of, looked up once and then only read."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from control_plane.admin.status import Status
from control_plane.config.effective import EffectiveRoute, effective_routes
from control_plane.config.model.gateway import Gateway
from control_plane.snapshot import Snapshot
from control_plane.traffic.traffic import Traffic
from control_plane.xds.store import Store


@dataclass(frozen=True, slots=True)
class Scene:
    """One moment."""

    status: Status
    gateways: Mapping[str, Gateway]
    """By name, sorted, of those that are served."""
    store: Store
    traffic: Traffic
    routes: Callable[[Gateway], tuple[EffectiveRoute, ...]]
    round_s: float
    """Between two reports of one Envoy that are read; 0: all are."""
    at: float
    """Seconds since the epoch."""
    monotonic: float
    """The same moment on the clock of reports."""

    def snapshot_of(self, gateway: str) -> Snapshot:
        """What is served; empty for a gateway that is not there."""
        feed = self.store.feeds.get(gateway)
        return feed.current.snapshot if feed is not None else Snapshot({})

    def routes_of(self, gateway: str) -> tuple[EffectiveRoute, ...]:
        """Effective, in file order; none for a gateway that is not there."""
        found = self.gateways.get(gateway)
        return self.routes(found) if found is not None else ()


class Scenes:
    """Makes one at most every so often: pages that are looked at at the same time share it."""

    def __init__(
        self,
        status: Callable[[], Status],
        gateways: Callable[[], tuple[Gateway, ...]],
        store: Store,
        traffic: Traffic,
        round_s: Callable[[], float],
        *,
        fresh_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            fresh_s: so long a scene is the present one.
        """
        self._status = status
        self._gateways = gateways
        self._store = store
        self._traffic = traffic
        self._round_s = round_s
        self._fresh_s = fresh_s
        self._clock = clock
        self._latest: Scene | None = None
        self._routes: dict[str, tuple[Gateway, tuple[EffectiveRoute, ...]]] = {}

    def now(self) -> Scene:
        now = self._clock()
        if self._latest is None or now - self._latest.monotonic >= self._fresh_s:
            gateways = {one.name: one for one in sorted(self._gateways(), key=lambda one: one.name)}
            self._routes = {name: known for name, known in self._routes.items() if name in gateways}
            self._latest = Scene(
                self._status(),
                gateways,
                self._store,
                self._traffic,
                self._effective,
                self._round_s(),
                time.time(),
                now,
            )
        return self._latest

    def _effective(self, gateway: Gateway) -> tuple[EffectiveRoute, ...]:
        known = self._routes.get(gateway.name)
        if known is None or known[0] is not gateway:
            known = self._routes[gateway.name] = (gateway, effective_routes(gateway))
        return known[1]
