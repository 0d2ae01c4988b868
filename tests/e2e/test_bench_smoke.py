"""The bench runs: everything that it starts comes up, answers, and ends. Times are not looked at."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from time import monotonic

import pytest

from tests.performance import (
    analytics_bench,
    authz_bench,
    ext_proc_bench,
    limiter_work,
    transform_bench,
    transform_work,
)
from tests.performance.cases import CASES, Plan, measure
from tests.performance.load import Load
from tests.performance.processes import answer_of
from tests.performance.report import ratios, tables
from tests.performance.stand import Stand

pytestmark = pytest.mark.envoy


class FewRequests:
    """A load generator that is always there: some requests, one after another."""

    name = "a few requests"

    def run(self, url: str, headers: Mapping[str, str], *, connections: int, duration_s: float) -> Load:
        started = monotonic()
        answers = [answer_of(url, headers) for _ in range(connections)]
        failures = sum(answer is None or answer[0] != 200 for answer in answers)
        return Load(connections, monotonic() - started, duration_s, duration_s, failures)


@pytest.mark.timeout(240)
def test_every_case_is_measured(tmp_path: Path) -> None:
    """Each case answers 200 through real processes and has its row, each comparison its ratio."""
    plan = Plan(rounds=1, seconds=0.01, connections=40)
    with Stand(tmp_path) as stand:
        samples = list(measure(stand, FewRequests(), CASES, plan))
        of_authz = list(measure(stand, FewRequests(), authz_bench.CASES[authz_bench.FEW], plan))
        of_headers = list(measure(stand, FewRequests(), transform_bench.CASES, plan))

    text = "\n".join(tables(CASES, samples, []))

    assert [case.name for case in CASES] == [sample.case for sample in samples]
    assert all(case.title in text for case in CASES)
    assert 9 == len(ratios(samples))
    assert len(authz_bench.CASES[authz_bench.FEW]) == len(of_authz)
    rows = transform_bench.tables(of_headers, transform_work.measure(rounds=1, repetitions=1))
    assert 3 == len([row for row in rows if row.startswith("|") and "met |" in row])


@pytest.mark.timeout(120)
def test_the_cost_of_analytics_is_measured(tmp_path: Path) -> None:
    """The same gateway with it, without it, and with its process away."""
    plan = Plan(rounds=1, seconds=0.01, connections=40)
    with analytics_bench.AnalyticsStand(tmp_path) as stand:
        samples = list(measure(stand, FewRequests(), analytics_bench.cases(), plan))
    text = analytics_bench.document(samples, analytics_bench.work_of(quick=True), plan)

    assert list(analytics_bench.TITLES) == [sample.case for sample in samples]
    assert {"analytics", "envoy"} == samples[1].cpu_us.keys()
    assert all(title in text for title in analytics_bench.TITLES.values())


@pytest.mark.redis
def test_limits_in_redis_and_in_memory_are_measured() -> None:
    """Both processes answer checks, and several share a round trip."""
    (taken,) = asyncio.run(limiter_work.measure(rounds=1, seconds=0.3))

    assert all(each.checks_per_s > 0 for each in taken.values())
    assert 0 == taken["memory"].checks_per_round_trip
    assert 1 < taken["redis"].checks_per_round_trip


@pytest.mark.redis
def test_every_goal_of_ext_proc_is_measured() -> None:
    """Every server answers as its case wants, and every row of the cache has a figure."""
    size = ext_proc_bench.Size(rounds=1, exchanges=16, concurrent=20, entries=10)
    rounds = asyncio.run(ext_proc_bench.take(size))
    text = ext_proc_bench.document(ext_proc_bench.caching(rounds, size, 200.0), size)

    assert [1.0] == rounds.values["upstream"]
    assert 7 == text.count("at most")
