"""Follows the two logs of a shared store (`redis_log.py`): what was purged, and what memories have to drop."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, Never, Protocol

from ext_proc.cache.bans import START, Position
from ext_proc.redis_calls import Calls
from ext_proc.redis_keys import Keys
from ext_proc.redis_log import MOST_BANS, MOST_CHANGES, Logged, Reader, ban_of, identifier, logged
from ext_proc.redis_purges import HeldPurges
from ext_proc.redis_queue import Queue, Tuning
from ext_proc.redis_scripts import LONGEST_FILL_MS
from ext_proc.store_metrics import StoreMetrics
from gateway_runtime.redis_client import StoreError, raise_if_cancelled
from gateway_runtime.telemetry import logger
from policy.purge import Purge

_BANS_AT_ONCE = 256


class Memory(Protocol):
    """The tier in front (`ext_proc.cache.cache.Cache`)."""

    def forget(self, uri: str) -> None: ...
    def forget_replaced(self, uri: str) -> None: ...
    def forget_purged(self, what: Purge) -> int: ...
    def forget_all(self) -> None: ...


class Follower:
    """One process's reading of both logs."""

    def __init__(
        self,
        calls: Calls,
        keys: Keys,
        purges: HeldPurges,
        memory: Memory,
        *,
        origin: str,
        tuning: Tuning,
        unix_s: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            origin: of this process: what it has dropped itself it does not drop again.
        """
        self._calls = calls
        self._purges = purges
        self._memory = memory
        self._origin = origin
        self._tuning = tuning
        self._unix_s = unix_s
        self._log = logger("cache")
        self._bans = Reader(keys.bans, MOST_BANS)
        self._changes = Reader(keys.changes, MOST_CHANGES)
        self._followed = ((self._bans, self._apply_ban), (self._changes, self._apply_change))

    @property
    def read_to(self) -> Position:
        """Of the log of purges."""
        return self._bans.position

    async def begin(self) -> None:
        """Read everything up to now.

        Raises:
            StoreError, TimeoutError: Redis does not answer.
        """
        async with asyncio.timeout(self._tuning.probe_timeout_s):
            for reader in (self._bans, self._changes):
                await self._begin(reader)
        is_behind = True
        while is_behind:
            async with asyncio.timeout(self._tuning.probe_timeout_s):
                is_behind = await self._read(block_s=None) > 0
        self._forget_old_bans()

    async def follow(self, queue: Queue, metrics: StoreMetrics) -> Never:
        """Read on while the store is in use; put it out of use when that fails."""
        while True:
            if not queue.is_up:
                await asyncio.sleep(self._tuning.probe_interval_s / 2)
                continue
            try:
                async with asyncio.timeout(self._tuning.log_block_s + self._tuning.probe_timeout_s):
                    await self._read(block_s=self._tuning.log_block_s)
            except (TimeoutError, StoreError) as error:
                raise_if_cancelled()
                metrics.failed("log", str(error) or type(error).__name__)
                queue.away(f"log: {str(error) or type(error).__name__}")

    async def _begin(self, reader: Reader) -> None:
        length = int(await self._calls.ask(reader.key, "XLEN", reader.key))
        first = await self._calls.ask(reader.key, "XRANGE", reader.key, "-", "+", "COUNT", 1)
        last = await self._calls.ask(reader.key, "XREVRANGE", reader.key, "+", "-", "COUNT", 1)
        first_position, last_position = (logged(each)[0].position if each else START for each in (first, last))
        was_begun = reader.is_begun
        if reader.begin(length, first_position, last_position):
            self._log.warning("cache_log_cut", behind=identifier(reader.position))
            self._memory.forget_all()
            if reader is self._bans:
                self._purges.bans.raise_floor(first_position)
        if reader is self._bans:
            self._purges.begin(reader.position)
        elif not was_begun:
            reader.position = last_position  # what others dropped before is not here

    def _forget_old_bans(self) -> None:
        """What they cover has expired."""
        self._purges.bans.forget((int((self._unix_s() - self._tuning.longest_s) * 1000 - LONGEST_FILL_MS), 0))

    async def _read(self, block_s: float | None) -> int:
        """What is new in the logs; how much that was."""
        readers = (self._bans, self._changes)
        command: list[bytes | str | int] = ["XREAD", "COUNT", 1000]
        if block_s is not None:
            command += ["BLOCK", int(block_s * 1000)]
        command += [
            "STREAMS",
            *(reader.key for reader in readers),
            *(identifier(reader.position) for reader in readers),
        ]
        reply = await self._calls.ask(readers[0].key, *command)
        count = 0
        for name, entries in _streams(reply):
            reader, apply = next(each for each in self._followed if each[0].key == name)
            for entry in logged(entries):
                count += 1
                if entry.position > reader.position:  # else an answer that came late
                    reader.position = entry.position
                    apply(entry)
        return count

    def _apply_ban(self, entry: Logged) -> None:
        what = ban_of(entry)
        if what is None:
            return
        if self._purges.read(entry.text(b"n"), what, entry.position):
            self._memory.forget_purged(what)
        if len(self._purges.bans) % _BANS_AT_ONCE == 0:
            self._forget_old_bans()

    def _apply_change(self, entry: Logged) -> None:
        if entry.text(b"o") == self._origin:
            return
        if entry.text(b"k") == "replaced":
            self._memory.forget_replaced(entry.text(b"v"))
        else:
            self._memory.forget(entry.text(b"v"))


def _streams(reply: Any) -> Iterable[tuple[bytes, Any]]:
    if not reply:
        return ()
    return reply.items() if isinstance(reply, dict) else reply
