"""Nonces of signed requests that were seen. What cannot be remembered is refused: replay protection fails closed."""

from enum import Enum
from typing import Protocol

from ext_authz.signatures import NonceUse

MAX_NONCES = 1_000_000
"""About 150 MiB; at the default clock skew of 5 minutes that is 1,600 signed requests a second, all the time."""


class NonceVerdict(Enum):
    FIRST_USE = "first use"
    REPLAY = "replay"
    UNKNOWN = "unknown"
    """Nobody can tell: the request is refused with 503."""


class NonceStore(Protocol):
    """Nonces that all workers and replicas share."""

    async def use(self, nonce: NonceUse) -> NonceVerdict:
        """Remember a nonce until its time; never raises."""


class MemoryNonces:
    """Nonces of one process; bounded, forgets nothing early.

    It cannot know what was seen before it began: a request that was signed before is refused as unknown, or a crash
    would open every recent request to replay.
    """

    def __init__(self, began_s: float, capacity: int = MAX_NONCES) -> None:
        """
        Args:
            began_s: Unix time.
        """
        self._began_s = int(began_s)
        self._capacity = capacity
        self._seen: set[bytes] = set()
        self._by_second: dict[int, list[bytes]] = {}
        self._forgotten_until = 0

    def __len__(self) -> int:
        return len(self._seen)

    def use_at(self, nonce: NonceUse, now_s: float) -> NonceVerdict:
        """Remember a nonce; `now_s` is Unix time."""
        self._forget(int(now_s))
        if nonce.key in self._seen:
            return NonceVerdict.REPLAY
        if (
            nonce.signed_s < self._began_s
            or len(self._seen) >= self._capacity
            or nonce.until_s <= self._forgotten_until
        ):
            return NonceVerdict.UNKNOWN
        self._seen.add(nonce.key)
        self._by_second.setdefault(int(nonce.until_s) + 1, []).append(nonce.key)
        return NonceVerdict.FIRST_USE

    def _forget(self, now_s: int) -> None:
        """A clock that goes back later makes nothing fresh again: what was forgotten stays refused."""
        if now_s <= self._forgotten_until:
            return
        self._forgotten_until = now_s
        for second in [second for second in self._by_second if second <= now_s]:
            self._seen.difference_update(self._by_second.pop(second))
