"""What has come in since the last flush, in bounded memory.

Totals are always exact; of too many consumers the frequent ones are named.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from control_plane.analytics.entries import OTHER, Counted, Deprecation, Key
from control_plane.analytics.heavy_hitters import HeavyHitters
from control_plane.analytics.latency import Bins, bin_of


class Place(NamedTuple):
    """What a latency, or a deprecation, is known of."""

    gateway: str
    route: str
    version: str


class Caller(NamedTuple):
    """Of something deprecated."""

    place: Place
    consumer: str


@dataclass(slots=True)
class Sums:
    """Of one key."""

    requests: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """What is known of one caller."""

    requests: int
    last_seen_s: float


@dataclass(slots=True)
class Batch:
    """Everything between two flushes."""

    usage: dict[Key, Sums] = field(default_factory=dict)
    latency: dict[Place, Bins] = field(default_factory=dict)
    deprecations: dict[Place, Deprecation] = field(default_factory=dict)
    callers: dict[Caller, Call] = field(default_factory=dict)
    entries: int = 0


class Tally:
    """Call `add` for each entry, `drain` for each flush."""

    def __init__(self, max_consumers: int) -> None:
        """
        Args:
            max_consumers: how many are told apart between two flushes; the least frequent of more count as OTHER.
        """
        self._max_consumers = max_consumers
        self._begin()

    def _begin(self) -> None:
        self._batch = Batch()
        self._frequent = HeavyHitters(self._max_consumers)
        self._keys: dict[str, set[Key]] = {}
        """Those of each named consumer, so that they are found when it is named no more."""

    def add(self, entry: Counted, now_s: float) -> None:
        self._batch.entries += 1
        key = entry.key
        evicted = self._frequent.seen(key.consumer)
        if evicted is not None:
            self._fold(evicted)
        sums = self._batch.usage.get(key)
        if sums is None:
            sums = self._batch.usage[key] = Sums()
            self._keys.setdefault(key.consumer, set()).add(key)
        sums.requests += 1
        sums.bytes += entry.bytes
        place = Place(key.gateway, key.route, key.version)
        bins = self._batch.latency.get(place)
        if bins is None:
            bins = self._batch.latency[place] = {}
        at = bin_of(entry.duration_s)
        bins[at] = bins.get(at, 0) + 1
        if entry.deprecation is not None:
            self._note_deprecated(place, key.consumer, entry.deprecation, now_s)

    def _note_deprecated(self, place: Place, consumer: str, deprecation: Deprecation, now_s: float) -> None:
        """Callers stand in the order of their last calls; the oldest of too many is forgotten."""
        self._batch.deprecations[place] = deprecation
        callers, caller = self._batch.callers, Caller(place, consumer)
        known = callers.pop(caller, None)
        callers[caller] = Call(1 if known is None else known.requests + 1, now_s)
        if len(callers) > self._max_consumers:
            del callers[next(iter(callers))]

    def drain(self) -> Batch:
        """Everything so far, and begin anew."""
        batch = self._batch
        self._begin()
        return batch

    def _fold(self, consumer: str) -> None:
        """Count a consumer's requests as those of OTHER."""
        batch = self._batch
        for key in self._keys.pop(consumer, ()):
            sums = batch.usage.pop(key)
            other = batch.usage.setdefault(key._replace(consumer=OTHER), Sums())
            other.requests += sums.requests
            other.bytes += sums.bytes
