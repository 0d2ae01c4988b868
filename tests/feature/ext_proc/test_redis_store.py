"""What the shared store promises, on a real Redis."""

import asyncio
import os

import pytest

from ext_proc.cache.fleet import FleetTurn
from ext_proc.cache.shared import Lease
from ext_proc.redis_calls import open_calls
from policy.purge import ByPrefix, ByTag, ByUri, Everything, Purge
from tests.feature.ext_authz.harness import eventually
from tests.feature.ext_proc.redis_harness import PATIENT, HeldCalls, fresh, place, running
from tests.redis_servers import RedisServer
from tests.unit.ext_proc.rules import NOW, stored

pytestmark = [pytest.mark.redis, pytest.mark.xdist_group("redis cache")]


async def test_a_purge_is_done_once_and_known_to_newcomers(redis: RedisServer) -> None:
    """A process that starts later reads the log; one that is told of an old purge again does not repeat it."""
    async with running(redis.url, prefix="new:") as one:
        late = await one.fetch(place(), lease=True)
        one.store.purge("purge-1", ByTag("t"))
        await eventually(lambda: one.store._purges.is_settled)
        one.put(place(), late, fresh(cache_tag="t"))
        async with running(redis.url, prefix="new:") as newcomer:
            assert (await newcomer.fetch(place())).entry is None
            await newcomer.fill(place(), fresh(cache_tag="t"))
            newcomer.store.purge("purge-1", ByTag("t"))
            await eventually(lambda: not len(newcomer.store._owed))
            log = redis.command("XLEN", "new:{log}:bans")

            assert b":1\r\n" == log
            assert (await one.fetch(place())).entry is not None


@pytest.mark.parametrize(
    "what", [ByTag("t"), ByPrefix("http", "h", "/a"), ByUri(place("/a").uri), Everything()], ids=lambda what: str(what)
)
async def test_what_is_fetched_after_a_purge_is_everybody_s(redis: RedisServer, what: Purge) -> None:
    """At once, before anybody has read the log, and for good: what frees the room comes later and leaves it."""
    prefix = f"{os.urandom(6).hex()}:"
    held = [HeldCalls(open_calls(redis.url)) for _ in range(2)]
    async with running(held[0], prefix=prefix) as one, running(held[1], prefix=prefix) as other:
        variants = [place("/a", selecting=("accept",), value=value) for value in ("old", "new")]
        for each in variants:
            await one.fill(each, fresh(b"old", cache_tag="t"))
        await one.settle()
        for calls in held:
            calls.hold("XREAD", "SSCAN", "SCAN")
        for process in (one, other):
            process.store.purge("purge-1", what)
        before = [await each.fetch(variants[1], is_exact=True) for each in (one, other)]
        await other.fill(variants[1], fresh(b"new", cache_tag="t"))
        await other.settle()
        at_once = [await each.fetch(variants[1], is_exact=True) for each in (one, other)]
        for calls in held:
            calls.release()
        await eventually(lambda: len([key for key in keys(redis, f"{prefix}*") if b"}e" in key]) == 1)
        await eventually(lambda: one.store._purges.is_settled and other.store._purges.is_settled)
        at_last = [await each.fetch(variants[1], is_exact=True) for each in (one, other)]

        assert 1 == one.metric("freed_total") + other.metric("freed_total")
    assert [None, None] == [each.entry for each in before]
    assert [b"new"] * 4 == [each.entry and each.entry.body for each in (*at_once, *at_last)]


async def test_what_was_purged_is_not_kept_by_a_304(redis: RedisServer) -> None:
    """A process knows of a later purge, but has not read of this one: what it has of old is as old as what it read."""
    prefix = f"{os.urandom(6).hex()}:"
    calls, freeing = HeldCalls(open_calls(redis.url)), HeldCalls(open_calls(redis.url))
    async with running(calls, prefix=prefix) as one, running(freeing, prefix=prefix) as other:
        await one.fill(place(), fresh(b"old", cache_tag="t"))
        await one.settle()
        calls.hold("XREAD")
        freeing.hold("SSCAN")
        other.store.purge("purge-1", ByTag("t"))
        await eventually(lambda: other.store._purges.is_settled)
        one.store.purge("purge-2", ByTag("another"))
        await one.settle()
        turn, where = FleetTurn(one.store), place()
        pending = turn.ask(where, NOW, lease=False)
        await eventually(lambda: not pending.is_waiting)
        known = turn.answered()
        assert known.entry is not None
        turn.put(
            where.key, (), known.entry, NOW, uncacheable_s=0, replaces=False, keeps_body=True
        )  # the origin has said 304
        await one.settle()
        calls.release()
        await eventually(lambda: one.store._purges.is_settled)

        assert [None, None] == [(await each.fetch(where)).entry for each in (one, other)]
    assert known.read_to < known.position


