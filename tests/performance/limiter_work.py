"""What two limits in Redis cost ext_authz beside two in memory: CPU of its process, and checks a round trip."""

import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from protos.gateway.policy.v1 import authz_pb2
from tests import parts
from tests.feature.ext_authz.harness import control_plane, ext_authz, snapshot
from tests.performance.check_load import answer_to, check_load
from tests.performance.processes import BenchError, cpu_seconds
from tests.redis_servers import redis_running
from tests.unit.ext_authz.fixtures import answer, authz_policy, check_request, rate_limit

CALLERS = 128
POLICY = "authz-bench"
STORES = ("memory", "redis")


@dataclass(frozen=True, slots=True)
class StoreSample:
    """One store in one round, at `CALLERS` concurrent checks of two limits."""

    cpu_us: float
    """Of the ext_authz process, for one check."""
    checks_per_s: float
    checks_per_round_trip: float
    """0 for memory."""


async def measure(*, rounds: int, seconds: float) -> list[dict[str, StoreSample]]:
    """For each round a sample of each store; every other round goes backwards.

    Raises:
        BenchError: a part is missing, or checks failed.
    """
    try:
        binary = parts.redis(os.environ)
    except parts.MissingError as error:
        raise BenchError(str(error)) from error
    with tempfile.TemporaryDirectory() as folder, redis_running(binary, Path(folder)) as redis:
        async with _serving("memory", "") as memory, _serving("redis", redis.url) as shared:
            served = {"memory": memory, "redis": shared}
            for each in served.values():
                await each.sample(min(1.0, seconds))
            return [
                {store: await served[store].sample(seconds) for store in (STORES if turn % 2 == 0 else STORES[::-1])}
                for turn in range(rounds)
            ]


def _policy(redis_secret: str) -> authz_pb2.AuthzPolicy:
    limits = [rate_limit("per-client", 1_000_000, 1), rate_limit("all", 10_000_000, 1, key=[])]
    policy = authz_policy(POLICY, rate_limits=limits)
    if redis_secret:
        policy.rate_limit_store.CopyFrom(authz_pb2.RedisStore(url_secret=redis_secret, prefix="bench:"))
    return policy


class _Served:
    """One ext_authz process."""

    def __init__(self, pid: int, address: str, admin: str) -> None:
        self._pid = pid
        self._address = address
        self._admin = admin

    async def sample(self, seconds: float) -> StoreSample:
        messages = [
            check_request(policy=POLICY, client_ip=f"198.51.100.{number}", raw=True) for number in range(CALLERS)
        ]
        before = await self._counts()
        load = await check_load(self._address, messages, seconds=seconds, calls=CALLERS)
        after = await self._counts()
        cpu_s, calls, checks = (end - begin for begin, end in zip(before, after, strict=True))
        return StoreSample(
            cpu_us=cpu_s / load.checks * 1e6,
            checks_per_s=load.checks / load.seconds,
            checks_per_round_trip=checks / calls if calls else 0.0,
        )

    async def _counts(self) -> Sequence[float]:
        async with aiohttp.ClientSession() as client:
            text = await (await client.get(f"http://{self._admin}/metrics")).text()
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        found = {name: float(value) for name, _, value in lines}
        names = ("calls_total", "checks_total")
        return (cpu_seconds(self._pid), *(found.get(f"gateway_authz_limiter_store_{name}", 0.0) for name in names))


@asynccontextmanager
async def _serving(store: str, url: str) -> AsyncIterator[_Served]:
    async with control_plane() as plane:
        plane.publish(snapshot(_policy("redis-url" if url else ""), secrets={"redis-url": url.encode()}))
        async with ext_authz(plane.address) as process:
            ready = await process.line("ready")
            address, admin = str(ready["address"]), str(ready["admin"])
            told = answer(await answer_to(address, check_request(policy=POLICY)))
            if told.status != 200 or "ratelimit" not in told.headers:
                raise BenchError(f"the limits in {store} do not work: {told}")
            yield _Served(process.process.pid, address, admin)
