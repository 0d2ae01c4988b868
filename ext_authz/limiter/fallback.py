"""What holds while the store is away: each limit as its `on_store_error` says, and a record of what that let pass."""

from collections.abc import Sequence
from typing import NamedTuple

from ext_authz.limiter.charges import Charge, Verdict
from ext_authz.limiter.memory import MemoryStore
from policy.quotas import Quota

_UNAVAILABLE = Verdict(False, None, unavailable=True)
_UNLIMITED = Verdict(True, None)


class Debt(NamedTuple):
    """What a bucket admitted here has to be taken from the store's bucket when that is back."""

    tat_us: int
    """On this replica's clock, at the rate of its share."""
    share: Quota
    quota: Quota

    def owed_us(self, now_us: int) -> float:
        """In the store's terms: what its bucket would still miss."""
        if not self.share.interval_us:
            return 0.0
        return max(0, self.tat_us - now_us) * (self.quota.interval_us / self.share.interval_us)


class Fallback:
    """Decides without the store; pure, bounded."""

    def __init__(self, capacity: int) -> None:
        """
        Args:
            capacity: buckets; and as many debts, beyond which those of new buckets are not kept.
        """
        self._memory = MemoryStore(capacity)
        self._capacity = capacity
        self._debts: dict[tuple[str, str], Debt] = {}
        self.decisions: dict[str, int] = {"local": 0, "allow": 0, "deny": 0}
        """How many requests were decided by what."""

    @property
    def debts(self) -> int:
        return len(self._debts)

    def charge(self, charges: Sequence[Charge], now_us: int, replicas: int) -> Verdict:
        """
        Args:
            replicas: how many divide each limit among themselves.
        """
        if any(charge.limit.on_store_error == "deny" and not charge.limit.shadow for charge in charges):
            self.decisions["deny"] += 1
            return _UNAVAILABLE
        local = [charge for charge in charges if charge.limit.on_store_error == "local"]
        if not local:
            self.decisions["allow"] += 1
            return _UNLIMITED
        self.decisions["local"] += 1
        shares = [charge._replace(quota=charge.quota.share(replicas, charge.limit.cost)) for charge in local]
        verdict = self._memory.charge(shares, now_us)
        if verdict.admitted:
            for charge, share in zip(local, shares, strict=True):
                if charge.limit not in verdict.would_refuse:
                    self._owe(charge, share.quota, now_us)
        return verdict

    def _owe(self, charge: Charge, share: Quota, now_us: int) -> None:
        name = (charge.limit.name, charge.key)
        known = self._debts.get(name)
        if known is None and len(self._debts) >= self._capacity:
            return
        tat_us = now_us if known is None else max(known.tat_us, now_us)
        self._debts[name] = Debt(tat_us + charge.limit.cost * share.interval_us, share, charge.quota)

    def take_debts(self, most: int, now_us: int) -> dict[tuple[str, str], Debt]:
        """Some debts, by limit and key, which are then the caller's; paid-off ones are dropped on the way."""
        taken: dict[tuple[str, str], Debt] = {}
        while self._debts and len(taken) < most:
            name, debt = self._debts.popitem()
            if debt.tat_us > now_us:
                taken[name] = debt
        return taken

    def put_back(self, debts: dict[tuple[str, str], Debt], now_us: int) -> None:
        """The store did not take them after all; what was admitted meanwhile is owed on top."""
        for name, debt in debts.items():
            newer = self._debts.get(name)
            more_us = 0 if newer is None else max(0, newer.tat_us - now_us)
            self._debts[name] = debt._replace(tat_us=debt.tat_us + more_us)
