"""The shared stores of the policies in force, one for each Redis that is named; opened and closed with policies."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Never

from ext_proc.redis_cache import RedisCache
from policy.processing import StoreName
from policy.stores import RedisAddress


class RedisStores:
    """`ext_proc.cache.shared.SharedStores`. What a policy names is open before a request can be answered by it."""

    def __init__(self, open_store: Callable[[RedisAddress], RedisCache]) -> None:
        self._open_store = open_store
        self._by_address: Mapping[RedisAddress, RedisCache] = {}
        self._by_name: Mapping[StoreName, RedisCache] = {}
        self._changed = asyncio.Event()

    def get(self, name: StoreName) -> RedisCache | None:
        return self._by_name.get(name)

    def all(self) -> Iterable[RedisCache]:
        return self._by_address.values()

    def want(self, addresses: Mapping[StoreName, RedisAddress]) -> None:
        """These and no others; an unchanged one keeps its connections."""
        wanted: Collection[RedisAddress] = dict.fromkeys(addresses.values())
        if wanted != self._by_address.keys():
            self._by_address = {each: self._by_address.get(each) or self._open_store(each) for each in wanted}
            self._changed.set()
        self._by_name = {name: self._by_address[address] for name, address in addresses.items()}

    async def run(self) -> Never:
        """Run every store that is wanted, until cancelled."""
        running: dict[RedisCache, asyncio.Task[Never]] = {}
        async with asyncio.TaskGroup() as tasks:
            while True:
                wanted = set(self._by_address.values())
                for store in running.keys() - wanted:
                    running.pop(store).cancel()
                for store in wanted - running.keys():
                    running[store] = tasks.create_task(store.run(), name="redis store")
                await self._changed.wait()
                self._changed.clear()
