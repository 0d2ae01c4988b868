"""A RedisStore that runs, and limits to charge it with."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from ext_authz.limiter.charges import Charge, Verdict
from ext_authz.redis_scripts import Scripts, open_scripts
from ext_authz.redis_store import RedisStore, Tuning
from policy.quotas import limit
from protos.gateway.policy.v1 import authz_pb2
from tests.unit.ext_authz.fixtures import rate_limit

ON_STORE_ERROR = {
    "local": authz_pb2.RateLimit.LOCAL,
    "allow": authz_pb2.RateLimit.ALLOW,
    "deny": authz_pb2.RateLimit.DENY,
}
PATIENT = Tuning(timeout_s=5.0)
"""For tests of what Redis answers, not of when: the machine may be busy."""


def charge(
    count: int, per_s: float, *, burst: int = 0, key: str = "k", name: str = "limit", on_store_error: str = "local",
    cost: int = 1, shadow: bool = False,
) -> Charge:  # fmt: skip
    message = rate_limit(name, count, per_s, burst=burst, cost=cost, shadow=shadow)
    message.on_store_error = ON_STORE_ERROR[on_store_error]
    compiled = limit(message)
    return Charge(compiled, compiled.quota, key)


@asynccontextmanager
async def running(
    url: str | Scripts, *, prefix: str | None = None, tuning: Tuning = PATIENT, share: int = 1
) -> AsyncIterator[RedisStore]:
    """A store with a prefix of its own, unless it says with whom to share."""
    scripts = open_scripts(url) if isinstance(url, str) else url
    name = os.urandom(6).hex()
    store = RedisStore(scripts, prefix=prefix or f"{name}:", name=name, share=share, tuning=tuning)
    task = asyncio.create_task(store.run())
    try:
        yield store
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def asked(store: RedisStore, *charges: Charge) -> Verdict:
    return await asked_at(store, charges, time.monotonic_ns() // 1000)


async def asked_at(store: RedisStore, charges: Sequence[Charge], now_us: int) -> Verdict:
    verdict = store.charge(charges, now_us)
    return verdict if isinstance(verdict, Verdict) else await verdict
