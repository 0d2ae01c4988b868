"""The bench of tracing measures what it says."""

from tests.performance.tracing_bench import document, measure


def test_a_request_that_is_not_sampled_costs_next_to_nothing() -> None:
    """Within one run, by CPU time: far less is added than by a span, which is what everybody else pays."""
    costs = measure(15)

    assert costs.sampled > costs.off
    assert costs.unsampled - costs.off < (costs.sampled - costs.off) / 2
    assert "not sampled" in document(costs)
