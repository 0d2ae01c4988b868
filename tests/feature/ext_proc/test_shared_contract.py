"""What a store that processes share promises: the one in Redis, and the fake that models are checked with."""

import asyncio
import os
from collections.abc import Iterator

import pytest

from ext_proc.cache.shared import Lease, Place
from policy.purge import ByPrefix, ByTag, ByUri, Everything, Purge
from tests.feature.ext_authz.harness import DEADLINE_S, eventually
from tests.feature.ext_proc.redis_harness import AnyProcess, FakeFleet, Fleet, RedisFleet, fresh, place
from tests.unit.ext_proc.rules import stored

pytestmark = pytest.mark.xdist_group("redis cache")


@pytest.fixture(params=["fake", pytest.param("redis", marks=pytest.mark.redis)])
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    if request.param == "fake":
        yield FakeFleet()
    else:
        yield RedisFleet(request.getfixturevalue("redis").url, f"{os.urandom(6).hex()}:")


async def test_what_one_process_stores_another_finds(fleet: Fleet) -> None:
    """With every field, the large body included; it ends the lease."""
    entry = fresh(bytes(range(256)) * 2000, etag='"1"', vary="accept", cache_tag="a, b", x_text="caf\u00e9")
    async with fleet.process() as one, fleet.process() as other:
        first = await one.fill(place(), entry)
        await stored_by(one, place())
        found = await other.fetch(place(), lease=True)

    assert (Lease.OWNED, None) == (first.lease, first.entry)
    assert (Lease.NONE, entry.body, entry.headers, entry.tags) == (
        found.lease, found.entry and found.entry.body, found.entry and found.entry.headers,
        found.entry and found.entry.tags,
    )  # fmt: skip


async def test_one_lease_a_key(fleet: Fleet) -> None:
    """Whoever asks while it is held waits; ended, it is the next one's; a stale entry does not hinder."""
    async with fleet.process() as one, fleet.process() as other:
        mine = await one.fetch(place(), lease=True)
        theirs = await other.fetch(place(), lease=True)
        elsewhere = await other.fetch(place("/b"), lease=True)
        other.store.end_lease(place(), theirs, uncacheable_s=0, failed=False)
        still = await other.fetch(place(), lease=True)
        one.store.end_lease(place(), mine, uncacheable_s=0, failed=False)
        await one.settle()
        after = await other.fetch(place(), lease=True)

    assert [Lease.OWNED, Lease.HELD, Lease.OWNED, Lease.HELD, Lease.OWNED] == [
        each.lease for each in (mine, theirs, elsewhere, still, after)
    ]


async def test_a_stale_entry_comes_with_the_lease(fleet: Fleet) -> None:
    """One process revalidates it; the others know that it does."""
    stale = stored({"cache-control": "max-age=0", "etag": '"1"'})
    async with fleet.process() as it:
        await it.fill(place(), stale)
        first, second = await it.fetch(place(), lease=True), await it.fetch(place(), lease=True)

    assert [Lease.OWNED, Lease.HELD] == [first.lease, second.lease]
    assert all(each.entry is not None for each in (first, second))


@pytest.mark.parametrize("failed", [False, True])
async def test_an_uncacheable_key_is_known_to_all(fleet: Fleet, failed: bool) -> None:
    """Nobody waits for it for a while, nor is it anybody's."""
    async with fleet.process() as it:
        mine = await it.fetch(place(), lease=True)
        it.store.end_lease(place(), mine, uncacheable_s=30, failed=failed)
        told = await it.fetch(place(), lease=True)
        it.put(place(), told)
        after = await it.fetch(place(), lease=True)

    assert (Lease.UNCACHEABLE, failed, True) == (told.lease, told.failed, 20 < told.uncacheable_s <= 30)
    assert after.entry is not None


