"""GCRA in memory: exact in every window, all or nothing, bounded, and deaf to floods."""

import tracemalloc
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_authz.limiter.charges import Charge
from ext_authz.limiter.gcra import taken
from ext_authz.limiter.memory import MemoryStore
from policy.errors import PolicyError
from policy.quotas import Limit, Quota, limit, quota
from tests.unit.ext_authz.fixtures import rate_limit

START_US = 1_000_000_000
S = 1_000_000


def charge(count: int, per_s: float, burst: int = 0, key: str = "k", name: str = "limit", **options: object) -> Charge:
    compiled = limit(rate_limit(name, count, per_s, burst=burst, **options))  # type: ignore[arg-type]
    return bucket_of(compiled, key)


def admitted(store: MemoryStore, charges: Sequence[Charge], now_us: int) -> bool:
    return store.charge(charges, now_us).admitted


@settings(max_examples=300, deadline=None)
@given(
    count=st.integers(1, 2000),
    period_s=st.sampled_from([1, 60, 3600]),
    burst=st.integers(1, 50),
    gaps=st.lists(st.integers(0, 400_000), min_size=1, max_size=200),
)
def test_every_sliding_window(count: int, period_s: int, burst: int, gaps: list[int]) -> None:
    """In every window, wherever it begins and ends, at most burst + rate x window requests pass (+1 for rounding)."""
    store, each = MemoryStore(100), charge(count, period_s, burst)
    now_us, passed = START_US, []
    for gap in gaps:
        now_us += gap
        if admitted(store, [each], now_us):
            passed.append(now_us)
    for first, begin in enumerate(passed):
        for last in range(first, len(passed)):
            window_us = passed[last] - begin

            assert last - first + 1 <= burst + count * window_us / (period_s * S) + 1


def test_burst_then_evenly() -> None:
    """A full bucket gives its burst at once, then one request an interval."""
    store, each = MemoryStore(100), charge(60, 60, burst=5)
    moments = [START_US] * 7 + [START_US + S, START_US + S, START_US + 2 * S - 1, START_US + 2 * S]

    assert [admitted(store, [each], moment) for moment in moments] == [True] * 5 + [False] * 2 + [
        True,
        False,
        False,
        True,
    ]


def test_standing() -> None:
    """What is left, when there is more, and how long to wait are exact."""
    store, each = MemoryStore(100), charge(60, 60, burst=2)
    first, second, third = (store.charge([each], START_US + 250_000 * number) for number in range(3))

    assert first.standing is not None
    assert second.standing is not None
    assert third.standing is not None
    assert (first.standing.remaining, first.standing.reset_us) == (1, S)
    assert (second.standing.remaining, second.standing.reset_us) == (0, 750_000)
    assert (third.admitted, third.standing.retry_after_us) == (False, 500_000)
    assert admitted(store, [each], START_US + 500_000 + 500_000)


def test_all_or_nothing() -> None:
    """A request that one limit refuses costs the others nothing."""
    store = MemoryStore(100)
    wide, narrow = charge(10, 60, name="wide"), charge(1, 60, name="narrow")
    verdicts = [store.charge([wide, narrow], START_US).admitted for _ in range(5)]
    after = store.charge([wide], START_US)

    assert verdicts == [True, False, False, False, False]
    assert after.standing is not None
    assert after.standing.remaining == 8


def test_longest_wait_is_told() -> None:
    """Of several refusing limits the one to wait longest for is reported; of several passing ones the tightest."""
    store = MemoryStore(100)
    short, long, wide = charge(1, 1, name="short"), charge(1, 60, name="long"), charge(100, 1, name="wide")
    passed = store.charge([wide, short, long], START_US)
    refused = store.charge([wide, short, long], START_US)

    assert passed.standing is not None
    assert refused.standing is not None
    assert passed.standing.limit.name == "short"
    assert (refused.standing.limit.name, refused.standing.retry_after_us) == ("long", 60 * S)


def test_shadow() -> None:
    """A limit in shadow mode never refuses, is named when it would, and takes nothing from a refused request."""
    store = MemoryStore(100)
    shadow, enforced = charge(1, 60, name="shadow", shadow=True), charge(2, 60, name="enforced")
    verdicts = [store.charge([shadow, enforced], START_US) for _ in range(3)]

    assert [verdict.admitted for verdict in verdicts] == [True, True, False]
    assert [[each.name for each in verdict.would_refuse] for verdict in verdicts] == [[], ["shadow"], ["shadow"]]


def test_cost() -> None:
    """A request of cost 3 takes three."""
    store, each = MemoryStore(100), charge(10, 60, cost=3)

    assert [admitted(store, [each], START_US) for _ in range(4)] == [True, True, True, False]


def test_zero_denies() -> None:
    """0 per second admits nobody, ever."""
    store, each = MemoryStore(100), charge(0, 1)
    verdict = store.charge([each], START_US)

    assert verdict.admitted is False
    assert verdict.standing is not None
    assert verdict.standing.retry_after_us > 0
    assert len(store) == 0


