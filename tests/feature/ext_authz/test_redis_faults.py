"""A Redis that is slow, gone, back, empty or read-only: bounded, visible, and no surplus when it returns."""

import asyncio
import time
from pathlib import Path

import pytest

from ext_authz.limiter.charges import Charge
from ext_authz.redis_store import RedisStore, Tuning
from tests.feature.ext_authz.harness import eventually
from tests.feature.ext_authz.redis_harness import asked, charge, running
from tests.redis_servers import RedisServer, cluster_running, redis_running

pytestmark = [pytest.mark.redis, pytest.mark.xdist_group("redis faults")]

HOUR = 3600
QUICK = Tuning(timeout_s=0.3, probe_interval_s=0.02, announce_interval_s=0.2)


async def admitted(store: RedisStore, charges: list[Charge], times: int) -> int:
    return sum([(await asked(store, *charges)).admitted for _ in range(times)])


@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_without_redis_each_limit_does_as_it_says(redis_server: str, tmp_path: Path, how: str) -> None:
    """local: a share of the limit; allow: passes; deny: a denial that is no 429. Nobody waits longer than two calls."""
    with redis_running(redis_server, tmp_path) as redis:
        async with running(redis.url, tuning=QUICK, share=2) as store:
            local = charge(10, HOUR)
            allow, deny = (charge(1, HOUR, name=how, on_store_error=how) for how in ("allow", "deny"))
            assert (await asked(store, local)).admitted
            getattr(redis, how)()
            longest_s, verdicts = 0.0, []
            for each in [local] * 7 + [allow] * 2 + [deny]:
                begun_s = time.monotonic()
                verdicts.append(await asked(store, each))
                longest_s = max(longest_s, time.monotonic() - begun_s)

            assert [True] * 5 + [False] * 2 + [True] * 2 + [False] == [verdict.admitted for verdict in verdicts]
            assert (True, None) == (verdicts[-1].unavailable, verdicts[-1].standing)
            assert longest_s < 2.0
            await eventually(lambda: not store.is_up)
            assert {"local": 7, "allow": 2, "deny": 1} == store.fallback.decisions
            if how == "pause":
                redis.resume()


async def test_requests_do_not_wait_while_redis_is_known_to_be_away(redis_server: str, tmp_path: Path) -> None:
    """The breaker is open after two slow calls; from then on a request is decided at once."""
    with redis_running(redis_server, tmp_path) as redis:
        async with running(redis.url, tuning=QUICK) as store:
            await asked(store, charge(10, HOUR))
            redis.pause()
            await asyncio.gather(*(asked(store, charge(10, HOUR, key=f"k{number}")) for number in range(200)))
            await eventually(lambda: not store.is_up)
            begun_s = time.monotonic()
            await admitted(store, [charge(100, HOUR)], 100)

            assert time.monotonic() - begun_s < QUICK.timeout_s
            redis.resume()
            await eventually(lambda: store.is_up)


@pytest.mark.parametrize("how", ["killed", "paused"])
async def test_no_surplus_when_redis_is_back(redis_server: str, tmp_path: Path, how: str) -> None:
    """What was admitted without Redis is taken from its buckets before it is asked again, an empty Redis included."""
    each = charge(10, HOUR)
    with redis_running(redis_server, tmp_path) as redis:
        async with running(redis.url, tuning=QUICK) as store:
            await asked(store, charge(1, HOUR, key="other"))
            if how == "killed":
                redis.kill()
            else:
                redis.pause()
            without = await admitted(store, [each], 15)
            if how == "killed":
                redis.start()
            else:
                redis.resume()
            await eventually(lambda: store.is_up and not store.fallback.debts)

            assert (10, 0) == (without, await admitted(store, [each], 5))
            assert 1 == await admitted(store, [charge(1, HOUR, key="new")], 2)


async def test_two_replicas_share_a_limit_without_redis(redis_server: str, tmp_path: Path) -> None:
    """Each knows of the other from Redis, and takes half; when it is back, both halves are gone."""
    each = charge(10, HOUR)
    with redis_running(redis_server, tmp_path) as redis:
        async with (
            running(redis.url, tuning=QUICK, prefix="shared:") as one,
            running(redis.url, tuning=QUICK, prefix="shared:") as other,
        ):
            await eventually(lambda: (2, 2) == (one.replicas, other.replicas))
            redis.kill()
            without = [await admitted(store, [each], 8) for store in (one, other)]
            redis.start()
            await eventually(lambda: all(store.is_up and not store.fallback.debts for store in (one, other)))

            assert [5, 5] == without
            assert [0, 0] == [await admitted(store, [each], 3) for store in (one, other)]


async def test_a_primary_that_becomes_a_replica(redis_server: str, tmp_path: Path) -> None:
    """READONLY is an outage: the limit holds locally, and Redis decides again when it takes writes."""
    each = charge(4, HOUR)
    with redis_running(redis_server, tmp_path) as redis:
        async with running(redis.url, tuning=QUICK) as store:
            assert 2 == await admitted(store, [each], 2)
            redis.command("REPLICAOF", "127.0.0.1", "1")
            assert 4 == await admitted(store, [each], 6)
            await eventually(lambda: not store.is_up)
            redis.command("REPLICAOF", "NO", "ONE")
            await eventually(lambda: store.is_up)

            assert 0 == await admitted(store, [each], 1)


async def test_a_flushed_script_is_sent_again(redis: RedisServer) -> None:
    """NOSCRIPT costs one more round trip and nobody notices."""
    async with running(redis.url) as store:
        each = charge(3, HOUR)
        before = await admitted(store, [each], 1)
        redis.command("SCRIPT", "FLUSH")

        assert (1, 2, 0) == (before, await admitted(store, [each], 3), store.failures)


