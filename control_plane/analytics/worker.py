"""Between the receiver and the storage: counts entries, stores them every few seconds.

It also asks Envoys how many they have written, to know what was lost.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from control_plane.analytics.entries import HttpEntry, Key, counted
from control_plane.analytics.losses import Losses
from control_plane.analytics.metrics import Metrics
from control_plane.analytics.report import Report, report
from control_plane.analytics.storage import Storage, StorageError
from control_plane.analytics.tally import Batch, Tally
from control_plane.analytics.windows import Window
from gateway_runtime.telemetry import logger

P = ParamSpec("P")
T = TypeVar("T")
FLUSH_S = 5.0
"""What a process that is killed loses at most."""
_EXPIRE_S = 600.0
_SILENT_ASKS = 5
"""An Envoy that was asked so often in vain is asked again when it sends something; before, it may have been busy."""
_ON_ITS_WAY_S = 0.2
"""How long entries may take that an Envoy has sent before it was asked."""
_FORGET_ENVOYS_S = 86_400.0
AskEnvoy = Callable[[str], Awaitable[int | None]]
"""The counters of the Envoy at a host (see losses); None if it does not answer."""


@dataclass(frozen=True, slots=True)
class Sender:
    """The Envoy at the other end of a stream."""

    node: str
    gateway: str
    host: str


@dataclass(frozen=True, slots=True)
class _Pending:
    """What one flush stores, as of when."""

    batch: Batch
    at_s: float
    lost: int
    accounts: dict[str, str]
    watched: int


class Worker:
    """All of it but the storage runs on the event loop; the storage has a thread of its own."""

    def __init__(
        self,
        storage: Storage,
        executor: Executor,
        metrics: Metrics,
        *,
        max_consumers: int,
        ask_envoy: AskEnvoy | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            executor: of one thread.
            max_consumers: told apart between two flushes.
            ask_envoy: None: losses are not looked for here.
            clock: seconds since 1970.
        """
        self._storage = storage
        self._executor = executor
        self._metrics = metrics
        self._clock = clock
        self._ask_envoy = ask_envoy
        self._tally = Tally(max_consumers)
        self._losses = Losses()
        self._hosts: dict[str, str] = {}
        """Of the Envoys that have sent something and tell their counters, by node."""
        self._silent: Counter[str] = Counter()
        """How often in a row one of them has not told."""
        self._pending: _Pending | None = None
        """What is being stored, or could not be; meanwhile the tally grows, within its bounds."""
        self._flushing = asyncio.Lock()
        self._has_news = asyncio.Event()
        self._is_failing = False
        self._log = logger("analytics")

    def received(self, sender: Sender, entries: Sequence[HttpEntry]) -> None:
        """Count the entries of one message of an Envoy."""
        now_s, gateway = self._clock(), sender.gateway
        for entry in entries:
            self._tally.add(counted(gateway, entry), now_s)
        self._metrics.entries.inc(len(entries))
        self._hosts[sender.node] = sender.host
        if self._losses.arrived(sender.node, len(entries), now_s):
            self._has_news.set()

    async def start(self) -> None:
        """Read what is known of losses. Raises StorageError."""
        self._losses = Losses(await self._in_thread(self._storage.accounts))

    async def run(self) -> None:
        """Store until cancelled; what comes after that is for one more `flush`."""
        expire_at_s = self._clock()
        while True:
            await self._until_due()
            await self.count_losses()
            await self.flush()
            if self._clock() >= expire_at_s and not self._is_failing:
                expire_at_s = self._clock() + _EXPIRE_S
                await self._guarded(self._in_thread(self._storage.expire, self._clock()))

    async def _until_due(self) -> None:
        """The interval; an Envoy that is new is asked at once, so that what it loses from now on is known."""
        self._has_news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                await self._has_news.wait()

    async def flush(self) -> None:
        """Store what has come in; what fails is tried again by the next call.

        Whoever is cancelled while he waits does not cancel the storing: what a thread stores has to be known as stored.
        """
        await asyncio.shield(self._flush())

    async def _flush(self) -> None:
        async with self._flushing:
            if self._pending is None:
                lost = self._losses.newly_lost()
                accounts, watched = self._losses.kept(), self._losses.watched
                self._pending = _Pending(self._tally.drain(), self._clock(), lost, accounts, watched)
            pending = self._pending
            storing = self._in_thread(
                self._storage.add, pending.batch, pending.at_s, lost=pending.lost, accounts=pending.accounts
            )
            if await self._guarded(storing):
                self._metrics.stored.inc(pending.batch.entries)
                self._metrics.lost.inc(pending.lost)
                self._metrics.watched.set(pending.watched)
                self._pending = None

    async def report(self, window: Window, *, gateway: str, top: int) -> Report:
        """Raises StorageError."""
        await self.flush()
        now_s = self._clock()
        found = await self._in_thread(self._storage.find, window, now_s, gateway=gateway, top=top)
        return report(found, window, now_s, gateway=gateway)

    async def series(self, window: Window, *, gateway: str, limit: int) -> list[tuple[Key, int, int]]:
        """Raises StorageError."""
        await self.flush()
        return await self._in_thread(self._storage.series, window, self._clock(), gateway=gateway, limit=limit)

    async def count_losses(self) -> None:
        """Ask every Envoy that has sent something since it was last asked."""
        if self._ask_envoy is None:
            return
        hosts, self._hosts = self._hosts, {}
        counters = await asyncio.gather(*map(self._ask_envoy, hosts.values()))
        await asyncio.sleep(_ON_ITS_WAY_S)
        for (node, host), counter in zip(hosts.items(), counters, strict=True):
            if counter is not None:
                self._losses.counted(node, counter)
                del self._silent[node]
            else:
                self._silent[node] += 1
            if self._silent[node] < _SILENT_ASKS:
                self._hosts.setdefault(node, host)
            else:
                del self._silent[node]
        self._losses.forget(self._clock() - _FORGET_ENVOYS_S)

    async def _guarded(self, storing: Awaitable[object]) -> bool:
        """Whether it worked; one line in the log when it does not any more, and one when it does again."""
        try:
            await storing
        except StorageError as error:
            if not self._is_failing:
                self._log.error("usage_not_stored", reason=str(error), doing="trying again, counting in memory")
            self._is_failing = True
            self._metrics.storage_errors.inc()
            return False
        if self._is_failing:
            self._log.info("usage_stored_again")
        self._is_failing = False
        return True

    async def _in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, lambda: function(*args, **kwargs))
