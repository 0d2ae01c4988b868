"""Which of endlessly many names are the frequent ones, in bounded memory: Space-Saving.

Metwally, Agrawal, El Abbadi: Efficient Computation of Frequent and Top-k Elements in Data Streams (2005). Of `capacity`
names each that occurs more often than once in `capacity` occurrences is among those that are kept.
"""

import heapq


class HeavyHitters:
    """Call `seen` for each occurrence."""

    def __init__(self, capacity: int) -> None:
        """
        Args:
            capacity: how many names are kept, at least one.
        """
        self._capacity = capacity
        self._estimates: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []
        """Every kept name once, with an estimate that may be too low by now."""

    def __len__(self) -> int:
        return len(self._estimates)

    def seen(self, name: str) -> str | None:
        """Count one occurrence; return the name that is kept no more for it, if any."""
        if name in self._estimates:
            self._estimates[name] += 1
            return None
        evicted, inherited = self._evict() if len(self._estimates) >= self._capacity else (None, 0)
        self._estimates[name] = inherited + 1
        heapq.heappush(self._heap, (inherited + 1, name))
        return evicted

    def _evict(self) -> tuple[str, int]:
        """The least frequent name; the one that comes in its place inherits its estimate."""
        while True:
            estimate, name = self._heap[0]
            current = self._estimates[name]
            if current == estimate:
                heapq.heappop(self._heap)
                del self._estimates[name]
                return name, estimate
            heapq.heapreplace(self._heap, (current, name))
