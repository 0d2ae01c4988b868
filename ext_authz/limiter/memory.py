"""Buckets in this process's memory: bounded, exact, and never evicted while they matter.

A bucket whose TAT has passed is full, which is what an unknown bucket is, so forgetting it changes nothing; nothing
else is ever forgotten. Buckets are moved through two maps: each new one makes room by looking at a few old ones, so
dead buckets go as fast as new ones come and no sweep ever stops the loop. When the store is full of live buckets, new
callers of a limit share one: a flood of keys cannot push out its sender's own counter, nor anybody else's.
"""

from collections.abc import Sequence

from ext_authz.limiter.charges import Charge, Standing, Verdict
from ext_authz.limiter.gcra import standing, taken
from policy.quotas import Limit

OVERFLOW_KEY = "\0overflow"
_SHARDS = 64
"""Maps of one limit: a map of a million entries takes 30 ms to grow, each of these a few hundred microseconds."""
_LOOKS_PER_NEW_BUCKET = 2
_LOOKS_WHEN_FULL = 16


class _Shard:
    """Some of a limit's buckets: those met in the current round (young) and those still to be looked at (old)."""

    __slots__ = ("old", "young")

    def __init__(self) -> None:
        self.young: dict[str, int] = {}
        self.old: dict[str, int] = {}

    def write(self, key: str, tat_us: int) -> bool:
        """Change a bucket that is held; False if it is not."""
        if key in self.young:
            self.young[key] = tat_us
        elif key in self.old:
            self.old[key] = tat_us
        else:
            return False
        return True

    def forget_full(self, looks: int, now_us: int) -> int:
        """Look at that many buckets and drop those that are full; returns how many were dropped."""
        dropped = 0
        for _ in range(looks):
            if not self.old:
                if not self.young:
                    break
                self.old, self.young = self.young, {}
            key, tat_us = self.old.popitem()
            if tat_us > now_us:
                self.young[key] = tat_us
            else:
                dropped += 1
        return dropped


class _Buckets:
    """All buckets of one limit."""

    __slots__ = ("count", "shards")

    def __init__(self) -> None:
        self.shards = tuple(_Shard() for _ in range(_SHARDS))
        self.count = 0


class MemoryStore:
    """One process's buckets of all limits, by the limit's name; policies come and go, their buckets stay."""

    def __init__(self, capacity: int) -> None:
        """
        Args:
            capacity: live buckets in all. Each limit may have its fair share of half of it even when others have
                filled the rest, so there are at most one and a half times as many.
        """
        self._capacity = capacity
        self._limits: dict[str, _Buckets] = {}
        self._rounds: list[tuple[_Buckets, _Shard]] = []
        self._hand = 0
        self._count = 0
        self.overflows = 0
        """Charges that went to a shared bucket because the store was full."""

    def __len__(self) -> int:
        return self._count

    def buckets_by_limit(self) -> dict[str, int]:
        """How many buckets each limit has."""
        return {name: buckets.count for name, buckets in self._limits.items()}

    def charge(self, charges: Sequence[Charge], now_us: int) -> Verdict:
        """Take the cost of every charge, or of none if a limit that is enforced refuses."""
        if len(charges) == 1:
            verdict = self._quickly(charges[0], now_us)
            if verdict is not None:
                return verdict
        refused: Standing | None = None
        tightest: Standing | None = None
        would_refuse: tuple[Limit, ...] = ()
        writes: list[tuple[_Buckets, _Shard, str, int]] = []
        for limit, quota, wanted in charges:
            buckets, shard, key, stored_us = self._bucket(limit.name, wanted, now_us)
            tat_us, wait_us = taken(quota, limit.cost, stored_us, now_us)
            if wait_us and tat_us < stored_us:
                shard.write(key, tat_us)  # counts as just emptied from now on, not at each look anew
            if not wait_us:
                writes.append((buckets, shard, key, tat_us))
            if limit.shadow:
                would_refuse += (limit,) if wait_us else ()
                continue
            stands = standing(limit, quota, tat_us, now_us, wait_us)
            if not wait_us:
                tightest = stands if tightest is None or stands.remaining < tightest.remaining else tightest
            elif refused is None or wait_us > refused.retry_after_us:
                refused = stands
        if refused is not None:
            return Verdict(False, refused, would_refuse)
        for buckets, shard, key, tat_us in writes:
            if not shard.write(key, tat_us):
                self._insert(buckets, shard, key, tat_us, now_us)
        return Verdict(True, tightest, would_refuse)

    def _quickly(self, charge: Charge, now_us: int) -> Verdict | None:
        """The common case in few steps: one enforced limit, a bucket that is known, a request that passes."""
        limit, quota, key = charge
        buckets = self._limits.get(limit.name)
        if buckets is None or limit.shadow:
            return None
        young = buckets.shards[hash(key) % _SHARDS].young
        stored_us = young.get(key)
        if stored_us is None:
            return None
        tat_us, wait_us = taken(quota, limit.cost, stored_us, now_us)
        if wait_us:
            return None
        young[key] = tat_us
        return Verdict(True, standing(limit, quota, tat_us, now_us))

    def _bucket(self, name: str, key: str, now_us: int) -> tuple[_Buckets, _Shard, str, int]:
        """Where the bucket is (or will be), under which key, and its TAT."""
        buckets = self._limits.get(name) or self._add_limit(name)
        shard = buckets.shards[hash(key) % _SHARDS]
        tat_us = shard.young.get(key) or shard.old.get(key)
        if tat_us is not None:
            return buckets, shard, key, tat_us
        if self._count < self._capacity or buckets.count < self._capacity // (2 * len(self._limits)):
            return buckets, shard, key, 0
        self.overflows += 1
        self._hand = (self._hand + 1) % len(self._rounds)
        self._forget(*self._rounds[self._hand], _LOOKS_WHEN_FULL, now_us)
        shard = buckets.shards[hash(OVERFLOW_KEY) % _SHARDS]
        tat_us = shard.young.get(OVERFLOW_KEY) or shard.old.get(OVERFLOW_KEY) or 0
        return buckets, shard, OVERFLOW_KEY, tat_us

    def _add_limit(self, name: str) -> _Buckets:
        buckets = self._limits[name] = _Buckets()
        self._rounds += [(buckets, shard) for shard in buckets.shards]
        return buckets

    def _insert(self, buckets: _Buckets, shard: _Shard, key: str, tat_us: int, now_us: int) -> None:
        """Hold a new bucket, and make room for the next."""
        shard.young[key] = tat_us
        buckets.count += 1
        self._count += 1
        self._forget(buckets, shard, _LOOKS_PER_NEW_BUCKET, now_us)

    def _forget(self, buckets: _Buckets, shard: _Shard, looks: int, now_us: int) -> None:
        dropped = shard.forget_full(looks, now_us)
        buckets.count -= dropped
        self._count -= dropped
