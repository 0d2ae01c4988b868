"""Two processes on one Redis admit what one limit allows, in every window; and how many checks a round trip carries."""

import asyncio
import json
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
import uvloop

from ext_authz.redis_store import Tuning
from tests.feature.ext_authz.redis_harness import asked, charge, running
from tests.redis_servers import RedisServer

pytestmark = [pytest.mark.redis, pytest.mark.xdist_group("redis exactness")]

RATE, BURST, LAST_S = 200, 50, 3.0


async def one_process(url: str, rate_per_s: int) -> list[tuple[float, float]]:
    """Send checks evenly for a while, without waiting for answers; when each admitted one was sent and answered.

    Redis has decided it between the two. Both are of a clock that all processes of a machine share.
    """
    admitted: list[tuple[float, float]] = []
    each = charge(RATE, 1, burst=BURST, key="exact")

    async with running(url, prefix="exact:", tuning=Tuning(timeout_s=5.0)) as store, asyncio.TaskGroup() as tasks:

        async def check() -> None:
            sent = time.monotonic()
            if (await asked(store, each)).admitted:
                admitted.append((sent, time.monotonic()))

        begun = time.monotonic()
        number = 0
        while (elapsed := time.monotonic() - begun) < LAST_S:
            while number < elapsed * rate_per_s:
                tasks.create_task(check())
                number += 1
            await asyncio.sleep(0.001)
    assert number > 0.9 * LAST_S * rate_per_s
    assert store.failures == 0
    return admitted


async def test_two_processes_admit_what_the_limit_says(redis: RedisServer) -> None:
    """2,000 requests a second on two replicas: at most burst + rate x window + 1 in every sliding window."""
    command = (sys.executable, "-m", "tests.feature.ext_authz.test_redis_exactness", redis.url)
    processes = [
        await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[3])
        for _ in range(2)
    ]
    outputs = [(await process.communicate())[0] for process in processes]
    admitted = sorted(tuple(each) for output in outputs for each in json.loads(output))

    assert RATE * LAST_S * 0.8 < len(admitted)
    for first, (begin, _) in enumerate(admitted):
        answers = sorted(done for _, done in admitted[first:])
        for count, end in enumerate(answers, 1):
            # So many were both sent and answered, hence decided, in the window from `begin` to `end`.
            assert count <= BURST + RATE * (end - begin) + 1


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


if __name__ == "__main__":
    print(json.dumps(uvloop.run(one_process(sys.argv[1], 1000))))  # noqa: T201 - the parent reads it
