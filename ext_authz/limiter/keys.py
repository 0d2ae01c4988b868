"""Whose bucket a request is charged to."""

from functools import lru_cache
from hashlib import blake2b

from ext_authz.identity import Identity
from ext_authz.limiter.charges import Charge
from ext_authz.request import Request
from policy.claims import claim_at, claim_texts, scalar_text
from policy.networks import bucket_text, parse_address
from policy.quotas import KeyKind, KeyPart, Limit

LONGEST_KEY = 64
"""Longer ones are hashed: what a client sends does not decide how much memory its bucket takes."""


def charge(limit: Limit, request: Request, proven: Identity | None) -> Charge:
    """The bucket, and the quota that holds for this caller."""
    if limit.sole_key is KeyKind.CLIENT_IP:
        return _address_charge(limit, request.client_ip)
    if limit.sole_key is KeyKind.USER and proven is not None and proven.limit_user is not None:
        return _user_charge(limit, proven.limit_user)
    if not limit.key and not limit.attribute:
        return _common_charge(limit)
    key = bucket_key(limit.key, request, proven)
    if limit.attribute and proven is not None:
        for value in claim_texts(claim_at(proven.claims, limit.attribute)):
            if value in limit.by_value:
                # A bucket of its own: filled by one rate and read by another, it would mean nothing.
                return Charge(limit, limit.by_value[value], f"{key}\0{value}")
    return Charge(limit, limit.quota, key)


@lru_cache(maxsize=8192)
def _address_charge(limit: Limit, client_ip: str) -> Charge:
    return Charge(limit, limit.quota, client_bucket(client_ip))


@lru_cache(maxsize=8192)
def _user_charge(limit: Limit, user: str) -> Charge:
    return Charge(limit, limit.quota, bounded(user))


@lru_cache(maxsize=1024)
def _common_charge(limit: Limit) -> Charge:
    """One bucket for all."""
    return Charge(limit, limit.quota, "")


def bucket_key(parts: tuple[KeyPart, ...], request: Request, proven: Identity | None) -> str:
    """Distinct for distinct callers: each part begins with its kind, and with its length if there are several."""
    if len(parts) == 1:
        key = _value(parts[0], request, proven) or client_bucket(request.client_ip)
    else:
        texts = [_value(part, request, proven) or client_bucket(request.client_ip) for part in parts]
        key = "".join(f"{len(text)}:{text}" for text in texts)
    return bounded(key)


def bounded(key: str) -> str:
    """As it is, or its digest if it is long."""
    if len(key) > LONGEST_KEY:
        return "#" + blake2b(key.encode(errors="surrogatepass"), digest_size=16).hexdigest()
    return key


def _value(part: KeyPart, request: Request, proven: Identity | None) -> str | None:
    """None if the request does not have this part."""
    kind = part.kind
    if kind is KeyKind.CLIENT_IP:
        return None
    if kind is KeyKind.ROUTE:
        return "r" + request.route
    if kind is KeyKind.HEADER:
        header = request.header(part.name)
        return None if header is None else "h" + header
    if proven is None:
        return None
    if kind is KeyKind.USER:
        return proven.limit_user
    if kind is KeyKind.API_KEY:
        return None if proven.api_key is None else "k" + proven.api_key
    return _claim(proven, part.name)


def _claim(proven: Identity, name: str) -> str | None:
    value = claim_at(proven.claims, name)
    text = scalar_text(value)
    if text is not None:
        return "c" + text
    texts = claim_texts(value)
    return "l" + "".join(f"{len(each)}:{each}" for each in sorted(texts)) if texts else None


@lru_cache(maxsize=8192)
def client_bucket(text: str) -> str:
    """The bucket of a client address; every text that is no address shares one."""
    address = parse_address(text)
    return "i?" if address is None else "i" + bucket_text(address)
