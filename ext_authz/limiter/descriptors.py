"""What another Envoy filter says of a request (envoy.service.ratelimit.v3) as charges of the same limits and buckets.

A descriptor names one limit by its entry `limit`; its other entries are the parts of that limit's key, named as in
gateway.yaml. A part that is not there is replaced by `client_ip`, as for ext_authz.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from ext_authz.limiter.charges import Charge
from ext_authz.limiter.keys import bounded, client_bucket
from policy.quotas import KeyKind, KeyPart, Limit

LIMIT_ENTRY = "limit"
_ADDRESS_ENTRIES = ("client_ip", "remote_address")
"""The second is what Envoy's own action of that name writes."""


class Descriptor(NamedTuple):
    entries: Mapping[str, str]
    hits: int
    """How many requests it stands for; 0 asks for nothing."""


class UnknownLimitError(Exception):
    """A descriptor that names no limit of the gateway: a fault of the caller's configuration, and no answer to it."""


def charges(descriptors: Iterable[Descriptor], limits: Mapping[str, Limit]) -> list[Charge | None]:
    """The charge of each descriptor; None for one that asks for nothing, or for the same bucket as one before.

    Raises:
        UnknownLimitError: one of them names no limit, or one that there is not.
    """
    found: list[Charge | None] = []
    seen: set[tuple[str, str]] = set()
    for entries, hits in descriptors:
        name = entries.get(LIMIT_ENTRY)
        limit = None if name is None else limits.get(name)
        if limit is None:
            raise UnknownLimitError(f"no rate limit {name!r}" if name else f"a descriptor without {LIMIT_ENTRY!r}")
        charge = _charge(limit, entries, hits)
        bucket = (limit.name, charge.key)
        found.append(charge if hits and bucket not in seen else None)
        seen.add(bucket)
    return found


def _charge(limit: Limit, entries: Mapping[str, str], hits: int) -> Charge:
    asked = limit if hits <= 1 else replace(limit, cost=limit.cost * hits)
    values = [_value(part, entries) for part in limit.key]
    key = bounded(values[0] if len(values) == 1 else "".join(f"{len(text)}:{text}" for text in values))
    chosen = entries.get(f"attribute:{limit.attribute}") if limit.attribute else None
    if chosen is not None and chosen in limit.by_value:
        return Charge(asked, limit.by_value[chosen], f"{key}\0{chosen}")
    return Charge(asked, limit.quota, key)


def _value(part: KeyPart, entries: Mapping[str, str]) -> str:
    match part.kind:
        case KeyKind.USER:
            method, _, subject = entries.get("user", "").partition(":")
            text = f"u{method}\0{subject}" if subject else None
        case KeyKind.API_KEY:
            text = _prefixed("k", entries.get("api_key"))
        case KeyKind.ROUTE:
            text = _prefixed("r", entries.get("route"))
        case KeyKind.HEADER:
            text = _prefixed("h", entries.get(f"header:{part.name}"))
        case KeyKind.CLAIM | KeyKind.ATTRIBUTE:
            text = _prefixed("c", entries.get(f"{part.kind.value}:{part.name}"))
        case KeyKind.CLIENT_IP:
            text = None
    if text is not None:
        return text
    return client_bucket(next((entries[name] for name in _ADDRESS_ENTRIES if name in entries), ""))


def _prefixed(kind: str, value: str | None) -> str | None:
    return None if value is None else kind + value
