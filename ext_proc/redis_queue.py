"""Calls to one Redis, in order and many at a time, and whether it is asked at all.

A call is sent at once when nothing is under way; whatever comes meanwhile goes with the next round trip. After failures
nobody waits any more until somebody opens the queue again.
"""

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Never

from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

from ext_proc.redis_calls import Call, Calls
from ext_proc.store_metrics import StoreMetrics
from gateway_runtime.breaker import Breaker
from gateway_runtime.redis_client import StoreError, raise_if_cancelled
from gateway_runtime.telemetry import logger


@dataclass(frozen=True, slots=True)
class Tuning:
    """What an operator may have reason to change."""

    timeout_s: float = 0.1
    """Of one call of few octets; requests that wait longer go on without Redis."""
    lease_s: float = 2.0
    """When the holder of a lease died, another takes over so much later."""
    longest_s: float = 86_400.0
    """Nothing is kept longer in Redis."""
    jitter: float = 0.1
    """The largest part of its time that an entry loses, so that what was stored together does not expire together."""
    calls_at_once: int = 128
    bytes_at_once: int = 4 << 20
    most_waiting: int = 8192
    probe_interval_s: float = 0.25
    probe_timeout_s: float = 1.0
    log_block_s: float = 1.0


@dataclass(slots=True)
class Job:
    """One call, and what is done with its result."""

    operation: str
    call: Call
    done: Callable[[Any], None]
    """With the result; with an exception if it was not done, or nobody knows."""


class Queue:
    """Closed until `open`, and again when Redis fails."""

    def __init__(self, calls: Calls, metrics: StoreMetrics, tuning: Tuning) -> None:
        self._calls = calls
        self._metrics = metrics
        self._tuning = tuning
        self._log = logger("cache")
        self._breaker = Breaker()
        self._breaker.failed(for_certain=True)
        self._waiting: deque[Job] = deque()
        self._work = asyncio.Event()
        self.trouble = asyncio.Event()
        """Set when it has closed, or when something is to be repeated."""

    @property
    def is_up(self) -> bool:
        return not self._breaker.is_open

    def __len__(self) -> int:
        return len(self._waiting)

    def open(self) -> None:
        self._breaker.close()
        self._metrics.up.set(1)
        self._log.info("cache_store_up")

    def put(self, job: Job) -> None:
        self._waiting.append(job)
        self._work.set()

    async def carry(self) -> Never:
        """Carry calls to Redis until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._waiting:
                await self._send(self._batch())
                raise_if_cancelled()

    def close(self) -> None:
        """Nothing is carried any more."""
        self._breaker.failed(for_certain=True)
        self._fail(self._waiting, StoreError("closed"))

    def _batch(self) -> list[Job]:
        """The next jobs, of at most so many octets; one at least."""
        batch: list[Job] = []
        room = self._tuning.bytes_at_once
        while self._waiting and len(batch) < self._tuning.calls_at_once and (not batch or room > 0):
            batch.append(self._waiting.popleft())
            room -= batch[-1].call.size
        return batch

    async def _send(self, batch: Sequence[Job]) -> None:
        started = time.monotonic()
        octets = sum(job.call.size for job in batch)
        try:
            # Ten megabytes a second are slow for the other side of a data centre.
            async with asyncio.timeout(self._tuning.timeout_s + octets / 10e6):
                results = await self._calls.run([job.call for job in batch])
        except TimeoutError:
            self._failed(batch, StoreError("TimeoutError", is_slow=True))
            return
        except StoreError as error:
            self._failed(batch, error)
            return
        except BaseException:
            self._fail(batch, StoreError("cancelled"))
            raise
        took_s = time.monotonic() - started
        for operation in {job.operation for job in batch}:
            self._metrics.seconds.labels(operation).observe(took_s)
        self._breaker.succeeded()
        for job, result in zip(batch, results, strict=True):
            if isinstance(result, BaseException):
                self._metrics.failed(job.operation, _reason(result))
                if not isinstance(result, ResponseError) or _is_away(result):
                    self.away(_reason(result))
            job.done(result)

    def _failed(self, batch: Sequence[Job], error: StoreError) -> None:
        """Whoever waits is answered now, also those behind: nobody waits for two calls that fail."""
        for operation in {job.operation for job in batch}:
            self._metrics.failed(operation, str(error))
        if error.is_slow:
            if self._breaker.failed(for_certain=False):
                self._left(str(error))
        else:
            self.away(str(error))
        self._fail(batch, error)
        self._fail(self._waiting, error)

    def away(self, reason: str) -> None:
        """It does not answer, or is not the one to talk to."""
        if self._breaker.failed(for_certain=True):
            self._left(reason)

    def _left(self, reason: str) -> None:
        self._log.warning("cache_store_down", reason=reason)
        self._metrics.up.set(0)
        self.trouble.set()

    def _fail(self, jobs: Iterable[Job], error: StoreError) -> None:
        failed = list(jobs)
        if jobs is self._waiting:
            self._waiting.clear()
        for job in failed:
            job.done(error)


_WORDS = re.compile(r"\b(OOM|READONLY|LOADING|MASTERDOWN|CLUSTERDOWN|MISCONF|NOPERM|BUSY)\b")
"""Of errors; inside of a script they stand anywhere in the text."""
_NAMES = {
    OutOfMemoryError: "OOM",
    ReadOnlyError: "READONLY",
    BusyLoadingError: "LOADING",
    MasterDownError: "MASTERDOWN",
    ClusterDownError: "CLUSTERDOWN",
}


def _reason(error: BaseException) -> str:
    """What Redis calls it, or its class; the rest of the text may show keys."""
    word = _WORDS.search(str(error))
    return _NAMES.get(type(error)) or (word[1] if word else type(error).__name__)


def _is_away(error: BaseException) -> bool:
    """It answers, but is not the one to talk to, or not yet."""
    return _reason(error) in ("READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN")
