"""How many entries were lost between an Envoy and here: what it counts minus what has arrived.

Envoy drops entries when its buffers are full and counts those; what it has written to a stream that breaks it counts as
sent. Both are in the difference between its two counters and ours. Whoever asks waits a moment before he compares, so
that what is on its way arrives; what is new by then makes the difference smaller. So under load a loss is told late
or too small, never too large, and exactly as soon as traffic pauses.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import orjson

COUNTERS = frozenset(
    {"envoy_access_logs_grpc_access_log_grpc_entries_flushed", "envoy_access_logs_grpc_access_log_logs_dropped"}
)
MAX_ENVOYS = 1000
_DIFFERENCES = 2
"""A loss has to show this often in a row: a receiver that is behind has lost nothing."""


@dataclass(slots=True)
class Account:
    """Of one Envoy, by its node id."""

    counter: int | None = None
    """Its counters' sum when it was last asked."""
    expected: int = 0
    """Entries that it has sent or dropped since it has been known."""
    arrived: int = 0
    lost: int = 0
    seen_s: float = 0.0
    differences: deque[int] = field(default_factory=lambda: deque(maxlen=_DIFFERENCES))


class Losses:
    """What each Envoy wanted to send, and what has come of it."""

    def __init__(self, kept: Mapping[str, str] | None = None) -> None:
        """
        Args:
            kept: what `kept` has returned, by another process perhaps.
        """
        self._accounts = {node: Account(*orjson.loads(text)) for node, text in (kept or {}).items()}

    def kept(self) -> dict[str, str]:
        """Everything that has to outlive the process, by node."""
        return {
            node: orjson.dumps([each.counter, each.expected, each.arrived, each.lost, each.seen_s]).decode()
            for node, each in self._accounts.items()
        }

    def arrived(self, node: str, entries: int, now_s: float) -> bool:
        """Entries of a node have come; whether it is new."""
        account = self._accounts.get(node)
        is_new = account is None
        if account is None:
            if len(self._accounts) >= MAX_ENVOYS:
                return False
            account = self._accounts[node] = Account()
        account.arrived += entries
        account.seen_s = now_s
        return is_new

    def counted(self, node: str, counter: int) -> None:
        """An Envoy has told its counters' sum, a moment ago."""
        account = self._accounts.get(node)
        if account is None:
            return
        if account.counter is None:
            # What was before it was met is nobody's loss.
            account.expected = account.arrived
        else:
            # It starts from 0 again with its Envoy.
            account.expected += counter - account.counter if counter >= account.counter else counter
        account.counter = counter
        account.differences.append(account.expected - account.arrived)

    @property
    def watched(self) -> int:
        """Envoys that have told their counters, so that what they lose from then on is known."""
        return sum(account.counter is not None for account in self._accounts.values())

    def newly_lost(self) -> int:
        """Entries that are known to be lost since this was last asked."""
        found = 0
        for account in self._accounts.values():
            if len(account.differences) == _DIFFERENCES and (lost := min(account.differences)) > account.lost:
                found += lost - account.lost
                account.lost = lost
        return found

    def forget(self, before_s: float) -> None:
        """Envoys that have sent nothing since then."""
        self._accounts = {node: each for node, each in self._accounts.items() if each.seen_s >= before_s}


def counters_sum(exposition: str) -> int:
    """Of an Envoy's statistics in Prometheus' text form."""
    return sum(_values(exposition.splitlines()))


def _values(lines: Iterable[str]) -> Iterable[int]:
    for line in lines:
        name, _, value = line.partition(" ")
        if name.partition("{")[0] in COUNTERS:
            yield int(float(value))
