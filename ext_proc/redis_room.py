"""Frees the room in Redis of what purges have made useless; purges hold without it.

What is looked at is what the purge can mean: the entries of a URI or with a tag, else all. What goes is what reads
would find purged too, and only if it was not replaced meanwhile: what was fetched anew stays. It works beside requests,
for a quarter of the time at most, and once for all the purges that came meanwhile. What it misses (a Redis that is
away, a process that ends) goes when it expires.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Never, TypeVar

from ext_proc.cache.bans import Position
from ext_proc.cache.codec import BEGINNING, GarbageError, Lead, lead
from ext_proc.redis_calls import Call, Calls
from ext_proc.redis_keys import Keys
from ext_proc.redis_scripts import DROP, LEADS, UNTAG
from ext_proc.store_metrics import StoreMetrics
from gateway_runtime.redis_client import StoreError, raise_if_cancelled
from policy.purge import ByPrefix, ByTag, ByUri, Everything, Purge

_AT_ONCE = 200
"""Entries, which hold up Redis for less than a millisecond."""
_STEP_S = 5.0
"""A Redis that takes longer for one step is away."""
_REST = 3
"""How much longer than each step the rest after it is."""
_T = TypeVar("_T")
IsPurged = Callable[[str, tuple[str, ...], Position], bool]
"""By URI, tags, and how far the log was known when the fill began."""


class Room:
    """What is to be freed in one store."""

    def __init__(self, calls: Calls, keys: Keys, is_purged: IsPurged, metrics: StoreMetrics) -> None:
        self._calls = calls
        self._keys = keys
        self._is_purged = is_purged
        self._metrics = metrics
        self._purges: dict[Purge, None] = {}
        self._work = asyncio.Event()

    def free(self, what: Purge) -> None:
        """Soon; the purge has to be in force."""
        self._purges[what] = None
        self._work.set()

    async def run(self) -> Never:
        """Free what there is to free, until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            purges, self._purges = self._purges, {}
            try:
                await self._free(purges)
            except (TimeoutError, StoreError) as error:
                raise_if_cancelled()
                self._metrics.failed("free", str(error) or type(error).__name__)

    async def _free(self, purges: Iterable[Purge]) -> None:
        if any(isinstance(what, ByPrefix | Everything) for what in purges):
            await self._free_all()
            return
        for what in purges:
            if isinstance(what, ByTag):
                await self._free_set(self._keys.of_tag(what.tag), what.tag)
            elif isinstance(what, ByUri):
                await self._free_set(self._keys.of_uri(what.uri)[1])

    async def _free_all(self) -> None:
        pages = self._calls.scan(self._keys.all_entries)
        while (keys := await _in_time(anext(pages, None))) is not None:
            await self._drop(keys)

    async def _free_set(self, key: bytes, tag: str | None = None) -> None:
        cursor: bytes | int = 0
        while True:
            cursor, members = await _in_time(self._calls.ask(key, "SSCAN", key, cursor, "COUNT", _AT_ONCE))
            await self._drop(list(members), tag)
            if int(cursor) == 0:
                return

    async def _drop(self, keys: Sequence[bytes], tag: str | None = None) -> None:
        """Delete those that are purged.

        Args:
            tag: all of them had it when they were stored.
        """
        for first in range(0, len(keys), _AT_ONCE):
            started = time.monotonic()
            await _in_time(self._drop_some(keys[first : first + _AT_ONCE], tag))
            await asyncio.sleep(_REST * (time.monotonic() - started))

    async def _drop_some(self, keys: Sequence[bytes], tag: str | None) -> None:
        leads = await self._calls.spread(LEADS, keys)
        purged: dict[bytes, bytes] = {}
        gone: dict[str, list[bytes]] = defaultdict(list)
        for key, data in zip(keys, leads, strict=True):
            found = _read(data)
            if found is not None and self._is_purged(found.uri, found.tags, found.position):
                purged[key] = data[BEGINNING]
                for each in found.tags:
                    gone[each].append(key)
            elif tag is not None and not data:
                gone[tag].append(key)
        if purged:
            dropped = await self._calls.spread(DROP, list(purged), list(purged.values()))
            self._metrics.freed.inc(sum(dropped))
        if gone:
            # One that is stored again just now is only found later by a purge of its tag: when it is read, or expires.
            await self._calls.run([Call(UNTAG, (self._keys.of_tag(each),), tuple(some)) for each, some in gone.items()])


async def _in_time(step: Awaitable[_T]) -> _T:
    async with asyncio.timeout(_STEP_S):
        return await step


def _read(data: bytes) -> Lead | None:
    try:
        return lead(data)
    except GarbageError:
        return None
