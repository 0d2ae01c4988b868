"""The store's bounds hold whatever is put in."""

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ext_proc.cache.memory import MemoryStore
from tests.unit.ext_proc.rules import NOW, stored

ENTRY = stored({"cache-control": "max-age=60"})


def put(
    store: MemoryStore, key: str, *, primary: str = "", uri: str = "", at: float = NOW + 60, size: int = 10
) -> bool:
    entry = ENTRY if size == 10 else stored({"cache-control": "max-age=60"}, body=b"x" * size)
    return store.put(
        key, entry, primary=primary or key, uri=uri or key, selecting=("accept",), route="r", expires_at=at
    )


def store_of(entries: int) -> MemoryStore:
    return MemoryStore(max_bytes=100_000_000, max_entries=entries)


def test_a_scan_does_not_evict_what_is_read() -> None:
    """SIEVE: a flood of keys that nobody reads twice evicts itself."""
    store = store_of(100)
    hot = [f"hot{number}" for number in range(20)]
    for key in hot:
        put(store, key)
    for number in range(5000):
        put(store, f"cold{number}")
        assert store.get(hot[number % 20])

    assert all(store.get(key) for key in hot)
    assert 100 == len(store)


def test_bytes_are_bounded() -> None:
    """Under a flood of keys the store stays within its size."""
    store = MemoryStore(max_bytes=200_000, max_entries=10**6)
    for number in range(1000):
        put(store, f"key{number}", size=random.Random(number).randrange(1000))

        assert store.bytes <= 200_000

    assert len(store) > 50
    assert 1000 - len(store) == store.usage["r"].evictions


def test_one_large_object_cannot_empty_the_store() -> None:
    """More than an eighth of the store is refused."""
    store = MemoryStore(max_bytes=200_000, max_entries=1000)
    for number in range(20):
        put(store, f"key{number}")

    assert not put(store, "large", size=50_000)
    assert 20 == len(store)


def test_entries_expire_without_being_read() -> None:
    """The sweep frees what is of no more use, and only that."""
    store = store_of(100)
    put(store, "early", at=NOW + 5)
    put(store, "late", at=NOW + 50)

    assert 0 == store.expire(NOW + 5)
    assert 1 == store.expire(NOW + 6)
    assert store.get("early") is None
    assert store.get("late") is not None


def test_an_invalidated_uri_loses_all_variants() -> None:
    """Of every route and identity."""
    store = store_of(100)
    put(store, "a-en", primary="a", uri="/a")
    put(store, "a-de", primary="a", uri="/a")
    put(store, "b", uri="/b")

    assert 2 == store.remove_uri("/a")
    assert 0 == store.remove_uri("/a")
    assert 1 == len(store)
    assert () == store.selecting("a")


def test_selecting_names_only_grow_while_variants_are_there() -> None:
    """A forgotten name would serve one client's variant to another."""
    store = store_of(100)
    put(store, "a1", primary="a")

    assert ("accept",) == store.selecting("a")
    assert ("accept", "x-b") == store.note_selecting("a", ("x-b",))
    assert ("x-b",) == store.note_selecting("other", ("x-b",))


class Bookkeeping(RuleBasedStateMachine):
    """Any order of puts, reads, removals and sweeps leaves the indexes in step with the entries."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore(max_bytes=20_000, max_entries=8)
        self.now = NOW

    @rule(key=st.integers(0, 12), life=st.integers(0, 20), size=st.sampled_from([10, 1200]))
    def put(self, key: int, life: int, size: int) -> None:
        put(self.store, f"k{key}", primary=f"p{key % 4}", uri=f"u{key % 3}", at=self.now + life, size=size)

    @rule(key=st.integers(0, 12))
    def get(self, key: int) -> None:
        self.store.get(f"k{key}")

    @rule(key=st.integers(0, 12))
    def remove(self, key: int) -> None:
        self.store.remove(f"k{key}")

    @rule(uri=st.integers(0, 2))
    def remove_uri(self, uri: int) -> None:
        self.store.remove_uri(f"u{uri}")

    @rule(seconds=st.integers(1, 10))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds
        self.store.expire(self.now)

    @invariant()
    def bounds_hold(self) -> None:
        assert len(self.store) <= 8
        assert self.store.bytes <= 20_000

    @invariant()
    def usage_is_what_is_there(self) -> None:
        usage = self.store.usage.get("r")
        if usage is not None:
            assert (len(self.store), self.store.bytes) == (usage.entries, usage.bytes)
        if not len(self.store):
            assert self.store.bytes == 0

    def teardown(self) -> None:
        for uri in range(3):
            self.store.remove_uri(f"u{uri}")
        assert 0 == len(self.store)
        assert not any(self.store.selecting(f"p{number}") for number in range(4))


TestBookkeeping = Bookkeeping.TestCase
TestBookkeeping.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
