"""What every store of buckets does: the same tests for memory, one Redis and a Redis Cluster."""

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Protocol

import pytest
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from ext_authz.limiter.charges import Charge, Verdict
from ext_authz.limiter.memory import MemoryStore
from ext_authz.redis_store import RedisStore
from tests.feature.ext_authz.redis_harness import asked_at, charge, running
from tests.redis_servers import RedisServer, cluster_running

S = 1_000_000
HOUR = 3600
START_US = 1_000_000_000


class Store(Protocol):
    """A store whose time is the test's."""

    async def charge(self, *charges: Charge) -> Verdict: ...
    async def advance(self, seconds: float) -> None: ...


class InMemory:
    def __init__(self) -> None:
        self._store = MemoryStore(1000)
        self._now_us = START_US

    async def charge(self, *charges: Charge) -> Verdict:
        return self._store.charge(charges, self._now_us)

    async def advance(self, seconds: float) -> None:
        self._now_us += round(seconds * S)


class InRedis:
    """Time passes by moving every bucket back; what really passes meanwhile is milliseconds, and limits are hourly."""

    def __init__(self, store: RedisStore, redis: "Redis | RedisCluster", prefix: str) -> None:
        self._store, self._redis, self._prefix = store, redis, prefix
        self._now_us = START_US

    async def charge(self, *charges: Charge) -> Verdict:
        return await asked_at(self._store, charges, self._now_us)

    async def advance(self, seconds: float) -> None:
        self._now_us += round(seconds * S)
        async for key in self._redis.scan_iter(match=f"{self._prefix}*"):
            if b"{replicas}" not in key:
                tat_us = int(await self._redis.get(key) or 0)
                await self._redis.set(key, tat_us - round(seconds * S), px=100_000_000)


@pytest.fixture(scope="session")
def cluster(redis_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    with cluster_running(redis_server, tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


@pytest.fixture(
    params=[
        "memory",
        pytest.param("redis", marks=pytest.mark.redis),
        pytest.param("cluster", marks=[pytest.mark.redis, pytest.mark.xdist_group("redis cluster")]),
    ]
)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield InMemory()
        return
    prefix = f"{os.urandom(6).hex()}:"
    if request.param == "redis":
        url = request.getfixturevalue("redis").url
        client: Redis | RedisCluster = Redis.from_url(url)
    else:
        port = request.getfixturevalue("cluster")[0].port
        url, client = f"redis+cluster://127.0.0.1:{port}", RedisCluster("127.0.0.1", port)
    async with running(url, prefix=prefix) as redis_store, client:
        yield InRedis(redis_store, client, prefix)


async def admitted(store: Store, charges: Sequence[Charge], times: int) -> list[bool]:
    return [(await store.charge(*charges)).admitted for _ in range(times)]


async def test_burst_then_evenly(store: Store) -> None:
    """A full bucket gives its burst at once, then one request an interval."""
    each = charge(60, HOUR, burst=5)
    assert [True] * 5 + [False] * 2 == await admitted(store, [each], 7)
    await store.advance(60)
    assert [True, False] == await admitted(store, [each], 2)
    await store.advance(55)
    assert [False] == await admitted(store, [each], 1)
    await store.advance(5)
    assert [True, False] == await admitted(store, [each], 2)


async def test_all_or_nothing(store: Store) -> None:
    """A request that one limit refuses costs the others nothing, wherever their buckets are."""
    wide = [charge(10, HOUR, name=f"wide-{number}", key=f"i{number}") for number in range(4)]
    narrow = charge(1, HOUR, name="narrow", key="unarrow")
    assert [True, False, False, False] == await admitted(store, [*wide, narrow], 4)
    remaining = []
    for each in wide:
        verdict = await store.charge(each)
        assert verdict.standing is not None
        remaining.append(verdict.standing.remaining)

    assert [8] * 4 == remaining


async def test_longest_wait_and_least_left_are_told(store: Store) -> None:
    """Of several refusing limits the one to wait longest for is reported; of several passing ones the tightest."""
    short, long, wide = charge(1, 60, name="short"), charge(1, HOUR, name="long"), charge(100, 1, name="wide")
    passed = await store.charge(wide, short, long)
    refused = await store.charge(wide, short, long)

    assert passed.standing is not None
    assert refused.standing is not None
    assert ("short", 0) == (passed.standing.limit.name, passed.standing.remaining)
    assert "long" == refused.standing.limit.name
    assert HOUR - 30 < refused.standing.retry_after_us / S <= HOUR


async def test_standing_counts_down(store: Store) -> None:
    """What is left, and when there is one more."""
    each = charge(60, HOUR, burst=3)
    standings = [(await store.charge(each)).standing for _ in range(3)]

    assert [2, 1, 0] == [each.remaining for each in standings if each is not None]
    assert all(0 < each.reset_us <= 60 * S for each in standings if each is not None)


async def test_shadow(store: Store) -> None:
    """A limit in shadow mode never refuses, is named when it would, and takes nothing from a refused request."""
    shadow, enforced = charge(1, HOUR, name="shadow", shadow=True), charge(2, HOUR, name="enforced")
    verdicts = [await store.charge(shadow, enforced) for _ in range(2)]

    assert [True, True] == [verdict.admitted for verdict in verdicts]
    assert [[], ["shadow"]] == [[each.name for each in verdict.would_refuse] for verdict in verdicts]
    assert not (await store.charge(shadow, enforced)).admitted


async def test_cost(store: Store) -> None:
    """A request of cost 3 takes three; what is left is enough for a cheaper one of another name only."""
    assert [True, True, True, False] == await admitted(store, [charge(10, HOUR, cost=3)], 4)


async def test_zero_denies(store: Store) -> None:
    """0 per second admits nobody, ever, and takes nothing from a limit beside it."""
    nothing, wide = charge(0, 1, name="nothing"), charge(2, HOUR, name="wide")
    refused = await store.charge(nothing, wide)
    assert refused.standing is not None
    assert (False, True) == (refused.admitted, refused.standing.retry_after_us > HOUR * S)
    assert [True, True, False] == await admitted(store, [wide], 3)


async def test_an_edit_keeps_the_fill(store: Store) -> None:
    """After an edit a bucket stays as empty as it was, but never locks out for longer than its own refill."""
    assert [True] * 10 == await admitted(store, [charge(10, HOUR)], 10)
    assert [False] == await admitted(store, [charge(10, HOUR)], 1)
    refused = await store.charge(charge(60, 60))
    assert refused.standing is not None
    assert (False, True) == (refused.admitted, refused.standing.retry_after_us <= 60 * S)
    await store.advance(61)
    assert [True] == await admitted(store, [charge(60, 60)], 1)


async def test_keys_are_apart(store: Store) -> None:
    """Keys with any characters are buckets of their own, also for one limit beside another."""
    keys = ["", "u", "i}x", "i{x}", "u\0a", "h\udcff", "k:é", "#" + "0" * 32, "u" * 64]
    for key in keys:
        assert [True, False] == await admitted(store, [charge(1, HOUR, key=key)], 2), key
    assert [True, False] == await admitted(store, [charge(1, HOUR, key="u", name="other")], 2)
