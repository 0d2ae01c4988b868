"""How fast new clients are let in: when a replica restarts all come at once, and each needs everything.

Pure: the caller waits.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

_MOST_REFUSALS = 100
_FIRST_DELAY_S, _LAST_DELAY_S = 0.2, 5.0
_FORGOTTEN_S = 60.0


class TokenBucket:
    """So many at once, then so many a second, in the order in which they came."""

    def __init__(self, *, rate_per_s: float, burst: int) -> None:
        self._interval_s = 1.0 / rate_per_s
        self._tolerance_s = (burst - 1) * self._interval_s
        self._due = float("-inf")
        """When the next one is due if nobody may be early (GCRA)."""

    def reserve(self, now: float) -> float:
        """Take a turn; return for how many seconds it has to be waited for."""
        due = max(self._due, now)
        self._due = due + self._interval_s
        return max(0.0, due - self._tolerance_s - now)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Streams that were ended because of what the client says or is."""

    node: str
    cluster: str
    peer: str
    """Of the last one."""
    reason: str
    count: int
    last_at: float
    """On the clock of the caller."""


class Refusals:
    """Who was refused lately, the newest 100 of them, and how long the next refusal of the same is held back.

    Envoy comes back at once, for ever; each time costs a connection, a stream and a line of log.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str, str], Refusal] = OrderedDict()

    def note(self, *, node: str, cluster: str, peer: str, reason: str, now: float) -> tuple[Refusal, float]:
        """
        Returns:
            The entry, and for how many seconds the stream should be held before it is ended.
        """
        key = (node, cluster, reason)
        known = self._known.pop(key, None)
        count = known.count + 1 if known is not None and now - known.last_at < _FORGOTTEN_S else 1
        entry = self._known[key] = Refusal(node, cluster, peer, reason, count, now)
        while len(self._known) > _MOST_REFUSALS:
            self._known.popitem(last=False)
        return entry, 0.0 if count == 1 else min(_LAST_DELAY_S, _FIRST_DELAY_S * 2.0 ** min(count - 2, 10))

    def recent(self, now: float) -> Iterator[Refusal]:
        """Of the last minute, the newest last."""
        return (refusal for refusal in self._known.values() if now - refusal.last_at < _FORGOTTEN_S)
