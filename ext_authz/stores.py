"""The stores of the policies in force, one for each Redis that is named; opened and closed as policies change."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Never

from ext_authz.redis_store import RedisStore
from gateway_runtime.telemetry import logger
from policy.stores import RedisAddress


class SharedStores:
    """Redis stores by address. What a policy names is open before a request can be judged by it."""

    def __init__(self, open_store: Callable[[RedisAddress], RedisStore]) -> None:
        self._open_store = open_store
        self._stores: Mapping[RedisAddress, RedisStore] = {}
        self._changed = asyncio.Event()
        self._log = logger("limiter")

    def get(self, address: RedisAddress) -> RedisStore | None:
        return self._stores.get(address)

    @property
    def all(self) -> Collection[RedisStore]:
        return self._stores.values()

    def want(self, addresses: Collection[RedisAddress]) -> None:
        """These and no others; an unchanged one keeps its connections."""
        if addresses == self._stores.keys():
            return
        self._stores = {address: self._stores.get(address) or self._open_store(address) for address in addresses}
        self._changed.set()

    async def run(self) -> Never:
        """Run every store that is wanted, until cancelled."""
        running: dict[RedisStore, asyncio.Task[Never]] = {}
        async with asyncio.TaskGroup() as tasks:
            while True:
                wanted = set(self._stores.values())
                for store in running.keys() - wanted:
                    running.pop(store).cancel()
                for store in wanted - running.keys():
                    running[store] = tasks.create_task(store.run(), name="redis store")
                await self._changed.wait()
                self._changed.clear()
