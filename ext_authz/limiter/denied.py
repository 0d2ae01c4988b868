"""Buckets that refused lately: a flood of refused requests is answered here and never reaches the store."""

from collections.abc import Sequence

from ext_authz.limiter.charges import Charge, Standing, Verdict
from ext_authz.limiter.gcra import standing
from policy.quotas import Quota


class DeniedBuckets:
    """Bounded; an entry is the earliest TAT that the bucket can have.

    A TAT only moves on, so what refuses by that moment refuses in the store too, whatever the request costs. An entry
    made under another quota says nothing: an edited limit is asked anew.
    """

    def __init__(self, capacity: int = 20_000) -> None:
        """
        Args:
            capacity: about 200 bytes each; what is forgotten costs a round trip.
        """
        self._half = max(1, capacity // 2)
        self._young: dict[tuple[str, str], tuple[int, Quota]] = {}
        self._old: dict[tuple[str, str], tuple[int, Quota]] = {}
        self.hits = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def add(self, charge: Charge, used_us: int, asked_us: int) -> None:
        """
        Args:
            used_us: how far ahead the TAT was when the store refused.
            asked_us: before the store was asked, so that the entry never outlives the refusal.
        """
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[charge.limit.name, charge.key] = (asked_us + used_us, charge.quota)

    def verdict(self, charges: Sequence[Charge], now_us: int) -> Verdict | None:
        """A refusal, if one of the limits is known to refuse. Shadow limits of the request are not looked at then."""
        if not self._young and not self._old:
            return None
        refused: Standing | None = None
        for charge in charges:
            if charge.limit.shadow:
                continue
            stands = self._refusal(charge, now_us)
            if stands is not None and (refused is None or stands.retry_after_us > refused.retry_after_us):
                refused = stands
        if refused is None:
            return None
        self.hits += 1
        return Verdict(False, refused)

    def _refusal(self, charge: Charge, now_us: int) -> Standing | None:
        limit, quota, key = charge
        name = (limit.name, key)
        entry = self._young.get(name) or self._old.get(name)
        if entry is None:
            return None
        tat_us, known = entry
        wait_us = tat_us + limit.cost * quota.interval_us - now_us - quota.capacity_us
        if known == quota and wait_us > 0:
            return standing(limit, quota, tat_us, now_us, wait_us)
        if tat_us <= now_us or known != quota:
            self._young.pop(name, None)
            self._old.pop(name, None)
        return None
