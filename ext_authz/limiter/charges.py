"""What a limiter is asked and what it answers."""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

from policy.quotas import Limit, Quota


class Charge(NamedTuple):
    """One limit's bucket that a request wants to take its cost from."""

    limit: Limit
    quota: Quota
    """The one of the limit that holds for this caller."""
    key: str


class Standing(NamedTuple):
    """How one bucket stands after a request; what the RateLimit headers tell."""

    limit: Limit
    quota: Quota
    remaining: int
    """Whole requests of cost 1 left."""
    reset_us: int
    """Until there is one more; 0 if the bucket is full."""
    retry_after_us: int
    """Until the refused request could pass; 0 if it passed."""


class Verdict(NamedTuple):
    """What became of the charges of one stage: all were taken, or none."""

    admitted: bool
    standing: Standing | None
    """Of the limit that refused (the longest to wait for), else of the one with the least left."""
    would_refuse: tuple[Limit, ...] = ()
    """Shadow limits that would have refused."""
    unavailable: bool = False
    """Not refused by a limit: the store is away, and a limit says to deny then."""


class Store(Protocol):
    """Where buckets live."""

    def charge(self, charges: Sequence[Charge], now_us: int) -> Verdict:
        """Take the cost of every charge, or of none if one of them refuses."""


class Pending(Awaitable[Verdict], Protocol):
    """A verdict that is on its way. It always comes."""

    def then(self, resume: Callable[[Verdict], None]) -> None:
        """Call `resume` with it, once, as soon as it is there; no task has to wait. `resume` must not raise."""


class AsyncStore(Protocol):
    """Buckets that others share; an answer that needs no round trip is given at once."""

    def charge(self, charges: Sequence[Charge], now_us: int) -> Verdict | Pending:
        """Take the cost of every charge, or of none if one of them refuses; never fails, never waits for long."""
