"""What a limit in Redis costs ext_authz: CPU of its process for a Check with two limits, beside the memory store.

`python -m tests.performance.limiter_bench` prints the numbers; `limiter_numbers` is for `make bench`.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import grpc

from protos.gateway.policy.v1 import authz_pb2
from tests import parts
from tests.feature.ext_authz.harness import CHECK, control_plane, ext_authz, snapshot
from tests.redis_servers import redis_running
from tests.unit.ext_authz.fixtures import authz_policy, check_request, rate_limit

CALLERS = 128
CHANNELS = 4
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class StoreNumbers:
    """Of one store, at `CALLERS` concurrent checks of two limits."""

    store: str
    cpu_us: float
    """Of the ext_authz process, for one check."""
    checks_per_s: float
    p50_ms: float
    p99_ms: float
    checks_per_round_trip: float
    """0 for memory."""


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def _policy(name: str, secret: str) -> authz_pb2.AuthzPolicy:
    limits = [
        rate_limit("per-client", 1_000_000, 1),
        rate_limit("all", 10_000_000, 1, key=[]),
    ]
    policy = authz_policy(name, rate_limits=limits)
    if secret:
        policy.rate_limit_store.CopyFrom(authz_pb2.RedisStore(url_secret=secret, prefix="bench:"))
    return policy


async def _load(address: str, policy: str, seconds: float) -> list[float]:
    """Call as fast as answers come; the seconds that each call took."""
    latencies: list[float] = []
    end = time.monotonic() + seconds
    channels = [
        grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(CHANNELS)
    ]

    async def caller(number: int) -> None:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channels[number % CHANNELS].unary_unary(CHECK)
        message = check_request(policy=policy, client_ip=f"198.51.100.{number}")
        while (begun := time.monotonic()) < end:
            await call(message, timeout=10, wait_for_ready=True)
            latencies.append(time.monotonic() - begun)

    async with asyncio.TaskGroup() as tasks:
        for number in range(CALLERS):
            tasks.create_task(caller(number))
    for channel in channels:
        await channel.close()
    return latencies


async def _counter(admin: str, name: str) -> float:
    async with aiohttp.ClientSession() as client:
        text = await (await client.get(f"http://{admin}/metrics")).text()
    return next((float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} ")), 0.0)


async def limiter_numbers(redis_url: str, seconds: float = 5.0) -> Sequence[StoreNumbers]:
    """Memory, then Redis, each in a fresh ext_authz process."""
    numbers = []
    for store, secret in (("memory", ""), ("redis", "redis-url")):
        async with control_plane() as plane:
            plane.publish(snapshot(_policy("authz-bench", secret), secrets={"redis-url": redis_url.encode()}))
            async with ext_authz(plane.address) as process:
                ready = await process.line("ready")
                address, admin = str(ready["address"]), str(ready["admin"])
                await _load(address, "authz-bench", min(1.0, seconds))
                before = [
                    _cpu_s(process.process.pid),
                    await _counter(admin, "gateway_authz_limiter_store_calls_total"),
                    await _counter(admin, "gateway_authz_limiter_store_checks_total"),
                ]
                latencies = sorted(await _load(address, "authz-bench", seconds))
                cpu_s = _cpu_s(process.process.pid) - before[0]
                calls = await _counter(admin, "gateway_authz_limiter_store_calls_total") - before[1]
                checks = await _counter(admin, "gateway_authz_limiter_store_checks_total") - before[2]
        count = len(latencies)
        numbers.append(
            StoreNumbers(
                store=store,
                cpu_us=cpu_s / count * 1e6,
                checks_per_s=count / seconds,
                p50_ms=latencies[count // 2] * 1e3,
                p99_ms=latencies[count * 99 // 100] * 1e3,
                checks_per_round_trip=checks / calls if calls else 0.0,
            )
        )
    return numbers


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, redis_running(parts.redis(os.environ), Path(folder)) as redis:
        numbers = asyncio.run(limiter_numbers(redis.url))
    for each in numbers:
        print(  # noqa: T201
            f"{each.store}: {each.cpu_us:.0f} us of CPU a check, {each.checks_per_s:.0f} checks/s, "
            f"p50 {each.p50_ms:.1f} ms, p99 {each.p99_ms:.1f} ms, {each.checks_per_round_trip:.1f} checks a round trip"
        )
    print(f"ratio of CPU: {numbers[1].cpu_us / numbers[0].cpu_us:.2f}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
