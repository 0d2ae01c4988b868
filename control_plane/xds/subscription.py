"""What one client knows of one resource type, and what it has to be sent next; no I/O, no clock.

The rules are those of https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol; each has a test named
after it. `sotw.py` and `delta.py` hold what differs between the two variants of the protocol.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from control_plane.resource_types import EXTRA
from control_plane.snapshot import Resource, ResourceMap
from control_plane.xds.known import Known, Names
from control_plane.xds.quarantine import Quarantine


class View(Protocol):
    """The resources of one type that a client is to have."""

    def get(self, name: str) -> Resource | None: ...

    def names(self) -> Collection[str]:
        """Of all there are, sorted."""

    def served(self) -> ResourceMap:
        """All of the type, also what is not for this client; shared with others, and it never changes."""

    def keeps(self, name: str) -> bool:
        """Whether a resource that is gone must not be taken from a client that has it, yet."""


@dataclass(frozen=True, slots=True)
class Push:
    """One response to be written."""

    type_url: str
    nonce: str
    version: str
    payload: bytes
    changed: tuple[str, ...]
    """Names whose content is new to the client."""
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request says about an earlier response."""

    version: str
    latency_s: float
    """Since the response was made."""
    error: str | None
    """None for an ACK, else the client's reason."""


@dataclass(frozen=True, slots=True)
class Nack:
    """The last refusal of a type by a client."""

    version: str
    names: tuple[str, ...]
    """What was new in the refused response."""
    message: str
    at: float
    """On the clock of the caller."""


@dataclass(slots=True)
class Outstanding:
    """A response that is not answered."""

    nonce: str
    version: str
    sent_at: float
    changed: dict[str, str]
    """Version by name of what was new, those of earlier unanswered responses included."""
    removed: frozenset[str]
    """Names that it took away, earlier ones included."""


class Interest:
    """Which names a client wants."""

    __slots__ = ("names", "wildcard")

    def __init__(self) -> None:
        self.wildcard = False
        self.names = Names()

    def __contains__(self, name: str) -> bool:
        return self.wildcard or name in self.names


_BEATS_AFTER = 1 / 3
"""Of a time to live: a heartbeat may be late or lost."""
MOST_REASON = 8192
"""Characters of what a client gives as the reason of a refusal."""
UNKNOWN = "?"
"""The version of what a client may or may not have: it differs from every other."""


