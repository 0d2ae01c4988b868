"""What authentication keeps in Redis: sets of revoked tokens, which others write, and nonces that were used."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Set
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from ext_authz.nonces import NonceVerdict
from ext_authz.signatures import NonceUse
from gateway_runtime.redis_client import AddressError, StoreError, asked, open_client
from gateway_runtime.telemetry import logger
from policy.stores import RedisAddress

NONCE_TIMEOUT_S = 0.05
"""A signed request waits no longer for Redis; then it is refused."""


_MEMBERS = "return table.concat(redis.call('SMEMBERS', KEYS[1]), '\\0')"
"""One text instead of a reply of many: redis-py takes 40 ms for 10,000 members, and mostly nothing has changed."""


class RedisSets:
    """One Redis; connects when it is first used."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Redis | RedisCluster | None = None

    async def members(self, key: str) -> bytes:
        """Of a set, with a NUL between them; one that does not exist is empty. Raises StoreError."""
        text: bytes = await self._asked("EVAL", _MEMBERS, 1, key)
        return text

    async def set_if_absent(self, key: bytes, lifetime_ms: int) -> bool:
        """Whether it was absent. Raises StoreError."""
        return await self._asked("SET", key, b"1", "NX", "PX", lifetime_ms) is not None

    async def _asked(self, *command: str | bytes | int) -> Any:
        if self._client is None:
            try:
                self._client = open_client(self._url)
            except AddressError as error:
                raise StoreError(str(error)) from None
        answer: Awaitable[Any] = self._client.execute_command(*command)
        return await asked(answer)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()


class RedisNonces:
    """Nonces that all replicas share; one whose use is not certain to be the first is unknown."""

    def __init__(self, sets: RedisSets, prefix: str, unix_s: Callable[[], float]) -> None:
        self._sets = sets
        self._prefix = prefix.encode()
        self._unix_s = unix_s
        self._is_up = True
        self._log = logger("nonces")

    async def use(self, nonce: NonceUse) -> NonceVerdict:
        # Twice the clock skew at most; a second more, for clocks of replicas that differ.
        lifetime_ms = max(1, round((nonce.until_s - self._unix_s() + 1) * 1000))
        try:
            async with asyncio.timeout(NONCE_TIMEOUT_S):
                is_first = await self._sets.set_if_absent(self._prefix + nonce.key.hex().encode(), lifetime_ms)
        except (StoreError, TimeoutError) as error:
            self._tell(is_up=False, reason=str(error) or type(error).__name__)
            return NonceVerdict.UNKNOWN
        self._tell(is_up=True)
        return NonceVerdict.FIRST_USE if is_first else NonceVerdict.REPLAY

    async def close(self) -> None:
        await self._sets.close()

    def _tell(self, *, is_up: bool, reason: str = "") -> None:
        """Once a change."""
        if is_up is not self._is_up:
            self._is_up = is_up
            self._log.warning("nonce_store_up" if is_up else "nonce_store_down", reason=reason or None)


class SharedNonces:
    """The nonce stores of the policies in force, by address."""

    def __init__(self, open_nonces: Callable[[RedisAddress], RedisNonces]) -> None:
        self._open_nonces = open_nonces
        self._nonces: Mapping[RedisAddress, RedisNonces] = {}
        self._leaving: list[RedisNonces] = []

    def want(self, addresses: Set[RedisAddress]) -> None:
        """These and no others; an unchanged one keeps its connections."""
        if addresses != self._nonces.keys():
            self._leaving += [nonces for address, nonces in self._nonces.items() if address not in addresses]
            self._nonces = {address: self._nonces.get(address) or self._open_nonces(address) for address in addresses}

    async def use(self, nonce: NonceUse) -> NonceVerdict:
        """A nonce of a store that no policy in force names is unknown."""
        store = None if nonce.store is None else self._nonces.get(nonce.store)
        return NonceVerdict.UNKNOWN if store is None else await store.use(nonce)

    async def close_leaving(self) -> None:
        """Connections of stores that are not wanted any more."""
        while self._leaving:
            await self._leaving.pop().close()

    async def close(self) -> None:
        self.want(frozenset())
        await self.close_leaving()
