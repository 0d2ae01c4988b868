"""Which reports there is time for: reading them may take a small share of one CPU, however many nodes report.

Numbers are cumulative, so a report that is left out makes a node's rate an average over a longer time, no more.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class _Node:
    taken_at: float
    cost_s: float


class Turns:
    """Each node has its turn once a round; a round lasts as long as its cost demands."""

    def __init__(self, share: float = 0.1) -> None:
        """
        Args:
            share: of one CPU that reading reports may take.
        """
        self._share = share
        self._nodes: dict[str, _Node] = {}
        self._round_cost_s = 0.0

    @property
    def round_s(self) -> float:
        """Between two reports of one node that are read, at least."""
        return self._round_cost_s / self._share

    def is_due(self, node: str, now: float) -> bool:
        """Whether its report is to be read; a node that is new always is."""
        known = self._nodes.get(node)
        return known is None or now - known.taken_at >= self.round_s

    def took(self, node: str, cost_s: float, now: float) -> None:
        """A report was read, which took so many seconds of CPU."""
        known = self._nodes.get(node)
        if known is None:
            self._nodes[node] = _Node(now, cost_s)
            self._round_cost_s += cost_s
            return
        smoothed = known.cost_s + (cost_s - known.cost_s) / 4
        self._round_cost_s += smoothed - known.cost_s
        known.taken_at, known.cost_s = now, smoothed

    def forget(self, node: str) -> None:
        known = self._nodes.pop(node, None)
        if known is not None:
            self._round_cost_s = max(0.0, self._round_cost_s - known.cost_s)
        if not self._nodes:
            self._round_cost_s = 0.0