def test_cost_beyond_burst_does_not_compile() -> None:
    """A limit that could never be met is refused when it is configured, not with a 429 for ever."""
    with pytest.raises(PolicyError, match="cost"):
        limit(rate_limit(count=10, burst=2, cost=3))


def test_edit_keeps_fill() -> None:
    """After an edit a bucket stays as empty as it was, but never locks out for longer than its own refill."""
    store = MemoryStore(100)
    for _ in range(10):
        assert admitted(store, [charge(10, 3600)], START_US)

    assert not admitted(store, [charge(20, 3600, burst=10)], START_US)
    assert not admitted(store, [charge(10, 10)], START_US)
    assert admitted(store, [charge(10, 10)], START_US + S)


def test_clock_going_back() -> None:
    """A clock that jumps back an hour locks nobody out for longer than a refill."""
    full = Quota(S, 10, 10 * S)

    assert taken(full, 1, START_US + 3600 * S, START_US) == (START_US + 10 * S, S)


def test_shares() -> None:
    """Two workers of a limit admit together what the limit says."""
    store, other = MemoryStore(100), MemoryStore(100)
    half = limit(rate_limit(count=10, per_s=1), share=2)
    passed = sum(
        admitted(each, [bucket_of(half, "k")], START_US + number * 10_000)
        for number in range(200)
        for each in (store, other)
    )

    assert 26 <= passed <= 30  # burst 10 and 10 a second for 2 s


def test_rate_beyond_a_microsecond() -> None:
    """A rate that is no whole number of microseconds is rounded to the strict side."""
    assert quota(3, S).interval_us == 333_334
    assert quota(7_000_000, S).interval_us == 1


def test_full_buckets_are_forgotten() -> None:
    """Memory holds what is live: buckets that have refilled go as new ones come."""
    store, each = MemoryStore(1_000_000), limit(rate_limit(count=1, per_s=1))
    for number in range(20_000):
        store.charge([bucket_of(each, f"key-{number}")], START_US + number * 10_000)

    assert len(store) < 1_000


def bucket_of(each: Limit, key: str) -> Charge:
    return Charge(each, each.quota, key)


def test_key_flood_does_not_evict() -> None:
    """A flood of keys fills the store, then shares a bucket; nobody's counter is pushed out, its sender's included."""
    store = MemoryStore(1_000)
    victim = charge(5, 3600, key="victim")
    spent = [admitted(store, [victim], START_US) for _ in range(6)]
    slow = limit(rate_limit(count=1, per_s=3600))
    flood = [admitted(store, [bucket_of(slow, f"flood-{number}")], START_US) for number in range(5_000)]

    assert spent == [True] * 5 + [False]
    assert sum(flood) <= 1_001
    assert len(store) <= 1_500
    assert not admitted(store, [victim], START_US + S)


def test_flood_of_one_limit_leaves_room_for_others() -> None:
    """A limit that others have crowded out still has its fair share of buckets."""
    store = MemoryStore(1_000)
    slow, other = limit(rate_limit("slow", 1, 3600)), limit(rate_limit("other", 1, 3600))
    for number in range(2_000):
        store.charge([bucket_of(slow, f"flood-{number}")], START_US)

    assert all(admitted(store, [bucket_of(other, f"user-{number}")], START_US) for number in range(200))


def test_recovers_from_a_flood() -> None:
    """When the flood's buckets have refilled, new callers get buckets of their own again."""
    store = MemoryStore(1_000)
    each = limit(rate_limit(count=1, per_s=60))
    for number in range(2_000):
        store.charge([bucket_of(each, f"flood-{number}")], START_US)
    for number in range(500):
        store.charge([bucket_of(each, f"later-{number}")], START_US + 120 * S)

    assert all(admitted(store, [bucket_of(each, f"new-{number}")], START_US + 121 * S) for number in range(100))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3_000_000), st.sampled_from(["a", "b"])), max_size=400),
    st.integers(1, 40),
)
def test_bounded_store_never_admits_more(events: list[tuple[int, int, str]], capacity: int) -> None:
    """However small the store, it admits nothing that an unbounded, obvious one would refuse."""
    store = MemoryStore(capacity)
    limits = {name: limit(rate_limit(name, 3, 10)) for name in ("a", "b")}
    reference: dict[tuple[str, str], int] = {}
    now_us = START_US
    for key, gap, name in events:
        now_us += gap
        each = limits[name]
        tat_us, wait_us = taken(each.quota, 1, reference.get((name, str(key)), 0), now_us)
        passed = admitted(store, [bucket_of(each, str(key))], now_us)

        assert not (passed and wait_us)

        if passed:
            reference[name, str(key)] = tat_us


def test_memory_per_key() -> None:
    """A million live keys fit into 200 MiB (measured on a tenth of them)."""
    store = MemoryStore(1_000_000)
    each = limit(rate_limit(count=10, per_s=3600))
    tracemalloc.start()
    for number in range(100_000):
        store.charge([bucket_of(each, f"ujwt.meetinity\0user-{number:08}")], START_US + number)
    held, _peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(store) == 100_000
    assert held / 100_000 < 200 * 1024 * 1024 / 1_000_000
