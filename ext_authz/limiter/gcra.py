"""The generic cell rate algorithm: a bucket is one number, the time at which it will be full again.

A request that costs c moves that "theoretical arrival time" (TAT) c emission intervals on, and is refused if it would
then lie more than a full bucket ahead. In any window of length w at most burst + w / interval requests pass, with no
artefact at the edge of a window.
"""

from ext_authz.limiter.charges import Charge, Standing
from policy.quotas import NEVER_US


def taken(charge: Charge, tat_us: int, now_us: int) -> tuple[int, int]:
    """Try one charge on a bucket.

    A TAT that lies further ahead than a full bucket of this quota (the limit was tightened since, or the clock went
    back) counts as one: an edit never locks a caller out for longer than its own refill.

    Args:
        tat_us: as stored; 0 for an unknown bucket.

    Returns:
        The new TAT and 0, or the old one and how long to wait.
    """
    limit, quota, _ = charge
    interval = quota.interval_us
    if not interval:
        return tat_us, NEVER_US
    capacity = interval * quota.burst
    base = min(max(tat_us, now_us), now_us + capacity)
    new = base + limit.cost * interval
    wait = new - capacity - now_us
    return (base, wait) if wait > 0 else (new, 0)


def standing(charge: Charge, tat_us: int, now_us: int, retry_after_us: int = 0) -> Standing:
    """How a bucket stands at its TAT."""
    limit, quota, _ = charge
    interval = quota.interval_us
    if not interval:
        return Standing(limit, quota, 0, NEVER_US, retry_after_us)
    free = interval * quota.burst - max(0, tat_us - now_us)
    remaining = free // interval
    reset = 0 if remaining >= quota.burst else interval - free % interval
    return Standing(limit, quota, remaining, reset, retry_after_us)
