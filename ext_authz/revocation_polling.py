"""Reads the sets of revoked tokens from Redis, several times a second and never while a request waits."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from ext_authz.jwt.revocation import Revocations
from gateway_runtime.redis_client import StoreError, raise_if_cancelled
from gateway_runtime.telemetry import logger
from policy.stores import RevocationList

INTERVAL_S = 0.4
TIMEOUT_S = 0.4
"""Of one read. With the interval: what is revoked is refused everywhere within a second."""


class SetReader(Protocol):
    """One Redis."""

    async def members(self, key: str) -> bytes:
        """With a NUL between them. Raises StoreError."""

    async def close(self) -> None: ...


class RevocationPolling:
    """One task for each set that a provider in force names."""

    def __init__(
        self,
        open_reader: Callable[[str], SetReader],
        *,
        interval_s: float = INTERVAL_S,
        timeout_s: float = TIMEOUT_S,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            open_reader: from the address of a Redis; connects when it is first used.
        """
        self.revocations = Revocations()
        self._open_reader = open_reader
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._monotonic_s = monotonic_s
        self._wanted: frozenset[RevocationList] = frozenset()
        self._changed = asyncio.Event()
        self._log = logger("revocation")

    def want(self, sources: frozenset[RevocationList]) -> None:
        """Follow exactly these from now on."""
        if sources != self._wanted:
            self._wanted = sources
            self._changed.set()

    def ages_s(self) -> dict[str, float]:
        """Seconds since the last successful read, by key; infinite if there was none."""
        never = {source.key: float("inf") for source in self._wanted}
        return {**never, **self.revocations.ages_s(self._monotonic_s())}

    async def run(self) -> None:
        """Read until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            following: dict[RevocationList, asyncio.Task[None]] = {}
            while True:
                for source in self._wanted - following.keys():
                    following[source] = tasks.create_task(self._follow(source), name=f"revocation {source.key}")
                for source in following.keys() - self._wanted:
                    following.pop(source).cancel()
                    self.revocations.drop(source)
                await self._changed.wait()
                self._changed.clear()

    async def _follow(self, source: RevocationList) -> None:
        reader = self._open_reader(source.store.url)
        failing = False
        last_text, members = b"", frozenset[str]()
        try:
            while True:
                try:
                    async with asyncio.timeout(self._timeout_s):
                        text = await reader.members(source.key)
                except (StoreError, TimeoutError) as error:
                    if not failing:
                        self._log.warning("revocations_not_read", key=source.key, reason=_reason(error))
                    failing = True
                    if self.revocations.give_up_if_stale(source, self._monotonic_s()):
                        self._log.error("revocations_too_old", key=source.key)
                else:
                    if text != last_text:
                        last_text, members = text, _members(text)
                    changed = self.revocations.hold(source, members, self._monotonic_s())
                    if changed or failing:
                        self._log.info("revocations_read", key=source.key, members=len(members))
                    failing = False
                raise_if_cancelled()
                await asyncio.sleep(self._interval_s)
        finally:
            await reader.close()


def _members(text: bytes) -> frozenset[str]:
    return frozenset(text.decode(errors="surrogateescape").split("\0")) if text else frozenset()


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
