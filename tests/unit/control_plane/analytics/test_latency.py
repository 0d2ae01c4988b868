"""Percentiles that can be stored and added up."""

import random
import statistics

import pytest

from control_plane.analytics import latency
from control_plane.analytics.latency import Bins


def _bins(durations: list[float]) -> Bins:
    bins: Bins = {}
    for duration in durations:
        latency.add(bins, {latency.bin_of(duration): 1})
    return bins


def test_percentiles_are_within_one_percent() -> None:
    """Of what sorting all durations says."""
    durations = [random.Random(1).lognormvariate(-4, 1) for _ in range(20_000)]
    exact = statistics.quantiles(durations, n=100, method="inclusive")
    found = latency.percentiles(_bins(durations))

    assert found is not None
    for percentile, value in ((50, found.p50), (90, found.p90), (95, found.p95), (99, found.p99)):
        assert exact[percentile - 1] * 1000 == pytest.approx(value, rel=0.015)


def test_parts_add_up_to_the_whole() -> None:
    """Whatever is stored by the minute gives the percentiles of the day."""
    durations = [number / 1000 for number in range(1, 1000)]
    parts = [latency.packed(_bins(durations[start::3])) for start in range(3)]

    assert _bins(durations) == latency.merged(parts)


def test_extreme_durations_count_too() -> None:
    """None is negative, too short or too long for a bin; there are few bins."""
    short, long = latency.percentiles(_bins([0.0, -1.0])), latency.percentiles(_bins([1e12]))

    assert short is not None
    assert long is not None
    assert 0.001 == short.p50
    assert 86_400_000 == pytest.approx(long.p50, rel=0.01)
    assert 1300 > latency.bin_of(1e12) - latency.bin_of(0.0)


def test_nothing_has_no_percentiles() -> None:
    """Rather than zeros."""
    assert latency.percentiles({}) is None


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'["a", 1]', b"[1.5, 1]"])
def test_what_is_no_sketch_is_refused(body: bytes) -> None:
    """Instead of being counted as something else."""
    with pytest.raises(ValueError):
        latency.unpacked(body)