class Subscription(ABC):
    """What both variants of the protocol share: what may have changed, what is unanswered, what is refused."""

    def __init__(self, type_url: str, *, answer_s: float) -> None:
        """
        Args:
            answer_s: for so long an unanswered response keeps the next one of this type back.
        """
        self.type_url = type_url
        self.interest = Interest()
        self.quarantine = Quarantine()
        self.outstanding: Outstanding | None = None
        self.version_sent = ""
        self.version_acked = ""
        self.nack: Nack | None = None
        self._known = Known()
        self._last_good: dict[str, Resource | None] = {}
        """What the client had before the responses that it has not acknowledged."""
        self._unknown = Resource(type_url, "", b"", UNKNOWN)
        self._answer_s = answer_s
        self._beats: dict[str, float] = {}
        """When a resource with a time to live has to be heard of next."""
        self._dirty: set[str] = set()
        self._all_dirty = True
        self._must_answer = False
        self._is_first = True

    def mark(self, names: Iterable[str] | None) -> None:
        """The content of these names may have changed; None: of any."""
        if names is None:
            self._all_dirty = True
        else:
            self._dirty.update(name for name in names if name in self.interest or self.version_known(name))

    def force(self, names: Iterable[str]) -> None:
        """Send these again, changed or not, as far as the client wants them."""
        for name in names:
            if name in self.interest:
                self._make_unknown(name)
                self._dirty.add(name)

    def awaits_answer(self, now: float) -> bool:
        """Whether the next response has to wait for the answer to the last one."""
        return self.outstanding is not None and now < self.outstanding.sent_at + self._answer_s

    def answer_due(self) -> float | None:
        """When the waiting for an answer ends at the latest."""
        return None if self.outstanding is None else self.outstanding.sent_at + self._answer_s

    def has_acknowledged(self, name: str, version: str) -> bool:
        """Whether the client holds this content for sure."""
        if self.outstanding is not None and name in self.outstanding.changed:
            return False
        return self.version_known(name) == version

    def has_acknowledged_any(self, name: str) -> bool:
        """Whether the client holds some content of this name for sure."""
        known = self.version_known(name)
        return known is not None and known != UNKNOWN and self.has_acknowledged(name, known)

    def holds_anything(self) -> bool:
        """Whether the client has been sent, or has brought, any resource."""
        return any(self.version_known(name) != UNKNOWN for name in self.known_names())

    def has_changes(self, view: View) -> bool:
        """Whether there is something to send, leaving aside whether it may be sent now."""
        changed, removed = self._pending(view)
        return bool(changed or removed or self._must_answer)

    def respond(self, view: View, *, now: float, nonce: Callable[[], str]) -> Push | None:
        """The response that the client has to get now, if any; calling it counts as sending it.

        The caller has asked `awaits_answer` before.
        """
        if not (self._dirty or self._all_dirty or self._must_answer or self.quarantine.is_trying):
            return None
        push = self._respond(view, now, nonce)
        if not self._dirty:
            self._dirty = set()  # its table would stay as large as it ever was
        self._known.settle_on(view.served())
        self.interest.names.settle_on(view.served())
        return push

    def _respond(self, view: View, now: float, nonce: Callable[[], str]) -> Push | None:
        if self.outstanding is not None:
            self.quarantine.unanswered()
        changed, removed = self._pending(view)
        while not changed and self.quarantine.is_trying and self.outstanding is None:
            # What was to be tried has gone meanwhile.
            self.quarantine.skip()
            self._dirty.update(self.quarantine.names())
            changed, removed = self._pending(view)
        if not (changed or removed or self._must_answer):
            return None
        self._must_answer = False
        push = self._push(view, changed, removed, nonce)
        if push is not None:
            self._note_sent(push, {resource.name: resource.version for resource in changed}, now)
        return push

    def heartbeat(self, view: View, *, now: float, nonce: Callable[[], str]) -> Push | None:
        """The response that keeps resources with a time to live alive, if one is due; calling it counts as sending it.

        The caller has asked `awaits_answer` and `respond` before.
        """
        if self.type_url not in EXTRA:
            return None  # no others have one
        found = (view.get(name) for name in self._wanted(view))
        held = [one for one in found if one is not None and one.ttl_s and self.has_acknowledged(one.name, one.version)]
        self._beats = {one.name: self._beats.get(one.name, now + one.ttl_s * _BEATS_AFTER) for one in held}
        due = [one for one in held if self._beats[one.name] <= now]
        if not due:
            return None
        self._beats.update((one.name, now + one.ttl_s * _BEATS_AFTER) for one in due)
        push = self._alive(due, nonce())
        self.outstanding = Outstanding(push.nonce, push.version, now, {}, frozenset())
        return push

    def next_beat(self) -> float | None:
        """When `heartbeat`, which returned None, has something to send."""
        return min(self._beats.values(), default=None)

    def version_known(self, name: str) -> str | None:
        """The version that the client was sent or said that it has; UNKNOWN if it has to be sent in any case."""
        resource = self._known.get(name)
        return None if resource is None else resource.version

    def known_names(self) -> Collection[str]:
        """Of what the client was sent or said that it has."""
        return self._known

    @abstractmethod
    def _push(self, view: View, changed: list[Resource], removed: list[str], nonce: Callable[[], str]) -> Push | None:
        """Build the response and count its content as known."""

    @abstractmethod
    def _alive(self, resources: list[Resource], nonce: str) -> Push:
        """A response that says of these only that they are still there."""

    @abstractmethod
    def _announces_removal(self, name: str) -> bool:
        """Whether the client has to be told that it no longer gets this name; if not, the name is forgotten."""

    def _make_unknown(self, name: str) -> None:
        self._known[name] = self._unknown

    def _held(self, name: str) -> Resource | None:
        resource = self._known.get(name)
        return None if resource is None or resource.version == UNKNOWN else resource

    def _restore(self, name: str, *, certain: bool) -> None:
        """Count what a refused response brought as not sent.

        Args:
            certain: the client has surely kept what it had. If other resources were refused together with this one,
                it may have applied this one all the same.
        """
        had = self._last_good.get(name)
        if not certain:
            self._make_unknown(name)
        elif had is not None:
            self._known[name] = had
        else:
            self._known.discard(name)

    def _confirm(self, names: Collection[str]) -> None:
        """The client has taken these."""
        for name in names:
            self._last_good.pop(name, None)
        if not self._last_good:
            self._last_good = {}

    def _pending(self, view: View) -> tuple[list[Resource], list[str]]:
        """What differs between view and client; forgets the names that do not."""
        if self._all_dirty:
            self._dirty.update(self._wanted(view), self.known_names())
            self._all_dirty = False
        changed: list[Resource] = []
        removed: list[str] = []
        for name in sorted(self._dirty):
            resource = view.get(name)
            if resource is None or name not in self.interest:
                if not view.keeps(name) and self._is_to_be_removed(name):
                    removed.append(name)
                    continue
            elif self.quarantine.withholds(name, resource.version):
                if self.quarantine.is_trying:
                    continue
            elif self.version_known(name) != resource.version:
                changed.append(resource)
                continue
            self._dirty.discard(name)
        return changed, removed

    def _take_away_again(self, names: Collection[str]) -> None:
        for name in names:
            if self.version_known(name) is None:
                self._make_unknown(name)
                self._dirty.add(name)

    def _is_to_be_removed(self, name: str) -> bool:
        self.quarantine.forget(name)
        return self._announces_removal(name)

    def _wanted(self, view: View) -> Collection[str]:
        return {*view.names(), *self.interest.names} if self.interest.wildcard else self.interest.names

    def _note_sent(self, push: Push, changed: dict[str, str], now: float) -> None:
        removed = frozenset(push.removed)
        if self.outstanding is not None:
            changed = {**self.outstanding.changed, **changed}
            removed |= self.outstanding.removed
        self._dirty.difference_update(push.changed, push.removed)
        self.outstanding = Outstanding(push.nonce, push.version, now, changed, removed)
        self.version_sent = push.version

    def _settle(self, nonce: str, error: str | None, now: float) -> Answer | None:
        """Take ACK or NACK; None if it is not about the last response."""
        outstanding = self.outstanding
        if outstanding is None or nonce != outstanding.nonce:
            return None
        self.outstanding = None
        if error is None:
            self.version_acked = outstanding.version
            self.quarantine.accepted(outstanding.changed)
            self._confirm(outstanding.changed)
            if not self.quarantine.parked:
                self.nack = None
        else:
            self.quarantine.rejected(outstanding.changed, error)
            error = _shortened(error)
            self.nack = Nack(outstanding.version, tuple(outstanding.changed), error, now)
            for name in outstanding.changed:
                self._restore(name, certain=len(outstanding.changed) == 1)
            if outstanding.changed:
                # Refused for the sake of something else: they are taken away once more, without it.
                self._take_away_again(outstanding.removed)
        # What the quarantine lets go has to be looked at again.
        self._dirty.update(self.quarantine.names())
        return Answer(outstanding.version, now - outstanding.sent_at, error)


def _shortened(error: str) -> str:
    """A reason that people can read; it is kept until the refusal is made good."""
    return error if len(error) <= MOST_REASON else f"{error[:MOST_REASON]} ... ({len(error):,} characters)"
