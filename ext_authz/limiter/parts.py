"""Charges as the script takes them, and its results as a verdict."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from ext_authz.limiter.charges import Charge, Verdict
from ext_authz.limiter.gcra import standing
from ext_authz.limiter.script import ENTRY, LARGEST_US, RESULT, Flag
from policy.quotas import Limit, Quota

Result = tuple[float, float]
"""As `script.RESULT`."""


class Part(NamedTuple):
    """What one server of the store is asked: whole requests, or those limits of one that live there."""

    keys: tuple[bytes, ...]
    entries: bytes


@lru_cache(maxsize=8192)
def bucket_name(prefix: str, limit: str, key: str) -> bytes:
    """The Redis key of a bucket. Buckets of one caller share a hash tag, hence a slot of a cluster."""
    return f"{prefix}{{{key or '-'}}}{limit}".encode(errors="surrogatepass")


def part(prefix: str, *requests: Sequence[Charge]) -> Part:
    """What these requests ask, each decided by itself."""
    keys: list[bytes] = []
    entries: list[bytes] = []
    for charges in requests:
        last = len(charges) - 1
        for index, (limit, quota, key) in enumerate(charges):
            keys.append(bucket_name(prefix, limit.name, key))
            entries.append(_entry(limit, quota, index == last))
    return Part(tuple(keys), b"".join(entries))


@lru_cache(maxsize=4096)
def _entry(limit: Limit, quota: Quota, is_last: bool) -> bytes:
    """What a limit asks for does not change from request to request."""
    flags = (Flag.LAST if is_last else 0) | (Flag.SHADOW if limit.shadow else 0)
    amount_us = limit.cost * quota.interval_us
    return ENTRY.pack(flags, min(amount_us, LARGEST_US), min(quota.capacity_us, LARGEST_US))


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
    least, told, longest_wait = float("inf"), None, 0.0
    would_refuse: tuple[Limit, ...] = ()
    for charge, outcome in zip(charges, outcomes, strict=True):
        limit, quota, _ = charge
        used, wait = outcome
        if limit.shadow:
            would_refuse += (limit,) if wait else ()
        elif wait > longest_wait:
            longest_wait, told = wait, (limit, quota, used)
        elif not longest_wait and (left := (quota.capacity_us - used) // (quota.interval_us or 1)) < least:
            least, told = left, (limit, quota, used)
    if told is None:
        return Verdict(True, None, would_refuse)
    limit, quota, used = told
    return Verdict(not longest_wait, standing(limit, quota, int(used), 0, int(longest_wait)), would_refuse)
