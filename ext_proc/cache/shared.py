"""What the cache asks of a store that all replicas share; no I/O here, `ext_proc.redis_cache` is one.

Nothing of it ever fails or blocks: a store that does not answer says `DOWN`, writes go their way, and the request goes
on with this process's memory alone.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from ext_proc.cache.bans import Position
from ext_proc.cache.entry import Entry
from policy.processing import StoreName
from policy.purge import Purge


@dataclass(frozen=True, slots=True)
class Place:
    """Where the response to one request is kept."""

    uri: str
    primary: str
    key: str
    selecting: tuple[str, ...]
    """The names of request headers that went into `key`."""


class Lease(Enum):
    """Who may ask the origin for a key, in the whole fleet."""

    NONE = auto()
    """Not asked for, or not needed: there is something fresh."""
    OWNED = auto()
    """This request; it has to put, decline or release."""
    HELD = auto()
    """Another process's request, right now."""
    UNCACHEABLE = auto()
    """Nobody waits for this key at the moment: its response may not be stored, or the service fails."""
    DOWN = auto()
    """The store does not answer."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What the store knows of a place."""

    lease: Lease
    entry: Entry | None = None
    selecting: tuple[str, ...] | None = None
    """By which names variants of the primary key differ, where those are not the ones of the place: ask again."""
    uncacheable_s: float = 0.0
    """With UNCACHEABLE: for how long."""
    failed: bool = False
    """With UNCACHEABLE: the service fails."""
    token: str = ""
    """Proves that a lease is this request's."""
    epoch: bytes = b""
    """Of the URI: changes when it is invalidated."""
    position: Position = (0, 0)
    """How far the log of purges was known: what the origin says from now on is newer than all of it."""
    read_to: Position = (0, 0)
    """How far it was read: what is kept of an older response is only known not to be purged up to here."""


NOTHING = Fetched(Lease.DOWN)


class Pending(Protocol):
    """An answer on its way; `wake` is called once when it is there."""

    wake: Callable[[], None] | None

    @property
    def is_waiting(self) -> bool: ...

    @property
    def fetched(self) -> Fetched:
        """NOTHING while it is waiting."""


class Shared(Protocol):
    """One store. Calls of one process take effect in the order in which they are made."""

    @property
    def is_up(self) -> bool: ...

    @property
    def patience_s(self) -> float:
        """How long an answer may take."""

    def fetch(self, place: Place, *, lease: bool, is_exact: bool, after_s: float, now: float) -> Pending:
        """
        Args:
            lease: whether this request goes to the origin if there is nothing fresh.
            is_exact: the names of the place are right, whatever the store thinks.
            after_s: ask so much later.
        """

    def put(
        self, place: Place, entry: Entry, fetched: Fetched, *, uncacheable_s: float, replaces: bool, now: float
    ) -> None:
        """Store what was fetched from the origin under `fetched`, unless it was invalidated since; ends a lease.

        Args:
            uncacheable_s: for so long nobody shall wait for this key: each request has to ask itself.
            replaces: what it replaces was fresh, so others may have it in memory.
        """

    def end_lease(self, place: Place, fetched: Fetched, *, uncacheable_s: float, failed: bool) -> None:
        """
        Args:
            uncacheable_s: for so long nobody shall wait for this key; 0: the next one may try.
        """

    def invalidate(self, uri: str) -> None:
        """Forget a URI in the whole fleet, fills on their way included."""

    def purge(self, name: str, what: Purge) -> None:
        """Forget what an operator names. Done once, however many processes are told of the purge of this name."""


class SharedStores(Protocol):
    """The shared stores of one process."""

    def get(self, name: StoreName) -> Shared | None: ...

    def all(self) -> Iterable[Shared]: ...


class NoSharedStores:
    """Memory only."""

    def get(self, name: StoreName) -> Shared | None:
        return None

    def all(self) -> Iterable[Shared]:
        return ()
