"""The generic cell rate algorithm: a bucket is one number, the time at which it will be full again.

A request that costs c moves that "theoretical arrival time" (TAT) c emission intervals on, and is refused if it would
then lie more than a full bucket ahead. In any window of length w at most burst + w / interval requests pass, with no
artefact at the edge of a window.
"""

from policy.quotas import NEVER_US, Quota


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


def remaining(quota: Quota, tat_us: int, now_us: int) -> int:
    """Whole requests that are left at this TAT."""
    if not quota.interval_us:
        return 0
    return (quota.capacity_us - max(0, tat_us - now_us)) // quota.interval_us


def reset_us(quota: Quota, tat_us: int, now_us: int) -> int:
    """Until there is one request more; 0 if the bucket is full."""
    if not quota.interval_us:
        return NEVER_US
    return max(0, tat_us - now_us) % quota.interval_us or (quota.interval_us if tat_us > now_us else 0)
