"""Results that are kept while what they were made of stays the very same: work is then proportional to a change."""

from collections.abc import Callable, Hashable
from operator import is_
from typing import Generic, TypeVar

V = TypeVar("V")


class Remembered(Generic[V]):
    """Results by key; what a round did not ask for is forgotten by the next but one."""

    def __init__(self) -> None:
        self._recent: dict[Hashable, tuple[tuple[object, ...], V]] = {}
        self._older: dict[Hashable, tuple[tuple[object, ...], V]] = {}

    def next_round(self) -> None:
        """Call it once before each round of questions."""
        self._older, self._recent = self._recent, {}

    def forget(self) -> None:
        """What results depend on besides key and parts has changed."""
        self._older, self._recent = {}, {}

    def of(self, key: Hashable, parts: tuple[object, ...], make: Callable[[], V]) -> V:
        """The result of `make`, or that of the last call with this key.

        Args:
            key: small values that the result depends on, compared by equality.
            parts: what else it depends on, compared by identity, as comparing contents would cost as much as the work.
        """
        known = self._find(key, parts)
        return known[1] if known is not None else self.keep(key, parts, make())

    def find(self, key: Hashable, parts: tuple[object, ...]) -> V | None:
        """What was kept under this key for these parts."""
        known = self._find(key, parts)
        return None if known is None else known[1]

    def keep(self, key: Hashable, parts: tuple[object, ...], value: V) -> V:
        self._recent[key] = (parts, value)
        return value

    def _find(self, key: Hashable, parts: tuple[object, ...]) -> tuple[tuple[object, ...], V] | None:
        known = self._recent.get(key) or self._older.get(key)
        if known is None or len(known[0]) != len(parts) or not all(map(is_, known[0], parts)):
            return None
        self._recent[key] = known
        return known
