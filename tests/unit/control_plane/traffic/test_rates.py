"""Cumulative numbers of many nodes as rates."""

from hypothesis import given
from hypothesis import strategies as st

from control_plane.traffic.rates import Rates
from control_plane.traffic.report import SERVICE, Key, Numbers

USERS: Key = (SERVICE, "users")
EVENTS: Key = (SERVICE, "events")


def test_a_rate_is_what_came_between_two_reports() -> None:
    """The first one says nothing yet: it holds all since the start."""
    rates = Rates()
    rates.update("e1", {USERS: (1000.0,)}, 10.0)
    assert () == rates.get(USERS)

    rates.update("e1", {USERS: (1050.0,)}, 15.0)
    assert (10.0,) == rates.get(USERS)


def test_what_appears_later_was_zero_before() -> None:
    """Envoy reports no statistic before its first use."""
    rates = Rates()
    rates.update("e1", {}, 10.0)
    rates.update("e1", {USERS: (20.0,)}, 15.0)

    assert (4.0,) == rates.get(USERS)


def test_a_node_that_started_again_counts_from_zero() -> None:
    """No negative rate, and no jump."""
    rates = Rates()
    rates.update("e1", {USERS: (1000.0, 50.0)}, 10.0)
    rates.update("e1", {USERS: (5.0, 0.0)}, 15.0)

    assert (1.0, 0.0) == rates.get(USERS)


def test_nodes_add_up_and_leave_nothing_behind() -> None:
    """What rounding leaves is gone with the last of them."""
    rates = Rates()
    for node in ("e1", "e2"):
        rates.update(node, {USERS: (0.1,), EVENTS: (0.0,)}, 10.0)
        rates.update(node, {USERS: (1.0,), EVENTS: (0.0,)}, 13.0)
    assert 0.6 == round(rates.get(USERS)[0], 9)

    rates.forget("e1")
    assert 0.3 == round(rates.get(USERS)[0], 9)
    rates.update("e2", {USERS: (1.0,), EVENTS: (0.0,)}, 16.0)
    assert [] == list(rates.active())


def test_a_report_of_the_same_moment_changes_nothing() -> None:
    """It would divide by zero."""
    rates = Rates()
    rates.update("e1", {USERS: (0.0,)}, 10.0)
    rates.update("e1", {USERS: (9.0,)}, 13.0)
    rates.update("e1", {USERS: (99.0,)}, 13.0)

    assert (3.0,) == rates.get(USERS)


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.dictionaries(st.sampled_from([USERS, EVENTS]), st.integers(0, 1000))),
        max_size=40,
    )
)
def test_the_sum_is_that_of_all_nodes_alone(reports: list[tuple[str, dict[Key, int]]]) -> None:
    """Whatever order reports come in, resets included."""
    together, alone = Rates(), {node: Rates() for node in "abc"}
    for moment, (node, counters) in enumerate(reports):
        numbers: dict[Key, Numbers] = {key: (float(value),) for key, value in counters.items()}
        together.update(node, numbers, float(moment))
        alone[node].update(node, numbers, float(moment))

    for key in (USERS, EVENTS):
        expected = sum(one.get(key)[0] for one in alone.values() if one.get(key))
        assert abs(expected - sum(together.get(key) or (0.0,))) < 1e-6
