"""A RedisCache that runs, with nothing but a record of what its memory was told."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from prometheus_client import CollectorRegistry

from ext_proc.cache.entry import Entry
from ext_proc.cache.shared import Fetched, Place, Shared
from ext_proc.redis_cache import RedisCache
from ext_proc.redis_calls import Argument, Call, Calls, Script, open_calls
from ext_proc.redis_queue import Tuning
from ext_proc.store_metrics import StoreMetrics
from gateway_runtime.redis_client import StoreError
from policy.cache_key import cache_uri, entry_key, primary_key
from policy.purge import Purge
from tests.feature.ext_authz.harness import eventually
from tests.unit.ext_proc.rules import NOW, stored
from tests.unit.ext_proc.shared_fakes import FakeServer, FakeShared

PATIENT = Tuning(timeout_s=5.0, probe_interval_s=0.02, probe_timeout_s=20.0)
"""For tests of what Redis answers, not of when: the machine may be busy."""
QUICK = Tuning(timeout_s=0.3, probe_interval_s=0.02, probe_timeout_s=0.5, lease_s=0.4)


@dataclass
class Told:
    """What a memory in front was told to forget."""

    uris: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    purged: list[Purge] = field(default_factory=list)
    all: int = 0

    def forget(self, uri: str) -> None:
        self.uris.append(uri)

    def forget_replaced(self, uri: str) -> None:
        self.replaced.append(uri)

    def forget_purged(self, what: Purge) -> int:
        self.purged.append(what)
        return 0

    def forget_all(self) -> None:
        self.all += 1


@dataclass
class AnyProcess:
    """One process's view of a store."""

    store: Shared
    memory: Told

    async def settle(self) -> None:
        """What was asked so far is done."""
        await self.fetch(place("/settle"))

    async def fetch(self, place: Place, *, lease: bool = False, is_exact: bool = False) -> Fetched:
        answer = self.store.fetch(place, lease=lease, is_exact=is_exact, after_s=0.0, now=NOW)
        if isinstance(self.store, FakeShared):
            self.store.pump()
        await eventually(lambda: not answer.is_waiting)
        return answer.fetched

    async def fill(self, place: Place, entry: Entry | None = None, *, replaces: bool = False) -> Fetched:
        """What a leader does; its lease."""
        fetched = await self.fetch(place, lease=True)
        self.put(place, fetched, entry, replaces=replaces)
        return fetched

    def put(
        self, place: Place, fetched: Fetched, entry: Entry | None = None, *, uncacheable_s: float = 0.0,
        replaces: bool = False,
    ) -> None:  # fmt: skip
        self.store.put(place, entry or fresh(), fetched, uncacheable_s=uncacheable_s, replaces=replaces, now=NOW)


@dataclass
class Process(AnyProcess):
    """One process's view of the store in Redis."""

    store: RedisCache
    registry: CollectorRegistry

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"gateway_cache_store_{name}", labels) or 0.0


class HeldCalls:
    """`Calls`, some of which wait for the test."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._held: tuple[str, ...] = ()
        self._gate = asyncio.Event()
        self.fails = False
        """Every SCAN does."""

    def hold(self, *commands: str) -> None:
        self._held = commands

    def release(self) -> None:
        self._gate.set()

    async def _pass(self, command: object) -> None:
        if command in self._held:
            await self._gate.wait()

    async def load(self, scripts: Iterable[Script]) -> None:
        await self._calls.load(scripts)

    async def run(self, calls: Sequence[Call]) -> list[Any]:
        return await self._calls.run(calls)

    async def spread(self, script: Script, keys: Sequence[bytes], arguments: Sequence[Argument] = ()) -> list[Any]:
        return await self._calls.spread(script, keys, arguments)

    async def ask(self, key: bytes, *command: Argument) -> Any:
        if command[0] != "XREAD":
            await self._pass(command[0])
        answer = await self._calls.ask(key, *command)
        await self._pass(command[0])  # one that was under way when it was held
        return answer

    async def scan(self, pattern: bytes) -> AsyncIterator[list[bytes]]:
        if self.fails:
            raise StoreError("away")
        await self._pass("SCAN")
        async for keys in self._calls.scan(pattern):
            yield keys

    async def disconnect(self) -> None:
        await self._calls.disconnect()

    async def close(self) -> None:
        await self._calls.close()


class Fleet(Protocol):
    """Processes that share one store."""

    def process(self) -> AbstractAsyncContextManager[AnyProcess]: ...


class FakeFleet:
    def __init__(self) -> None:
        self._server = FakeServer()

    @asynccontextmanager
    async def process(self) -> AsyncIterator[AnyProcess]:
        memory = Told()
        yield AnyProcess(self._server.client(lambda: memory), memory)


@dataclass
class RedisFleet:
    url: str
    prefix: str

    @asynccontextmanager
    async def process(self) -> AsyncIterator[AnyProcess]:
        async with running(self.url, prefix=self.prefix) as process:
            yield process


def fresh(body: bytes = b"body", **headers: str) -> Entry:
    """Fresh for whoever asks, however wrong clocks are."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return stored({"cache-control": "max-age=2000000000", **fields}, body=body)


def place(path: str = "/a", *, selecting: tuple[str, ...] = (), value: str | None = None, identity: str = "") -> Place:
    uri = cache_uri("http", "h", path)
    primary = primary_key("d1/route", uri)
    return Place(uri, primary, entry_key(primary, identity, [(name, value) for name in selecting]), selecting)


@asynccontextmanager
async def running(
    url: str | Calls, *, prefix: str | None = None, tuning: Tuning = PATIENT, wait: bool = True
) -> AsyncIterator[Process]:
    """A store with a prefix of its own, unless it says with whom to share."""
    memory, registry = Told(), CollectorRegistry()
    store = RedisCache(
        open_calls(url) if isinstance(url, str) else url,
        prefix=prefix or f"{os.urandom(6).hex()}:",
        memory=memory,
        metrics=StoreMetrics(registry),
        tuning=tuning,
        unix_s=lambda: NOW,
    )
    task = asyncio.create_task(store.run())
    try:
        if wait:
            await eventually(lambda: store.is_up)
        yield Process(store, memory, registry)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
