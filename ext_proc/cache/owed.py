"""What one request owes to others: an end to their waiting, in this process and in the fleet."""

from ext_proc.cache.cache import Cache
from ext_proc.cache.fleet import FleetTurn
from ext_proc.cache.single_flight import Ticket


class OwedToOthers:
    """The ticket of a flight, the lease of the fleet, and a fill that others may have to spoil; a `Fill`."""

    __slots__ = ("_cache", "_uri", "fleet", "is_spoiled", "ticket")

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._uri: str | None = None
        self.ticket: Ticket | None = None
        self.fleet: FleetTurn | None = None
        self.is_spoiled = False

    def begin_fill(self, uri: str) -> None:
        """Whatever is invalidated from now on makes what comes useless."""
        self.is_spoiled = False
        if self._uri is None:
            self._uri = uri
            self._cache.begin_fill(uri, self)

    def spoil(self) -> None:
        """What is on its way is older than an invalidation."""
        self.is_spoiled = True

    def decline(self, now: float, for_s: float, *, failed: bool = False) -> None:
        """There is nothing to share.

        Args:
            for_s: nobody shall wait for so many seconds.
        """
        if self.fleet is not None:
            self.fleet.decline(for_s, failed=failed)
        if self.ticket is not None:
            self.ticket.declined(now + for_s, failed=failed)

    def close(self) -> None:
        """Whatever happened: nobody waits for this request any more."""
        if self._uri is not None:
            self._cache.end_fill(self._uri, self)
        if self.fleet is not None:
            self.fleet.end()
        if self.ticket is not None:
            self.ticket.leave()
