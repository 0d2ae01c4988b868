"""What policies in force need from elsewhere: key sets, Redis stores, sets of revoked tokens; as policies change."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Sequence
from typing import Never

from ext_authz.jwks import FetchGuards, KeyFetcher
from ext_authz.jwt.sources import sources_of
from ext_authz.limiter.charges import Charge, Verdict
from ext_authz.limiter.memory import MemoryStore
from ext_authz.policies import PolicyStore
from ext_authz.redis_scripts import usable_scripts
from ext_authz.redis_sets import RedisNonces, RedisSets, SharedNonces
from ext_authz.redis_store import RedisStore, Tuning
from ext_authz.revocation_polling import RevocationPolling
from ext_authz.settings import Settings
from gateway_runtime.redis_stores import OpenStores
from policy.authz import Policy
from policy.stores import RedisAddress

EXPIRY_INTERVAL_S = 5.0


class Sources:
    """All of it, for one process; `want` looks which of it is named now, the rest is closed."""

    def __init__(self, policies: PolicyStore, settings: Settings) -> None:
        def open_store(address: RedisAddress) -> RedisStore:
            return RedisStore(
                usable_scripts(address.url),
                prefix=address.prefix,
                name=secrets.token_hex(8),
                share=settings.share,
                tuning=Tuning(timeout_s=settings.store_timeout_s),
            )

        self._policies = policies
        self.keys = KeyFetcher(
            FetchGuards(settings.jwks_allow_http, settings.jwks_allow_private), cooldown_s=settings.jwks_cooldown_s
        )
        self.limiter = MemoryStore(settings.limiter_keys)
        self.stores = OpenStores(open_store)
        self.nonces = SharedNonces(lambda address: RedisNonces(RedisSets(address.url), address.prefix, time.time))
        self.revocation = RevocationPolling(RedisSets)

    def want(self) -> None:
        """To be called when policies have changed."""
        self.stores.want(self._policies.redis_addresses)
        self.nonces.want(self._policies.nonce_stores)
        self.revocation.want(self._policies.revocation_lists)
        self.keys.want(sources_of(self._policies.methods.values()))

    def charge(self, policy: Policy, charges: Sequence[Charge], now_us: int) -> Verdict | Awaitable[Verdict]:
        """Where the policy keeps its buckets: in its Redis, or here."""
        shared = policy.rate_limit_store and self.stores.get(policy.rate_limit_store)
        return (shared or self.limiter).charge(charges, now_us)

    async def run(self) -> Never:
        """Keep what is wanted open and up to date, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.keys.run(), name="jwks")
            tasks.create_task(self.revocation.run(), name="revocation")
            tasks.create_task(self.stores.run(), name="stores")
            while True:
                await asyncio.sleep(EXPIRY_INTERVAL_S)
                self._policies.expire(time.monotonic())
                self.want()
                await self.nonces.close_leaving()
