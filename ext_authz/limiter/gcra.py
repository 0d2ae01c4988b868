"""The generic cell rate algorithm: a bucket is one number, the time at which it will be full again.

A request that costs c moves that "theoretical arrival time" (TAT) c emission intervals on, and is refused if it would
then lie more than a full bucket ahead. In any window of length w at most burst + w / interval requests pass, with no
artefact at the edge of a window.
"""

from ext_authz.limiter.charges import Standing
from policy.quotas import NEVER_US, Limit, Quota


def taken(quota: Quota, cost: int, tat_us: int, now_us: int) -> tuple[int, int]:
    """Try to take `cost` requests from a bucket.

    A TAT that lies further ahead than a full bucket of this quota (the limit was tightened since, or the clock went
    back) counts as one: an edit never locks a caller out for longer than its own refill.

    Args:
        tat_us: as stored; 0 for an unknown bucket.

    Returns:
        The new TAT and 0, or the old one and how long to wait.
    """
    interval_us = quota.interval_us
    if not interval_us:
        return now_us, NEVER_US
    latest_us = now_us + quota.capacity_us
    if tat_us < now_us:
        tat_us = now_us
    elif tat_us > latest_us:
        tat_us = latest_us
    new_us = tat_us + cost * interval_us
    return (tat_us, new_us - latest_us) if new_us > latest_us else (new_us, 0)


def standing(limit: Limit, quota: Quota, tat_us: int, now_us: int, retry_after_us: int = 0) -> Standing:
    """How a bucket stands at its TAT."""
    interval_us = quota.interval_us
    if not interval_us:
        return Standing(limit, quota, 0, NEVER_US, retry_after_us)
    used_us = tat_us - now_us
    if used_us <= 0:
        return Standing(limit, quota, quota.burst, 0, retry_after_us)
    left = (quota.capacity_us - used_us) // interval_us
    return Standing(limit, quota, left, used_us % interval_us or interval_us, retry_after_us)
