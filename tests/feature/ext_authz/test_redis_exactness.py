"""Two processes on one Redis admit what one limit allows, in every window; and how many checks a round trip carries."""

import asyncio
import time
from itertools import pairwise

import aiohttp
import grpc
import pytest

from ext_authz.limiter.charges import Charge
from ext_authz.redis_store import Tuning
from protos.gateway.policy.v1 import authz_pb2
from tests.feature.ext_authz.harness import CHECK, Process, control_plane, ext_authz, snapshot
from tests.feature.ext_authz.redis_harness import asked, charge, running
from tests.redis_servers import RedisServer
from tests.unit.ext_authz.fixtures import answer, authz_policy, check_request, rate_limit

pytestmark = [pytest.mark.redis, pytest.mark.xdist_group("redis exactness")]

RATE_PER_S, BURST, SENT_PER_S, LAST_S = 200, 50, 2_000, 2.5
POLICY = "authz-exact"


async def caller(address: str, sent_per_s: int) -> list[tuple[float, float]]:
    """Send checks evenly for a while, without waiting for answers; when each admitted one was sent and answered.

    It was decided between the two.
    """
    message = check_request(policy=POLICY, raw=True)
    admitted: list[tuple[float, float]] = []
    async with grpc.aio.insecure_channel(address) as channel, asyncio.TaskGroup() as tasks:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CHECK)

        async def check() -> None:
            sent_s = time.monotonic()
            told = answer(await call(message, timeout=20, wait_for_ready=True))
            assert told.status in (200, 429)
            if told.status == 200:
                admitted.append((sent_s, time.monotonic()))

        begun_s = time.monotonic()
        for number in range(round(LAST_S * sent_per_s)):
            tasks.create_task(check())
            await asyncio.sleep(max(0.0, begun_s + number / sent_per_s - time.monotonic()))
    return admitted


async def store_counts(process: Process) -> dict[str, float]:
    """Checks that Redis was asked about, and calls that failed."""
    admin = (await process.line("ready"))["admin"]
    async with aiohttp.ClientSession() as client:
        text = await (await client.get(f"http://{admin}/metrics")).text()
    found = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(found[f"gateway_authz_limiter_store_{name}_total"]) for name in ("checks", "failures")}


async def test_two_processes_admit_what_the_limit_says(redis: RedisServer) -> None:
    """2,000 requests a second to two ext_authz: at most burst + rate x window + 1 in every sliding window."""
    policy = authz_policy(POLICY, rate_limits=[rate_limit("exact", RATE_PER_S, 1, burst=BURST, key=[])])
    policy.rate_limit_store.CopyFrom(authz_pb2.RedisStore(url_secret="redis", prefix="exact:"))
    patient = ("--store-timeout", "10")
    async with control_plane() as plane:
        plane.publish(snapshot(policy, secrets={"redis": redis.url.encode()}))
        async with ext_authz(plane.address, *patient) as one, ext_authz(plane.address, *patient) as other:
            addresses = [str((await process.line("ready"))["address"]) for process in (one, other)]
            told = await asyncio.gather(*(caller(address, SENT_PER_S // 2) for address in addresses))
            counts = [await store_counts(process) for process in (one, other)]

    admitted = sorted(each for some in told for each in some)
    assert RATE_PER_S * LAST_S * 0.8 < len(admitted)
    assert all(some for some in told)
    assert [0, 0] == [count["failures"] for count in counts]
    assert len(admitted) <= sum(count["checks"] for count in counts)
    for first, (begin_s, _) in enumerate(admitted):
        answers = sorted(done_s for _, done_s in admitted[first:])
        for count, end_s in enumerate(answers, 1):
            # So many were both sent and answered, hence decided, in the window from `begin_s` to `end_s`.
            assert count <= BURST + RATE_PER_S * (end_s - begin_s) + 1


async def test_batches(redis: RedisServer) -> None:
    """At 128 concurrent callers a round trip carries at least 8 checks of two limits; a lone one is sent at once."""
    async with running(redis.url) as store:

        async def caller(number: int) -> None:
            for _ in range(20):
                await asked(store, charge(10_000, 1, key=f"u{number}"), charge(10_000, 1, key="", name="all"))

        await asked(store, charge(10, 1))
        alone = store.calls
        await asyncio.gather(*(caller(number) for number in range(128)))

        assert 1 == alone
        assert 128 * 20 + 1 == store.checks
        assert store.checks / store.calls >= 8


async def test_answers_of_a_batch_are_told_apart(redis: RedisServer) -> None:
    """Requests of different numbers of limits travel together, and each gets its own verdict."""

    def wanted(number: int) -> list[Charge]:
        charges = [charge(9, 3600, name=f"{number}-{each}", key=f"u{number}") for each in range(number % 4 + 1)]
        return [*charges, charge(0, 1, name=f"{number}-none", key=f"u{number}")] if number % 5 == 0 else charges

    async with running(redis.url, prefix="apart:") as store:
        verdicts = await asyncio.gather(*(asked(store, *wanted(number)) for number in range(60)))

        assert store.checks / store.calls >= 8
    told = [(each.admitted, each.standing.limit.name) for each in verdicts if each.standing is not None]
    assert told == [(False, f"{number}-none") if number % 5 == 0 else (True, f"{number}-0") for number in range(60)]


async def test_known_refusals_need_no_round_trip(redis: RedisServer) -> None:
    """A flood of one refused caller reaches Redis once."""
    async with running(redis.url) as store:
        each = charge(1, 3600)
        verdicts = [await asked(store, each) for _ in range(100)]

        assert [True] + [False] * 99 == [verdict.admitted for verdict in verdicts]
        assert (2, 98) == (store.calls, store.denied.hits)
        waits = [verdict.standing.retry_after_us for verdict in verdicts[1:] if verdict.standing is not None]
        assert all(later <= earlier for earlier, later in pairwise(waits))


async def test_a_call_is_bounded(redis: RedisServer) -> None:
    """However many wait, a call carries no more than so many keys; every caller gets an answer."""
    async with running(redis.url, tuning=Tuning(timeout_s=5.0, keys_per_call=16)) as store:
        charges = [(charge(5, 3600, key=f"u{n}"), charge(5, 3600, key=f"u{n}", name="more")) for n in range(100)]
        verdicts = await asyncio.gather(*(asked(store, *each) for each in charges))

        assert all(verdict.admitted for verdict in verdicts)
        assert 13 == store.calls


async def test_a_full_queue_is_decided_without_redis(redis: RedisServer) -> None:
    """More than may wait is not kept waiting: on_store_error decides about the rest."""
    async with running(redis.url, tuning=Tuning(timeout_s=5.0, most_waiting=10)) as store:
        charges = [charge(5, 3600, key=f"u{n}") for n in range(30)]
        verdicts = await asyncio.gather(*(asked(store, each) for each in charges))

        assert all(verdict.admitted for verdict in verdicts)
        assert (10, 20) == (store.checks, store.fallback.decisions["local"])
