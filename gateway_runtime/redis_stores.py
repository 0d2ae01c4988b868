"""The Redis stores of the policies in force, one for each Redis that is named; opened and closed as policies change."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Generic, Never, Protocol, TypeVar

from policy.stores import RedisAddress


class RunningStore(Protocol):
    """One Redis, for whatever is kept there."""

    async def run(self) -> Never:
        """Hold its connections until cancelled."""
        ...


S = TypeVar("S", bound=RunningStore)


class OpenStores(Generic[S]):
    """Stores by address. What a policy names is open before a request can be judged or answered by it."""

    def __init__(self, open_store: Callable[[RedisAddress], S]) -> None:
        self._open_store = open_store
        self._stores: Mapping[RedisAddress, S] = {}
        self._changed = asyncio.Event()

    def get(self, address: RedisAddress) -> S | None:
        return self._stores.get(address)

    @property
    def all(self) -> Collection[S]:
        return self._stores.values()

    def want(self, addresses: Collection[RedisAddress]) -> None:
        """These and no others; an unchanged one keeps its connections."""
        if set(addresses) == self._stores.keys():
            return
        self._stores = {address: self._stores.get(address) or self._open_store(address) for address in addresses}
        self._changed.set()

    async def run(self) -> Never:
        """Run every store that is wanted, until cancelled."""
        running: dict[S, asyncio.Task[Never]] = {}
        async with asyncio.TaskGroup() as tasks:
            while True:
                wanted = set(self._stores.values())
                for store in running.keys() - wanted:
                    running.pop(store).cancel()
                for store in wanted - running.keys():
                    running[store] = tasks.create_task(store.run(), name="redis store")
                await self._changed.wait()
                self._changed.clear()