async def test_a_purge_frees_the_room(redis: RedisServer) -> None:
    """Of what it names and of nothing else; with everything, entries, their sets and their tags go."""
    async with running(redis.url, prefix="room:") as it:

        def left() -> list[bytes]:
            return [key for key in keys(redis, "room:*") if b"}e" in key]

        for number in range(20):
            await it.fill(place(f"/{number}"), fresh(cache_tag=f"t{number % 2}, all"))
        await it.settle()
        for name, what, expected in (
            ("tag", ByTag("t0"), 10),
            ("prefix", ByPrefix("", "", "/1"), 4),
            ("key", ByUri(place("/3").uri), 3),
        ):
            it.store.purge(name, what)
            await eventually(lambda expected=expected: expected == len(left()))  # type: ignore[misc]
        tagged = redis.command("SCARD", it.store._keys.of_tag("all").decode())
        it.store.purge("purge-2", Everything())

        await eventually(lambda: all(b"{log}" in key for key in keys(redis, "room:*")))
        assert (b":3\r\n", 20) == (tagged, it.metric("freed_total"))


async def test_freeing_goes_on_after_redis_was_away(redis: RedisServer) -> None:
    """Whatever fails, the next purge frees the room of both."""
    calls = HeldCalls(open_calls(redis.url))
    async with running(calls, prefix="failing:") as it:
        for path in ("/a", "/b"):
            await it.fill(place(path))
        await it.settle()
        calls.fails = True
        it.store.purge("purge-1", ByPrefix("", "", "/a"))
        await eventually(lambda: it.metric("failures_total", operation="free", reason="away") == 1)
        calls.fails = False
        it.store.purge("purge-2", ByPrefix("", "", "/b"))

        await eventually(lambda: not any(b"}e" in key for key in keys(redis, "failing:*")))


async def test_entries_live_as_long_as_they_are_of_use(redis: RedisServer) -> None:
    """Not longer than a day, a tenth less at most; sets and names live as long."""
    async with running(redis.url, prefix="ttl:") as it:
        await it.fill(place(), stored({"cache-control": "max-age=100", "cache-tag": "t"}))
        await it.fill(place("/long"), fresh())
        await it.fetch(place())
        lives = sorted(int(redis.command("PTTL", key.decode())[1:]) for key in keys(redis, "ttl:*") if b"}e" in key)
        others = [int(redis.command("PTTL", key.decode())[1:]) for key in keys(redis, "ttl:*") if b"{log}" not in key]

    assert 89_000 < lives[0] <= 100_000
    assert 77_000_000 < lives[1] <= 86_400_000
    assert min(others) > 80_000


async def test_a_flushed_script_is_sent_again(redis: RedisServer) -> None:
    """NOSCRIPT costs one more round trip and nobody notices."""
    async with running(redis.url) as it:
        await it.fill(place())
        redis.command("SCRIPT", "FLUSH")

        assert (await it.fetch(place())).entry is not None


async def test_many_at_once_are_few_round_trips(redis: RedisServer) -> None:
    """What comes while a call is out goes with the next one."""
    async with running(redis.url) as it:
        answers = [
            it.store.fetch(place(f"/{number}"), lease=False, is_exact=False, after_s=0.0, now=0.0)
            for number in range(300)
        ]
        await eventually(lambda: not any(answer.is_waiting for answer in answers))

        assert it.metric("seconds_count", operation="get") <= 4


async def test_a_stopped_store_answers(redis: RedisServer) -> None:
    """An exchange that still holds a store of a removed policy goes on without it."""
    async with running(redis.url) as it:
        await it.fill(place())

    assert Lease.DOWN is (await it.fetch(place())).lease


def keys(redis: RedisServer, pattern: str) -> list[bytes]:
    answer = redis.command("KEYS", pattern)
    return [line for line in answer.split(b"\r\n") if line.startswith(pattern.rstrip("*").encode())]


async def test_nothing_is_kept_of_names_and_identities(redis: RedisServer) -> None:
    """Keys are hashes: what callers send as URL or identity is not readable in them."""
    async with running(redis.url, prefix="hidden:") as it:
        await it.fill(place("/private?token=1", identity="alice"), fresh(cache_tag="user-alice"))
        await asyncio.sleep(0)

    assert not any(b"alice" in key or b"token" in key for key in keys(redis, "hidden:*"))
    assert PATIENT.longest_s == 86_400
