"""A Redis that is gone, silent, full, read-only, back, or holds what nobody understands: requests go on without it."""

import time
from pathlib import Path

import pytest

from ext_proc.cache.shared import Lease
from ext_proc.redis_calls import usable_calls
from policy.purge import Everything
from tests.feature.ext_authz.harness import eventually
from tests.feature.ext_proc.redis_harness import QUICK, Process, fresh, place, running
from tests.ports import free_port
from tests.redis_servers import RedisServer, redis_running

pytestmark = [pytest.mark.redis, pytest.mark.xdist_group("redis cache faults")]


async def has(it: Process, path: str) -> bool:
    return (await it.fetch(place(path))).entry is not None


@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_nobody_waits_for_a_redis_that_is_away(redis_server: str, tmp_path: Path, how: str) -> None:
    """DOWN within two calls, at once from then on; it is counted, and over without a restart."""
    with redis_running(redis_server, tmp_path) as redis:
        async with running(redis.url, tuning=QUICK) as it:
            await it.fill(place())
            assert await has(it, "/a")
            getattr(redis, how)()
            answers = [it.store.fetch(place(), lease=True, is_exact=False, after_s=0.0, now=0.0) for _ in range(50)]
            await eventually(lambda: not any(answer.is_waiting for answer in answers))
            it.put(place("/b"), answers[0].fetched)
            await eventually(lambda: not it.store.is_up)
            begun_s = time.monotonic()
            late = [await it.fetch(place(), lease=True) for _ in range(100)]
            took_s = time.monotonic() - begun_s

            assert {Lease.DOWN} == {answer.fetched.lease for answer in answers} | {each.lease for each in late}
            assert took_s < QUICK.timeout_s
            assert (0.0, True) == (
                it.metric("up"),
                it.metric("failures_total", operation="get", reason=_REASONS[how]) > 0,
            )
            if how == "kill":
                redis.start()
            else:
                redis.resume()
            await eventually(lambda: it.store.is_up)
            await it.fill(place("/c"))
            assert (1.0, True) == (it.metric("up"), await has(it, "/c"))


_REASONS = {"kill": "ConnectionError", "pause": "TimeoutError"}


async def test_what_was_purged_while_redis_was_away(redis_server: str, tmp_path: Path) -> None:
    """It holds here at once, and in Redis before it is used again."""
    with redis_running(redis_server, tmp_path) as redis:
        async with (
            running(redis.url, prefix="away:", tuning=QUICK) as one,
            running(redis.url, prefix="away:", tuning=QUICK) as other,
        ):
            for path in ("/a", "/b"):
                await one.fill(place(path), fresh(cache_tag="t"))
            await has(one, "/a")
            redis.pause()
            await one.fetch(place(), lease=True)
            await one.fetch(place(), lease=True)
            await eventually(lambda: not one.store.is_up)
            one.store.invalidate(place("/a").uri)
            one.store.purge("purge-1", Everything())
            redis.resume()
            await eventually(lambda: one.store.is_up and other.store.is_up)
            await eventually(lambda: [Everything()] == other.memory.purged)

            assert not await has(one, "/b")
            assert not await has(other, "/b")
            await eventually(lambda: [place("/a").uri] == other.memory.uris)


@pytest.mark.parametrize(
    "octets", ["garbage", "MGC\x01", "MGC\x02" + "0" * 200, "MGC\x01" + "9999999999" + "x" * 200, "\x80\x04\x95."]
)
async def test_garbage_is_as_good_as_absent(redis: RedisServer, octets: str) -> None:
    """Also where it claims to be fresh: the asker gets the lease; it is counted and replaced."""
    async with running(redis.url) as it:
        key = it.store._keys.of_place(place())[1].decode()
        redis.command("SET", key, octets)
        told = await it.fetch(place(), lease=True)
        it.put(place(), told)

        assert (Lease.OWNED, None) == (told.lease, told.entry)
        assert await has(it, "/a")
        assert 1 == it.metric("garbage_total")


async def test_keys_of_another_type(redis: RedisServer) -> None:
    """Somebody's mistake, and no error for ever: they are deleted."""
    async with running(redis.url) as it:
        for key in it.store._keys.of_place(place()):
            redis.command("LPUSH", key.decode(), "x")
        await it.fill(place(), fresh(cache_tag="t"))
        found = await has(it, "/a")
        redis.command("LPUSH", it.store._keys.of_tag("t").decode(), "x")
        it.store.invalidate(place().uri)

        assert found
        assert not await has(it, "/a")


