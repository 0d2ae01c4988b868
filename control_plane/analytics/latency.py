"""Percentiles of durations: Datadog's DDSketch, whose answers are within 1 % and whose parts can be added up.

https://www.vldb.org/pvldb/vol12/p2195-masson.pdf. Between its questions a sketch is a dict from bin to count, which is
what most routes need little of.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import orjson
from ddsketch.ddsketch import BaseDDSketch
from ddsketch.mapping import LogarithmicMapping
from ddsketch.store import CollapsingLowestDenseStore

_MAPPING = LogarithmicMapping(0.01)
_SHORTEST_S, _LONGEST_S = 1e-6, 86_400.0
"""So there are at most 1,300 bins."""
_MAX_BINS = 2048
Bins = dict[int, int]


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds."""

    p50: float
    p90: float
    p95: float
    p99: float


def bin_of(duration_s: float) -> int:
    """Where a duration counts."""
    key: int = _MAPPING.key(min(max(duration_s, _SHORTEST_S), _LONGEST_S))
    return key


def add(bins: Bins, more: Mapping[int, int]) -> None:
    """Add the counts of another sketch."""
    for key, count in more.items():
        bins[key] = bins.get(key, 0) + count


def percentiles(bins: Mapping[int, int]) -> Percentiles | None:
    """None if nothing was counted."""
    if not bins:
        return None
    store, nothing = CollapsingLowestDenseStore(_MAX_BINS), CollapsingLowestDenseStore(1)
    for key, count in bins.items():
        store.add(key, count)
    sketch = BaseDDSketch(_MAPPING, store, nothing, 0.0)
    return Percentiles(*(_milliseconds(sketch.get_quantile_value(at) or 0.0) for at in (0.5, 0.9, 0.95, 0.99)))


def packed(bins: Mapping[int, int]) -> bytes:
    """For storage: bin, count, bin, count."""
    return orjson.dumps([number for pair in sorted(bins.items()) for number in pair])


def unpacked(body: bytes) -> Bins:
    """Raises ValueError for what `packed` has not written."""
    numbers = orjson.loads(body)
    if not isinstance(numbers, list) or len(numbers) % 2 or not all(isinstance(each, int) for each in numbers):
        raise ValueError("no sketch")
    return dict(zip(numbers[::2], numbers[1::2], strict=True))


def merged(bodies: Iterable[bytes]) -> Bins:
    """The sum of stored sketches."""
    bins: Bins = {}
    for body in bodies:
        add(bins, unpacked(body))
    return bins


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
