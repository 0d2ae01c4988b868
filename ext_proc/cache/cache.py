"""What all requests of one process share: the store in memory, the flights, and what is on its way into the store.

Where replicas share a store too, the one in memory is a small tier in front of it.
"""

from collections.abc import Callable
from typing import Literal, Protocol, assert_never

from ext_proc.cache import status, storing
from ext_proc.cache.fields import Headers
from ext_proc.cache.invalidation import invalidated
from ext_proc.cache.lookup import Bypass, CachedRoute, fresh
from ext_proc.cache.memory import MemoryStore
from ext_proc.cache.shared import NoSharedStores, Shared, SharedStores
from ext_proc.cache.single_flight import Flights
from ext_proc.events import Outcome, RequestStart, ResponseStart, Serve
from policy.cache_key import QueryRules
from policy.processing import StoreName
from policy.purge import ByPrefix, ByTag, ByUri, Everything, Purge

FetchResult = Literal["hit", "stale", "miss", "held", "uncacheable", "down"]
"""What came of asking the store that replicas share; a metric's label."""


class Observer(Protocol):
    """Counts what happens on one route."""

    def outcome(self, outcome: Outcome) -> None: ...
    def bypassed(self, reason: Bypass) -> None: ...
    def not_stored(self, reason: storing.Reason) -> None: ...
    def stored(self, size: int) -> None: ...
    def fetched(self, result: FetchResult, seconds: float) -> None: ...


class Fill(Protocol):
    """A response that is on its way into the store."""

    def spoil(self) -> None:
        """What is on its way is older than an invalidation."""


class Cache:
    """What all requests of one process share."""

    def __init__(
        self, store: MemoryStore, flights: Flights, *, wait_s: float, shared: SharedStores | None = None
    ) -> None:
        """
        Args:
            wait_s: the longest that a request waits for another's response.
            shared: the stores that replicas share; None: there are none.
        """
        self.store = store
        self.flights = flights
        self.wait_s = wait_s
        self._shared: SharedStores = shared or NoSharedStores()
        self._filling: dict[str, set[Fill]] = {}

    def shared_store(self, name: StoreName | None) -> Shared | None:
        return None if name is None else self._shared.get(name)

    def expire(self, now: float) -> None:
        """Free what time has made useless; call it once a second or so."""
        self.store.expire(now)
        self.flights.expire(now)

    def begin_fill(self, uri: str, fill: Fill) -> None:
        self._filling.setdefault(uri, set()).add(fill)

    def end_fill(self, uri: str, fill: Fill) -> None:
        fills = self._filling.get(uri)
        if fills is not None:
            fills.discard(fill)
            if not fills:
                del self._filling[uri]

    def invalidate(self, uri: str) -> None:
        """Forget a URI, in the whole fleet; responses that are on their way since before are not stored either."""
        self.forget(uri)
        for shared in self._shared.all():
            shared.invalidate(uri)

    def forget(self, uri: str) -> None:
        """As `invalidate`, in this process."""
        self.store.remove_uri(uri)
        for fill in self._filling.get(uri, ()):
            fill.spoil()

    def forget_replaced(self, uri: str) -> None:
        """Another process has stored something newer; what is on its way here is as good as that."""
        self.store.remove_uri(uri)

    def purge(self, name: str, what: Purge) -> int:
        """Forget what an operator names, in the whole fleet; how many entries of this process that were.

        Args:
            name: of the purge, the same in all processes.
        """
        there = self.forget_purged(what)
        for shared in self._shared.all():
            shared.purge(name, what)
        return there

    def forget_purged(self, what: Purge) -> int:
        """Forget what an operator names, in this process; how many entries that were.

        Responses that are on their way since before are not stored either: what they are tagged with is not known yet,
        so a purge by tag holds for all of them.
        """
        match what:
            case ByUri():
                there = self.store.remove_uri(what.uri)
                self._spoil(lambda uri: uri == what.uri)
            case ByPrefix():
                there = self.store.remove_where(what.covers)
                self._spoil(what.covers)
            case ByTag():
                there = self.store.remove_tag(what.tag)
                self._spoil(lambda _uri: True)
            case Everything():
                there = self.store.remove_where(lambda _uri: True)
                self._spoil(lambda _uri: True)
            case _:
                assert_never(what)
        return there

    def forget_all(self) -> None:
        """This process may have missed what others forgot."""
        self.forget_purged(Everything())

    def _spoil(self, is_meant: Callable[[str], bool]) -> None:
        for uri, fills in self._filling.items():
            if is_meant(uri):
                for fill in fills:
                    fill.spoil()

    def note_write(self, request: Headers, response: ResponseStart, query: QueryRules | None = None) -> None:
        """Forget what a request has changed, if its method is unsafe and the service did as it asks.

        Args:
            query: of the route, whose keys hold only some parameters.
        """
        if not response.from_upstream:
            return
        for uri in invalidated(
            request.get(":method", ""),
            request.get(":scheme", "http"),
            request.get(":authority", ""),
            request.get(":path", "/"),
            response.status,
            response.headers,
            query,
        ):
            self.invalidate(uri)


def serve_fresh(
    cache: Cache, route: CachedRoute, observer: Observer, request: RequestStart, now: float
) -> Serve | None:
    """The answer to a plain GET of something fresh, without a session; None: a session has to find out."""
    stored = fresh(cache.store, route, request.headers, request.identity, now)
    if stored is None:
        return None
    observer.outcome("hit")
    age = int(stored.age(now))
    return Serve(stored, age, status.hit(route.cache_name, int(stored.lifetime.fresh_s) - age), "hit")
