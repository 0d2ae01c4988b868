"""The bench of the xDS server measures what it says."""

import pytest

from tests.performance.xds_bench import QUICK, Figure, builds, endpoint_changes, route_edits
from tests.performance.xds_streams import measure


async def test_a_quick_run_has_every_figure() -> None:
    """Goals stand beside what has one; builds and edits change what they say, or the bench says so."""
    figures = [*builds(QUICK), *await route_edits(QUICK), *endpoint_changes(QUICK)]

    assert 10 == len(figures)
    assert 6 == sum(figure.at_most is not None for figure in figures)
    assert all(figure.value > 0 for figure in figures if figure.at_most != 0)


@pytest.mark.parametrize("kind", ["ours", "bare"])
async def test_streams_acknowledge_every_change(kind: str) -> None:
    """In a process of its own, which ends."""
    cost = await measure(kind, streams=2, changes=3)

    assert cost.cpu_s > 0
    assert cost.p99_s > 0


def test_a_figure_says_whether_it_is_met() -> None:
    """With the goal in the same unit."""
    assert "| a | 99.9 ms | 100 ms | yes |" == Figure("a", 99.9, " ms", 100).row
    assert "| a | 3.10 x | 3 x | no |" == Figure("a", 3.1, " x", 3).row
    assert "| a | 1,234 B | | |" == Figure("a", 1234, " B").row