async def test_an_entry_that_everybody_has_to_ask_for(fleet: Fleet) -> None:
    """`no-cache`: stored for its validator, and nobody waits for anybody."""
    async with fleet.process() as it:
        mine = await it.fetch(place(), lease=True)
        it.put(place(), mine, stored({"cache-control": "no-cache", "etag": '"1"'}), uncacheable_s=30)
        told = await it.fetch(place(), lease=True)

    assert (Lease.UNCACHEABLE, True) == (told.lease, told.entry is not None)


async def test_variants_by_names_that_the_asker_does_not_know(fleet: Fleet) -> None:
    """It is told them, and asks again; a key of fewer names is not what is stored."""
    english = place(selecting=("accept-language",), value="en")
    async with fleet.process() as it:
        await it.fill(english, fresh(b"hello"))
        told = await it.fetch(place(), lease=True)
        exact = await it.fetch(english, lease=True)
        danish = await it.fetch(place(selecting=("accept-language",), value="da"), lease=True)

    assert (Lease.NONE, None, ("accept-language",)) == (told.lease, told.entry, told.selecting)
    assert (b"hello", Lease.OWNED) == (exact.entry and exact.entry.body, danish.lease)


async def test_an_invalidated_uri_is_gone_with_its_fills(fleet: Fleet) -> None:
    """Every variant; a fill that began before is refused; the other process hears of it."""
    english, danish = (place(selecting=("accept-language",), value=value) for value in ("en", "da"))
    async with fleet.process() as one, fleet.process() as other:
        await one.fill(english)
        late = await other.fetch(danish, lease=True)
        one.store.invalidate(english.uri)
        await one.settle()
        await eventually(lambda: [english.uri] == other.memory.uris)
        other.put(danish, late)
        after = [await other.fetch(each, is_exact=True) for each in (english, danish)]
        again = await one.fill(english)
        await one.settle()
        found = await other.fetch(english)

    assert [None, None] == [each.entry for each in after]
    assert ([], True) == (one.memory.uris, found.entry is not None)
    assert again.epoch != late.epoch


@pytest.mark.parametrize("what", [ByTag("t1"), ByPrefix("http", "h", "/a"), ByPrefix("", "", "/a"), Everything()])
async def test_a_purge_holds_for_what_was_begun_before_it(fleet: Fleet, what: Purge) -> None:
    """Wherever it is and whenever it is stored; what is begun after it stays, and so does what it does not name."""
    tagged = fresh(cache_tag="t1, t2")
    async with fleet.process() as one, fleet.process() as other:
        await one.fill(place("/a1"), tagged)
        await one.fill(place("/b"), fresh(cache_tag="t2"))
        late = await other.fetch(place("/a2"), lease=True)
        for each in (one, other):
            each.store.purge("purge-1", what)
        other.put(place("/a2"), late, tagged)
        gone = [await each.fetch(place(path)) for path in ("/a1", "/a2") for each in (one, other)]
        kept = await other.fetch(place("/b"))
        async with asyncio.timeout(DEADLINE_S):
            while (await one.fetch(place("/a1"))).entry is None:
                await other.fill(place("/a1"), tagged)

    assert [None] * 4 == [each.entry for each in gone]
    assert (kept.entry is None) is isinstance(what, Everything)


async def test_a_key_alone_is_purged_at_once(fleet: Fleet) -> None:
    """As an invalidation, with its fills."""
    async with fleet.process() as it:
        await it.fill(place())
        it.store.purge("purge-1", ByUri(place().uri))

        assert (await it.fetch(place())).entry is None


async def test_what_replaces_something_fresh_is_told(fleet: Fleet) -> None:
    """Other memories let go of what they have of it."""
    async with fleet.process() as one, fleet.process() as other:
        await one.fill(place())
        await one.fill(place(), replaces=True)
        await one.settle()

        await eventually(lambda: [place().uri] == other.memory.replaced)
        assert [] == one.memory.replaced


async def stored_by(process: AnyProcess, where: Place) -> None:
    """Large bodies are compressed beside everything else."""
    async with asyncio.timeout(DEADLINE_S):
        while (await process.fetch(where)).entry is None:
            pass
