"""The bench of ext_authz says what it measured."""

from tests.performance.authz_bench import CASES, FULL, Measured, document, figures
from tests.performance.cases import Sample
from tests.performance.decision_work import DecisionCosts, measure
from tests.performance.limiter_work import StoreSample
from tests.performance.live_keys import growth_mib
from tests.performance.load import Load
from tests.performance.report import Machine


def sample(case: str, requests: int, cpu_us: float) -> Sample:
    return Sample(case, Load(requests, 1.0, 0.001, 0.002, 0), {"envoy": 100.0, "callout": cpu_us})


MEASURED = Measured(
    samples={
        connections: [sample(case.name, 1000 + 100 * turn + connections, 10.0) for case in cases for turn in range(3)]
        for connections, cases in CASES.items()
    },
    decisions=DecisionCosts(known_token=20.0, first_sight=110.0, api_key=15.0, signature=40.0),
    stores=[{"memory": StoreSample(40.0, 1.0, 0.0), "redis": StoreSample(cost, 1.0, 7.0)} for cost in (50, 60, 70)],
    million_keys_mib=150.0,
)


def test_every_goal_is_judged() -> None:
    """Ratios are medians over the rounds; what misses its goal says so."""
    found = figures(MEASURED)
    judged = [each for each in found if each.at_most is not None or each.at_least is not None]

    assert 10 == len(judged)
    assert [90.0, 7.0] == [each.value for each in judged if not each.is_met]
    assert 1.5 == next(each.value for each in found if "Redis" in each.what)


def test_the_document_holds_every_case() -> None:
    """All tables are there, with what was measured on which machine."""
    machine = Machine("2026-01-01", "a processor", 2, "6.1", {"Envoy": "1.40.0"}, "wrk")
    text = document(MEASURED, FULL, machine)

    assert all(case.title in text for cases in CASES.values() for case in cases)
    assert "a processor, 2 cores" in text


def test_decisions_and_keys_are_measured() -> None:
    """First sights cost more than known tokens, and callers take memory."""
    costs = measure(rounds=1)

    assert 0 < costs.known_token < costs.first_sight
    assert 0 < growth_mib(20_000)
