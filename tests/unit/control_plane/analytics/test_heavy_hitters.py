"""Space-Saving: the frequent names stay, whatever else comes."""

from collections import Counter
from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from control_plane.analytics.heavy_hitters import HeavyHitters


def test_a_flood_of_new_names_evicts_no_frequent_one() -> None:
    """One in ten occurrences is alice's, and there is room for twenty."""
    kept = HeavyHitters(20)
    evicted = [
        kept.seen(name) for number in range(10_000) for name in (("alice",) if number % 9 == 0 else ()) + (f"{number}",)
    ]

    assert "alice" not in evicted
    assert 20 == len(kept)


def test_nothing_is_evicted_while_there_is_room() -> None:
    """Then it is exact."""
    kept = HeavyHitters(3)

    assert [None] * 6 == [kept.seen(name) for name in "abcabc"]


@given(st.lists(st.sampled_from("abcdefgh"), max_size=200), st.integers(1, 5))
def test_whoever_is_frequent_enough_is_kept(names: list[str], capacity: int) -> None:
    """More than once in `capacity` occurrences: the guarantee of the paper."""
    kept = HeavyHitters(capacity)
    present: set[str] = set()
    for name in names:
        evicted = kept.seen(name)
        present = (present | {name}) - ({evicted} if evicted is not None else set())
        assert len(present) == len(kept) <= capacity
    counts = Counter(chain(names))

    assert {name for name, count in counts.items() if count > len(names) / capacity} <= present
