"""Rate limits in compiled form: GCRA's numbers, in whole microseconds.

An emission interval of whole microseconds is rounded up, so that a limit never admits more than it says; it admits at
most 1 % less up to 10,000 requests a second and bucket.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from policy.errors import PolicyError
from protos.gateway.policy.v1 import authz_pb2

NEVER_US = 86_400_000_000
"""What a caller is told to wait who can never be admitted (0/second): a day."""


class KeyKind(Enum):
    """What a bucket of a limit belongs to."""

    USER = "user"
    API_KEY = "api_key"
    CLIENT_IP = "client_ip"
    ROUTE = "route"
    HEADER = "header"
    CLAIM = "claim"
    ATTRIBUTE = "attribute"


@dataclass(frozen=True, slots=True)
class KeyPart:
    kind: KeyKind
    name: str = ""
    """Of the header (lower case), claim or attribute."""


class Quota(NamedTuple):
    """`burst` requests at once, then one every `interval_us`."""

    interval_us: int
    """0: nothing is ever admitted."""
    burst: int
    capacity_us: int
    """How long an empty bucket takes to refill."""

    def share(self, parts: int, cost: int) -> "Quota":
        """One of so many equal parts; it still holds one request's cost, or nothing would ever pass."""
        if parts <= 1 or not self.interval_us:
            return self
        interval_us, burst = self.interval_us * parts, max(cost, self.burst // parts)
        return Quota(interval_us, burst, interval_us * burst)


@dataclass(frozen=True, slots=True, eq=False)
class Limit:
    """One limit of a policy. Its buckets are told apart by `name` and key alone, so an edit keeps their fill."""

    name: str
    key: tuple[KeyPart, ...]
    cost: int
    shadow: bool
    """Computed and counted, never refuses."""
    on_store_error: str
    """local, allow or deny"""
    quota: Quota
    sole_key: KeyKind | None = None
    """The kind of its key if that has one part and no other rate can hold: what most limits are."""
    attribute: str = ""
    """API key attribute or claim that chooses one of `by_value`."""
    by_value: Mapping[str, Quota] = field(default_factory=dict)


def quota(count: int, period_us: int, burst: int = 0, cost: int = 1, share: int = 1) -> Quota:
    """`count` per period, divided among `share` equal stores; a burst of 0 is the count.

    A share of the burst still holds one request's cost: else a limit that is divided finely would admit nothing.

    Raises:
        PolicyError: the period is not positive, or no bucket ever holds the cost of one request.
    """
    if period_us <= 0:
        raise PolicyError("the period of a rate has to be positive")
    if count == 0:
        return Quota(0, 0, NEVER_US)
    burst = burst or count
    if cost > burst:
        raise PolicyError(f"a cost of {cost} is more than a burst of {burst} ever holds")
    interval_us = -(-period_us * share // count)
    shared_burst = max(cost, burst // share)
    return Quota(interval_us, shared_burst, interval_us * shared_burst)


def limit(message: authz_pb2.RateLimit, share: int = 1) -> Limit:
    """Compile one limit; `share` is the number of stores (worker processes) that divide it among themselves."""
    cost = message.cost or 1

    def quota_of(rate: authz_pb2.Rate) -> Quota:
        period_us = rate.period.seconds * 1_000_000 + rate.period.nanos // 1000
        return quota(rate.count, period_us, message.burst, cost, share)

    try:
        standard = quota_of(message.rate)
        by_value = {value: quota_of(rate) for value, rate in sorted(message.by_value.items())}
        key = tuple(_key_part(part) for part in message.key)
    except PolicyError as error:
        raise PolicyError(f"rate limit {message.name!r}: {error}") from None
    on_store_error = _ON_STORE_ERROR[message.on_store_error]
    return Limit(
        name=message.name,
        key=key,
        cost=cost,
        shadow=message.shadow,
        on_store_error=on_store_error,
        quota=standard,
        sole_key=key[0].kind if len(key) == 1 and not message.by_attribute else None,
        attribute=message.by_attribute,
        by_value=by_value,
    )


_ON_STORE_ERROR = {
    authz_pb2.RateLimit.ON_STORE_ERROR_UNSPECIFIED: "local",
    authz_pb2.RateLimit.LOCAL: "local",
    authz_pb2.RateLimit.ALLOW: "allow",
    authz_pb2.RateLimit.DENY: "deny",
}


def _key_part(message: authz_pb2.LimitKey) -> KeyPart:
    kind = message.WhichOneof("kind")
    match kind:
        case "header":
            return KeyPart(KeyKind.HEADER, message.header.lower())
        case "claim":
            return KeyPart(KeyKind.CLAIM, message.claim)
        case "attribute":
            return KeyPart(KeyKind.ATTRIBUTE, message.attribute)
        case "user" | "api_key" | "client_ip" | "route":
            return KeyPart(KeyKind(kind))
        case _:
            raise PolicyError("a part of a rate limit's key says nothing")