async def test_connections_that_redis_closed(redis: RedisServer) -> None:
    """An idle connection that was closed is replaced without a failure."""
    async with running(redis.url) as store:
        await asked(store, charge(9, HOUR))
        redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

        assert (True, 0) == ((await asked(store, charge(9, HOUR))).admitted, store.failures)


async def test_foreign_values_are_overwritten(redis: RedisServer) -> None:
    """A key that holds something else is an unknown bucket, not an error for every request of its batch."""
    async with running(redis.url, prefix="foreign:") as store:
        redis.command("LPUSH", "foreign:{k}limit", "x")
        redis.command("SET", "foreign:{u}limit", "nonsense")

        assert [1, 1] == [await admitted(store, [charge(1, HOUR, key=key)], 2) for key in ("k", "u")]


@pytest.mark.parametrize("offset_s", [-HOUR, HOUR])
async def test_redis_whose_clock_jumps(redis: RedisServer, offset_s: int) -> None:
    """An hour forward fills the bucket, once; an hour back empties it, and locks out no longer than its refill."""
    prefix, each = f"jump{offset_s}:", charge(4, 2)
    async with running(redis.url, prefix=prefix) as store:
        assert 1 == await admitted(store, [each], 1)
        key = f"{prefix}{{k}}limit"
        full_at_us = int(redis.command("GET", key).split(b"\r\n")[1])
        # What Redis has stored looks, after its clock has moved by `offset_s`, as if it had moved the other way.
        redis.command("SET", key, str(full_at_us - offset_s * 1_000_000), "PX", "100000000")
        begun_s = time.monotonic()
        at_once = await admitted(store, [each], 6)
        await eventually_admitted(store, each)

    assert 4 <= at_once <= 5 if offset_s > 0 else at_once <= 1
    assert time.monotonic() - begun_s < 20


async def eventually_admitted(store: RedisStore, each: Charge) -> None:
    async with asyncio.timeout(20):
        while not (await asked(store, each)).admitted:  # noqa: ASYNC110 - the bucket refills with time
            await asyncio.sleep(0.02)


async def test_buckets_expire_when_they_are_full(redis: RedisServer) -> None:
    """What a bucket's key is worth ends with its refill, and so does the key."""
    async with running(redis.url, prefix="expiry:") as store:
        await asked(store, charge(10, 60, burst=5))
        answer = redis.command("PTTL", "expiry:{k}limit")

        assert 5_000 < int(answer[1:]) <= 6_000


async def test_a_stopped_store_answers(redis: RedisServer) -> None:
    """A request that still holds a store of a removed policy is decided without Redis, and never hangs."""
    async with running(redis.url) as store:
        await asked(store, charge(10, HOUR))

    assert (await asked(store, charge(10, HOUR))).admitted


async def test_a_caller_that_leaves_harms_nobody(redis: RedisServer) -> None:
    """A cancelled check is charged or not; the others of its batch get their answers."""
    async with running(redis.url) as store:
        leaving = asyncio.ensure_future(asked(store, charge(10, HOUR)))
        staying = asyncio.ensure_future(asked(store, charge(10, HOUR, key="other")))
        await asyncio.sleep(0)
        leaving.cancel()

        assert (await staying).admitted


@pytest.mark.parametrize("url", ["redis://:wrong@127.0.0.1:{port}", "redis://127.0.0.1:{port}"])
async def test_a_refused_login_is_an_outage(redis_server: str, tmp_path: Path, url: str) -> None:
    """Limits hold locally; with the right password Redis decides."""
    with redis_running(redis_server, tmp_path, "--requirepass", "secret word") as redis:
        async with running(url.format(port=redis.port), tuning=QUICK) as store:
            assert 3 == await admitted(store, [charge(3, HOUR)], 5)
            await eventually(lambda: not store.is_up)
        async with running(f"redis://:secret%20word@127.0.0.1:{redis.port}") as store:
            assert (3, 0) == (await admitted(store, [charge(3, HOUR)], 5), store.failures)


async def test_a_cluster_whose_slots_move(redis_server: str, tmp_path: Path) -> None:
    """MOVED is followed, and the new owner asked from then on."""
    with cluster_running(redis_server, tmp_path) as nodes:
        async with running(f"redis+cluster://127.0.0.1:{nodes[0].port}") as store:
            each = charge(1, HOUR, key="moving")
            slot = nodes[0].command("CLUSTER", "KEYSLOT", "{moving}").strip(b":\r\n").decode()
            await asked(store, charge(1, HOUR, key="other"))
            ids = [node.command("CLUSTER", "MYID").split()[1].decode() for node in nodes]
            owner = min(int(slot) // (16384 // 3), 2)
            for node in nodes:
                node.command("CLUSTER", "SETSLOT", slot, "NODE", ids[(owner + 1) % 3])

            assert (1, 0) == (await admitted(store, [each], 3), store.failures)


async def test_a_cluster_without_one_of_its_nodes(redis_server: str, tmp_path: Path) -> None:
    """Limits hold locally until it is back; callers of the other nodes are answered all along."""
    with cluster_running(redis_server, tmp_path) as nodes:
        async with running(f"redis+cluster://127.0.0.1:{nodes[0].port}", tuning=QUICK) as store:
            charges = [charge(2, HOUR, key=f"k{number}") for number in range(12)]
            assert 12 == sum([await admitted(store, [each], 1) for each in charges])
            nodes[1].pause()
            assert 12 <= sum([await admitted(store, [each], 1) for each in charges])
            nodes[1].resume()
            await eventually(lambda: store.is_up and not store.fallback.debts)

            assert 0 == sum([await admitted(store, [each], 3) for each in charges])
