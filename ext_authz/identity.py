"""Who a request was proven to come from, with everything that follows from it already encoded."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ext_authz import wire
from policy.authz import ClaimHeader
from policy.claims import Claims, claim_at, header_text
from policy.jwks import digest

_NO_HEADERS: frozenset[str] = frozenset()
_OPAQUE_FIELD = wire.metadata_field("identity", digest().hex())[: -len(digest().hex())]
"""All digests are of one length: the entry `identity` but for its value."""


class Identity(NamedTuple):
    """One verified credential, or several of one request joined. Never changed, shared by all requests of a token."""

    user: str | None
    """`sub` of a JWT."""
    api_key: str | None
    """Id of an API key, never the key."""
    claims: Claims
    """JWT claims, or attributes of an API key."""
    headers: tuple[tuple[str, bytes], ...]
    """Request headers for the service."""
    limit_user: str | None
    """Key of the bucket for a limit's `user`: method and subject. None if the token names no subject."""
    opaque: str
    """Differs whenever the service could see a different caller; key of caches, shows nothing."""
    header_names: frozenset[str]
    header_fields: bytes
    """`headers` as OkHttpResponse.headers."""
    metadata_fields: bytes
    """Entries of the dynamic metadata."""


def identity(
    method: str,
    claims: Claims,
    forward_claims: Iterable[ClaimHeader],
    *,
    user: str | None = None,
    api_key: str | None = None,
    client: str | None = None,
    fallback: bytes = b"",
) -> Identity:
    """
    Args:
        client: that signed the request.
        fallback: tells credentials without a subject apart.

    Raises:
        ValueError: a forwarded claim cannot stand in a header.
        UnicodeEncodeError: (a ValueError) some text is no Unicode.
    """
    headers = []
    for each in forward_claims:
        text = header_text(claim_at(claims, each.claim))
        if text is not None:
            headers.append((each.header, text.encode()))
    subject = user if user is not None else api_key if api_key is not None else client
    parts = [method.encode(), fallback if subject is None else b"s" + subject.encode()]
    for name, value in headers:
        parts += (name.encode(), value)
    return _encoded(
        user=user,
        api_key=api_key,
        claims=claims,
        headers=tuple(headers),
        limit_user=None if subject is None else f"u{method}\0{subject}",
        opaque=digest(*parts).hex(),
    )


def joined(identities: Sequence[Identity]) -> Identity:
    """Several proven credentials as one: the first that says something says it for all."""
    if len(identities) == 1:
        return identities[0]
    claims: dict[str, object] = {}
    headers: dict[str, bytes] = {}
    for each in reversed(identities):
        claims.update(each.claims)
        headers.update(each.headers)
    return _encoded(
        user=_first(each.user for each in identities),
        api_key=_first(each.api_key for each in identities),
        claims=claims,
        headers=tuple(headers.items()),
        limit_user=_first(each.limit_user for each in identities),
        opaque=digest(*(each.opaque.encode() for each in identities)).hex(),
    )


def _first(values: Iterable[str | None]) -> str | None:
    return next((value for value in values if value is not None), None)


def _encoded(
    *,
    user: str | None,
    api_key: str | None,
    claims: Claims,
    headers: tuple[tuple[str, bytes], ...],
    limit_user: str | None,
    opaque: str,
) -> Identity:
    metadata = _OPAQUE_FIELD + opaque.encode()
    if user is not None:
        metadata += wire.metadata_field("user", user)
    if api_key is not None:
        metadata += wire.metadata_field("api_key", api_key)
    names = frozenset([name for name, _ in headers]) if headers else _NO_HEADERS
    fields = wire.request_headers(headers) if headers else b""
    return Identity(user, api_key, claims, headers, limit_user, opaque, names, fields, metadata)
