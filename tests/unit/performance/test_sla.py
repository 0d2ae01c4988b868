"""What load tests promise, the same for both tools."""

import re
from pathlib import Path

import pytest

from tests.performance import sla
from tests.performance.durations import seconds
from tests.performance.load_test import LoadError, Run, Target, k6, locust, without_limits
from tests.performance.sla import Outcome, violations

CHECKOUT = Path(__file__).parents[3]
GOOD = Outcome(requests=1000, failures=4, p95_ms=350.0, p99_ms=650.0)


def test_at_the_edge_it_is_kept() -> None:
    """The bounds themselves are good; errors have to stay below theirs."""
    assert [] == violations(GOOD)
    assert ["errors: 0.50% of 1000 (less than 0.5%)"] == violations(Outcome(1000, 5, 1.0, 1.0))


def test_each_broken_promise_is_named() -> None:
    """A slow run with errors has three."""
    broken = violations(Outcome(1000, 50, 351.0, 700.0))

    assert [
        "errors: 5.00% of 1000 (less than 0.5%)",
        "p95: 351 ms (at most 350)",
        "p99: 700 ms (at most 650)",
    ] == broken


def test_smoke_runs_look_at_errors_alone() -> None:
    """And no run passes that answered nothing."""
    assert [] == violations(Outcome(10, 0, 9000.0, 9000.0), times=False)
    assert ["no request was answered"] == violations(Outcome(0, 0, 0.0, 0.0), times=False)


def test_k6_has_the_same_numbers() -> None:
    """They stand in its script too, where nothing can be imported."""
    script = (CHECKOUT / "tests" / "performance" / "k6-smoke.js").read_text()
    latency, errors = re.search(r"latency = (.*);", script), re.search(r"errors = (.*);", script)

    assert latency is not None
    assert errors is not None
    assert f'["p(95)<={sla.P95_MS:.0f}", "p(99)<={sla.P99_MS:.0f}"]' == latency[1]
    assert f'["rate<{sla.ERROR_RATIO}"]' == errors[1]


def test_limits_are_relaxed_and_stay() -> None:
    """Every limit of the default configuration is computed, none refuses."""
    relaxed = without_limits((CHECKOUT / "envoy" / "gateway.yaml").read_text())

    assert 3 == relaxed.count("rate: 1000000/second, burst: 1000000")
    assert "/minute" not in relaxed
    with pytest.raises(LoadError, match="no rate limits"):
        without_limits("version: 1")


def test_what_the_tools_are_told(tmp_path: Path) -> None:
    """The same target, crowd and duration; smoke runs judge no times."""
    target, run = Target("http://127.0.0.1:1", "s" * 32), Run(users=7, duration_s=90.0, smoke=True)
    by_locust, by_k6 = locust("locust", target, run, tmp_path), k6("k6", target, run, tmp_path)

    assert {"--users", "7", "90s", "http://127.0.0.1:1"} <= set(by_locust.command)
    assert {"USERS": "7", "DURATION": "90s", "GATEWAY_URL": target.url}.items() <= by_k6.variables.items()
    assert "0" == by_locust.variables["LOAD_TIMES"] == by_k6.variables["LOAD_TIMES"]


@pytest.mark.parametrize(("text", "expected"), [("90", 90.0), ("90s", 90.0), ("1.5m", 90.0), ("1h", 3600.0)])
def test_durations(text: str, expected: float) -> None:
    """As people write them."""
    assert expected == seconds(text)


@pytest.mark.parametrize("text", ["", "0", "5 m", "-1s", "1d", "ten"])
def test_durations_that_are_none(text: str) -> None:
    """With what is allowed."""
    with pytest.raises(Exception, match="90s, 5m, 1h"):
        seconds(text)
