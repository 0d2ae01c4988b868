"""The shared stores of the cache by the names that policies have for them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Never

from ext_proc.redis_cache import RedisCache
from gateway_runtime.redis_stores import OpenStores
from policy.processing import StoreName
from policy.stores import RedisAddress


class RedisStores:
    """`ext_proc.cache.shared.SharedStores`."""

    def __init__(self, open_store: Callable[[RedisAddress], RedisCache]) -> None:
        self._open = OpenStores(open_store)
        self._by_name: Mapping[StoreName, RedisCache | None] = {}

    def get(self, name: StoreName) -> RedisCache | None:
        return self._by_name.get(name)

    def all(self) -> Iterable[RedisCache]:
        return self._open.all

    def want(self, addresses: Mapping[StoreName, RedisAddress]) -> None:
        """These and no others; an unchanged one keeps its connections."""
        self._open.want(dict.fromkeys(addresses.values()))
        self._by_name = {name: self._open.get(address) for name, address in addresses.items()}

    async def run(self) -> Never:
        """Run every store that is wanted, until cancelled."""
        await self._open.run()
