"""Charges as the script takes them, and its results as a verdict."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ext_authz.limiter.charges import Charge, Standing, Verdict
from ext_authz.limiter.gcra import standing
from ext_authz.limiter.script import ENTRY, LARGEST_US, RESULT, Flag
from policy.quotas import Limit

Result = tuple[float, float]
"""As `script.RESULT`."""


class Part(NamedTuple):
    """What one slot of the store decides together: a whole request, or those of its limits that live there."""

    keys: tuple[bytes, ...]
    entries: bytes


def bucket_name(prefix: str, limit: str, key: str) -> bytes:
    """The Redis key of a bucket. Buckets of one caller share a hash tag, hence a slot of a cluster."""
    return f"{prefix}{{{key or '-'}}}{limit}".encode(errors="surrogatepass")


def part(prefix: str, charges: Sequence[Charge]) -> Part:
    keys: list[bytes] = []
    entries = b""
    last = len(charges) - 1
    for index, (limit, quota, key) in enumerate(charges):
        flags = Flag.LAST.value if index == last else 0
        if limit.shadow:
            flags |= 2
        keys.append(bucket_name(prefix, limit.name, key))
        amount_us = limit.cost * quota.interval_us
        entries += ENTRY.pack(flags, min(amount_us, LARGEST_US), min(quota.capacity_us, LARGEST_US))
    return Part(tuple(keys), entries)


def single(key: bytes, flag: Flag, amount_us: float, capacity_us: float) -> Part:
    """A debit or a refund."""
    return Part((key,), ENTRY.pack(flag | Flag.LAST, min(amount_us, LARGEST_US), min(capacity_us, LARGEST_US)))


def results(reply: bytes) -> list[Result]:
    return list(RESULT.iter_unpack(reply))


def by_caller(charges: Sequence[Charge]) -> list[list[Charge]]:
    """Charges whose buckets share a slot, in the order in which they came."""
    groups: dict[str, list[Charge]] = {}
    for charge in charges:
        groups.setdefault(charge.key, []).append(charge)
    return list(groups.values())


def verdict(charges: Iterable[Charge], outcomes: Iterable[Result]) -> Verdict:
    """The verdict on one request: the longest wait of those that refuse, else the least that is left."""
    refused: Standing | None = None
    tightest: Standing | None = None
    would_refuse: tuple[Limit, ...] = ()
    for (limit, quota, _), (used, wait) in zip(charges, outcomes, strict=True):
        if limit.shadow:
            would_refuse += (limit,) if wait else ()
            continue
        stands = standing(limit, quota, int(used), 0, int(wait))
        if not wait:
            tightest = stands if tightest is None or stands.remaining < tightest.remaining else tightest
        elif refused is None or stands.retry_after_us > refused.retry_after_us:
            refused = stands
    return Verdict(refused is None, tightest if refused is None else refused, would_refuse)
