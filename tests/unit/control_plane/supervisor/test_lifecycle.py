"""Restarts and their back-off, without a clock or a process."""

from hypothesis import given
from hypothesis import strategies as st

from control_plane.supervisor.lifecycle import Lifecycle, RestartPolicy, exit_text

POLICY = RestartPolicy()


def _after_deaths(lives_s: list[float]) -> Lifecycle:
    lifecycle, now_s = Lifecycle(), 0.0
    for life_s in lives_s:
        lifecycle = lifecycle.started(now_s)
        now_s += life_s
        lifecycle = lifecycle.died(now_s, POLICY)
    return lifecycle


def test_a_first_death_is_followed_by_a_start_within_a_second() -> None:
    """What the contract promises for one crash."""
    assert _after_deaths([3600.0]).restart_delay_s(POLICY) < 1.0


def test_deaths_in_a_row_double_the_delay_up_to_ten_seconds() -> None:
    """A process that cannot live does not burn the machine."""
    delays = [_after_deaths([0.1] * deaths).restart_delay_s(POLICY) for deaths in range(1, 9)]

    assert [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0] == delays


def test_a_stable_life_is_a_new_beginning() -> None:
    """The death after ten good seconds counts as the first."""
    assert _after_deaths([0.1] * 8 + [10.0]).restart_delay_s(POLICY) == POLICY.first_s


@given(st.lists(st.floats(min_value=0, max_value=1e6), max_size=200))
def test_no_delay_is_longer_than_the_longest(lives_s: list[float]) -> None:
    """Whatever the history."""
    assert 0 <= _after_deaths(lives_s).restart_delay_s(POLICY) <= POLICY.longest_s


def test_an_exit_is_told_in_the_operators_words() -> None:
    """Signals by name, statuses by number."""
    assert ["exit status 1", "killed by SIGKILL", "killed by signal 99"] == [
        exit_text(code, {9: "SIGKILL"}) for code in (1, -9, -99)
    ]
