"""Cumulative numbers of many nodes as the rates of all of them together.

What changes is added to the sums and taken away from them again: looking at a rate costs nothing, however many nodes
there are. A node that starts again starts at zero, which is told by a number that has become smaller.
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from control_plane.traffic.report import Key, Numbers


@dataclass(slots=True)
class _Node:
    at: float
    counters: Mapping[Key, "array[float]"]
    """Arrays: a tuple of floats is four times as large, and there are nodes times services of them."""
    rates: Mapping[Key, "array[float]"]
    """Of those that count at the moment."""


@dataclass(slots=True)
class _Sum:
    numbers: list[float]
    nodes: int


class Rates:
    """Per second, over the time between the last two reports of each node."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}
        self._sums: dict[Key, _Sum] = {}

    def get(self, key: Key) -> Numbers:
        """Of all nodes together; () if nothing of it counts at the moment."""
        found = self._sums.get(key)
        return tuple(found.numbers) if found is not None else ()

    def active(self) -> Iterator[Key]:
        """Of what counts at the moment."""
        return iter(self._sums)

    def update(self, node: str, counters: Mapping[Key, Numbers], at: float) -> None:
        """A node has reported.

        Args:
            counters: all that it has, since it started.
            at: seconds, on any clock that never goes back.
        """
        known, packed = self._nodes.get(node), {key: array("d", numbers) for key, numbers in counters.items()}
        if known is None:
            self._nodes[node] = _Node(at, packed, {})
            return
        elapsed_s = at - known.at
        if elapsed_s <= 0:
            return
        rates = {}
        for key, numbers in packed.items():
            before = known.counters.get(key)
            if before != numbers:
                rates[key] = _per_second(before, numbers, elapsed_s)
        for key, old in known.rates.items():
            self._subtract(key, old)
        for key, new in rates.items():
            self._add(key, new)
        self._nodes[node] = _Node(at, packed, rates)

    def forget(self, node: str) -> None:
        """It says nothing any more."""
        known = self._nodes.pop(node, None)
        for key, rate in known.rates.items() if known is not None else ():
            self._subtract(key, rate)

    def _add(self, key: Key, rate: Sequence[float]) -> None:
        found = self._sums.get(key)
        if found is None:
            self._sums[key] = _Sum(list(rate), 1)
            return
        found.nodes += 1
        found.numbers = [one + other for one, other in zip(found.numbers, rate, strict=True)]

    def _subtract(self, key: Key, rate: Sequence[float]) -> None:
        found = self._sums[key]
        found.nodes -= 1
        if found.nodes == 0:
            del self._sums[key]  # exactly nothing: what rounding has left goes too
            return
        found.numbers = [max(0.0, one - other) for one, other in zip(found.numbers, rate, strict=True)]


def _per_second(before: "array[float] | None", now: "array[float]", elapsed_s: float) -> "array[float]":
    """A statistic that was not there before was zero: Envoy reports none before its first use."""
    if before is None or len(before) != len(now) or any(new < old for old, new in zip(before, now, strict=True)):
        return array("d", [new / elapsed_s for new in now])
    return array("d", [(new - old) / elapsed_s for old, new in zip(before, now, strict=True)])
