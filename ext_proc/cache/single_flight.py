"""One upstream request for any number of concurrent misses of one key; a pure state machine.

The first request of a key leads, the others follow and wait. Whatever happens to the leader, exactly one of these ends
its flight, and no follower is ever forgotten:

* stored: every follower wakes and reads the store;
* declined (the response may not be stored): every follower wakes and goes upstream, and for a while nobody waits for
  this key (hit-for-miss), or uncacheable resources would be fetched one at a time;
* lost (the client left, the upstream failed, the process is told to give up): the first live follower takes over, the
  others go on waiting.

Whoever holds a ticket must call `leave` when its exchange ends, however it ends; it is harmless after the flight is
over. Nothing here waits: the shell gives each ticket a `wake` callback and bounds the waiting.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto


class State(Enum):
    """What the holder of a ticket has to do."""

    WAITING = auto()
    LEADING = auto()
    """Go upstream, and end the flight."""
    READ = auto()
    """The leader stored something: read the store again."""
    GO = auto()
    """Go upstream on your own account."""


class Ticket:
    """One request's part in a flight."""

    __slots__ = ("_flights", "failed", "key", "state", "wake")

    def __init__(self, flights: "Flights", key: str, state: State, *, failed: bool = False) -> None:
        self._flights = flights
        self.key = key
        self.state = state
        self.failed = failed
        """With GO: the service has just failed to give an answer."""
        self.wake: Callable[[], None] | None = None
        """Called once, when the state is no longer WAITING."""

    @property
    def is_waiting(self) -> bool:
        return self.state is State.WAITING

    def stored(self) -> None:
        """End the flight that this ticket leads: the store has the response."""
        self._flights._finish(self, State.READ)

    def declined(self, until: float, *, failed: bool = False) -> None:
        """End the flight that this ticket leads: there is nothing to share.

        Args:
            until: nobody waits for the key before this moment.
            failed: the service failed; else its response may not be stored.
        """
        if self.state is State.LEADING:
            self._flights._note_uncacheable(self.key, until, failed)
        self._flights._finish(self, State.GO, failed=failed)

    def leave(self) -> None:
        """Give up leading (a follower takes over) or waiting; nothing if the flight is over."""
        self._flights._leave(self)


@dataclass(slots=True)
class _Flight:
    leader: Ticket
    followers: deque[Ticket] = field(default_factory=deque)


class Flights:
    """The flights of one process by key."""

    def __init__(self, *, max_uncacheable: int = 10_000) -> None:
        self._flights: dict[str, _Flight] = {}
        self._uncacheable: dict[str, tuple[float, bool]] = {}
        """Until when, and whether the service failed."""
        self._max_uncacheable = max_uncacheable

    def __len__(self) -> int:
        return len(self._flights)

    def join(self, key: str, now: float) -> Ticket:
        """A ticket that is LEADING, WAITING, or says GO because the key is known to be uncacheable."""
        mark = self._uncacheable.get(key)
        if mark is not None:
            until, failed = mark
            if now < until:
                return Ticket(self, key, State.GO, failed=failed)
            del self._uncacheable[key]
        flight = self._flights.get(key)
        if flight is None:
            ticket = Ticket(self, key, State.LEADING)
            self._flights[key] = _Flight(ticket)
            return ticket
        ticket = Ticket(self, key, State.WAITING)
        flight.followers.append(ticket)
        return ticket

    def is_flying(self, key: str) -> bool:
        return key in self._flights

    def forget_uncacheable(self, key: str) -> None:
        """A response of this key was stored after all."""
        self._uncacheable.pop(key, None)

    def expire(self, now: float) -> None:
        """Drop marks whose time is over."""
        for key in [key for key, (until, _) in self._uncacheable.items() if until <= now]:
            del self._uncacheable[key]

    def _finish(self, ticket: Ticket, outcome: State, *, failed: bool = False) -> None:
        if ticket.state is not State.LEADING:
            return
        ticket.state = outcome
        flight = self._flights.pop(ticket.key)
        for follower in flight.followers:
            follower.failed = failed
            _wake(follower, outcome)

    def _leave(self, ticket: Ticket) -> None:
        if ticket.state is State.WAITING:
            ticket.state = State.GO
            self._flights[ticket.key].followers.remove(ticket)
        elif ticket.state is State.LEADING:
            ticket.state = State.GO
            flight = self._flights[ticket.key]
            if flight.followers:
                flight.leader = flight.followers.popleft()
                _wake(flight.leader, State.LEADING)
            else:
                del self._flights[ticket.key]

    def _note_uncacheable(self, key: str, until: float, failed: bool) -> None:
        if len(self._uncacheable) >= self._max_uncacheable:
            # The oldest mark goes: it costs one request that waits in vain.
            del self._uncacheable[next(iter(self._uncacheable))]
        self._uncacheable[key] = (until, failed)


def _wake(ticket: Ticket, state: State) -> None:
    ticket.state = state
    if ticket.wake is not None:
        ticket.wake()