async def test_a_full_redis_still_serves(redis_server: str, tmp_path: Path) -> None:
    """What is there is found; fills are dropped and counted, leases not given, invalidations hold."""
    with redis_running(redis_server, tmp_path, "--maxmemory-policy", "noeviction") as redis:
        async with running(redis.url, tuning=QUICK) as it:
            await it.fill(place("/a"))
            await it.fill(place("/b"))
            assert await has(it, "/b")
            redis.command("CONFIG", "SET", "maxmemory", "1")
            told = await it.fetch(place("/c"), lease=True)
            it.put(place("/c"), told)
            found = await has(it, "/a"), await has(it, "/c")
            it.store.invalidate(place("/b").uri)

            assert (Lease.NONE, (True, False), False, True) == (told.lease, found, await has(it, "/b"), it.store.is_up)
            assert 1 == it.metric("failures_total", operation="put", reason="OOM")
            redis.command("CONFIG", "SET", "maxmemory", "0")
            await it.fill(place("/c"))
            assert await has(it, "/c")


async def test_a_primary_that_becomes_a_replica(redis_server: str, tmp_path: Path) -> None:
    """READONLY is an outage, until it takes writes again."""
    with redis_running(redis_server, tmp_path) as redis:
        async with running(redis.url, tuning=QUICK) as it:
            told = await it.fetch(place(), lease=True)
            redis.command("REPLICAOF", "127.0.0.1", "1")
            it.put(place(), told)
            await eventually(lambda: not it.store.is_up)
            redis.command("REPLICAOF", "NO", "ONE")
            await eventually(lambda: it.store.is_up)


async def test_connections_that_redis_closed(redis: RedisServer) -> None:
    """Idle ones are replaced without a failure."""
    async with running(redis.url) as it:
        await it.fill(place())
        redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await eventually(lambda: it.store.is_up)

        assert await has(it, "/a")


async def test_a_dead_holder_s_lease_expires(redis: RedisServer) -> None:
    """A holder that lives keeps it for as long as it needs; without it another takes over."""
    async with running(redis.url, prefix="dead:", tuning=QUICK) as other:
        async with running(redis.url, prefix="dead:", tuning=QUICK) as holder:
            await holder.fetch(place(), lease=True)
            renewed_s = time.monotonic() + 3 * QUICK.lease_s
            while time.monotonic() < renewed_s:
                assert Lease.HELD is (await other.fetch(place(), lease=True)).lease
        begun_s = time.monotonic()
        while Lease.OWNED is not (await other.fetch(place(), lease=True)).lease:
            assert time.monotonic() - begun_s < 10


async def test_a_redis_that_was_emptied(redis_server: str, tmp_path: Path) -> None:
    """A new log is followed from its beginning."""
    with redis_running(redis_server, tmp_path) as redis:
        async with (
            running(redis.url, prefix="empty:", tuning=QUICK) as one,
            running(redis.url, prefix="empty:", tuning=QUICK) as other,
        ):
            one.store.invalidate(place("/x").uri)
            await eventually(lambda: 1 == len(other.memory.uris))
            redis.kill()
            await eventually(lambda: not one.store.is_up and not other.store.is_up)
            redis.start()
            await eventually(lambda: one.store.is_up and other.store.is_up)
            await one.fill(place())
            one.store.invalidate(place().uri)
            await eventually(lambda: place().uri in other.memory.uris)

            assert not await has(other, "/a")


@pytest.mark.parametrize("url", ["redis://:wrong@127.0.0.1:{port}", "redis://127.0.0.1:{port}"])
async def test_a_refused_login_is_an_outage(redis_server: str, tmp_path: Path, url: str) -> None:
    """Memory only; with the right password it is shared."""
    with redis_running(redis_server, tmp_path, "--requirepass", "secret word") as redis:
        async with running(url.format(port=redis.port), tuning=QUICK, wait=False) as it:
            await eventually(lambda: it.metric("failures_total", operation="probe", reason="AuthenticationError") > 0)
            assert Lease.DOWN is (await it.fetch(place())).lease
        async with running(f"redis://:secret%20word@127.0.0.1:{redis.port}") as it:
            await it.fill(place())
            assert await has(it, "/a")


@pytest.mark.parametrize("url", ["http://localhost", "redis+cluster://", "redis://127.0.0.1:{port}"])
async def test_an_address_where_nothing_is(url: str) -> None:
    """The process runs, without Redis."""
    async with running(usable_calls(url.format(port=free_port())), tuning=QUICK, wait=False) as it:
        it.store.invalidate(place().uri)

        assert Lease.DOWN is (await it.fetch(place(), lease=True)).lease
