"""The bench runs: everything that it starts comes up, answers, and ends. Times are not looked at."""

from collections.abc import Mapping
from pathlib import Path
from time import monotonic

import pytest

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


@pytest.mark.timeout(120)
def test_every_case_is_measured(tmp_path: Path) -> None:
    """Each case answers 200 through real processes and has its row, each comparison its ratio."""
    plan = Plan(rounds=1, seconds=0.01, connections=200)
    with Stand(tmp_path) as stand:
        samples = list(measure(stand, FewRequests(), CASES, plan))

    text = "\n".join(tables(CASES, samples, []))

    assert [case.name for case in CASES] == [sample.case for sample in samples]
    assert all(case.title in text for case in CASES)
    assert 9 == len(ratios(samples))
