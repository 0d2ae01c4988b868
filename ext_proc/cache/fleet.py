"""One request's business with the store that all replicas share: what it asked, what it was told, what it owes."""

from dataclasses import replace

from ext_proc.cache.cache import FetchResult
from ext_proc.cache.entry import Entry
from ext_proc.cache.lookup import Found, Use
from ext_proc.cache.shared import NOTHING, Fetched, Lease, Pending, Place, Shared

_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.05


class FleetTurn:
    """The state of it; `end` is harmless when nothing is owed."""

    __slots__ = ("_asked_at", "_pause_s", "_pending", "_place", "_shared", "fetched", "has_waited")

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._place: Place | None = None
        self._pending: Pending | None = None
        self._pause_s = 0.0
        self._asked_at = 0.0
        self.fetched: Fetched | None = None
        """The last answer."""
        self.has_waited = False
        """For a request of another process."""

    @property
    def is_up(self) -> bool:
        return self._shared.is_up

    @property
    def is_asking(self) -> bool:
        return self._pending is not None

    @property
    def patience_s(self) -> float:
        return self._shared.patience_s

    def ask(self, place: Place, now: float, *, lease: bool, is_exact: bool = False) -> Pending:
        self.end()
        self._place = place
        self._asked_at = now
        self._pending = self._shared.fetch(
            place, lease=lease, is_exact=is_exact, after_s=self._pause_s if self.has_waited else 0.0, now=now
        )
        return self._pending

    def wait_for_another(self) -> float:
        """Seconds until the lease of another process is looked at again."""
        self.has_waited = True
        self._pause_s = min(2 * self._pause_s or _FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        return self._pause_s

    def answered(self) -> Fetched:
        """After Wait; an answer that did not come in time is none."""
        pending, self._pending = self._pending, None
        assert pending is not None
        self.fetched = pending.fetched
        if pending.is_waiting:
            abandon(self._shared, self._place, pending)
        return self.fetched

    def took_s(self, now: float) -> float:
        return max(0.0, now - self._asked_at)

    def put(
        self,
        key: str,
        selecting: tuple[str, ...],
        entry: Entry,
        now: float,
        *,
        uncacheable_s: float,
        replaces: bool,
        keeps_body: bool = False,
    ) -> None:
        """
        Args:
            keeps_body: it is an older response that the origin said is still good.
        """
        fetched = self._taken()
        if keeps_body:
            fetched = replace(fetched, position=min(fetched.position, fetched.read_to))
        if fetched.lease is Lease.DOWN or self._place is None:
            return
        place = Place(self._place.uri, self._place.primary, key, selecting)
        if place.key != self._place.key and fetched.lease is Lease.OWNED:
            # What the request was to fill and what came are two variants: whoever waits for the first has to ask.
            self._shared.end_lease(self._place, fetched, uncacheable_s=0.0, failed=False)
        self._shared.put(place, entry, fetched, uncacheable_s=uncacheable_s, replaces=replaces, now=now)

    def decline(self, uncacheable_s: float, *, failed: bool) -> None:
        """There is nothing to share."""
        fetched = self._taken()
        if fetched.lease is Lease.OWNED and self._place is not None:
            self._shared.end_lease(self._place, fetched, uncacheable_s=uncacheable_s, failed=failed)

    def end(self) -> None:
        """Whatever happened, the lease is another's now."""
        if self._pending is not None:
            self.answered()
        self.decline(0.0, failed=False)

    def _taken(self) -> Fetched:
        """The answer, for the last time."""
        fetched, self.fetched = self.fetched, None
        return fetched or NOTHING


def abandon(shared: Shared, place: Place | None, pending: Pending) -> None:
    """An answer that nobody waits for any more may bring a lease: give it back."""

    def give_back() -> None:
        fetched = pending.fetched
        if fetched.lease is Lease.OWNED and place is not None:
            shared.end_lease(place, fetched, uncacheable_s=0.0, failed=False)

    if pending.is_waiting:
        pending.wake = give_back
    else:
        give_back()


def result_of(answer: Fetched, found: Found) -> FetchResult:
    """What came of asking, for the metrics.

    Args:
        found: the request's place, with what was fetched.
    """
    if answer.entry is not None:
        return "stale" if found.use is Use.ASK or found.reason == "stale" else "hit"
    match answer.lease:
        case Lease.HELD:
            return "held"
        case Lease.UNCACHEABLE:
            return "uncacheable"
        case Lease.DOWN:
            return "down"
        case _:
            return "miss"
