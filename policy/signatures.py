"""What a client signs: one request, in one canonical form, with HMAC-SHA256.

The canonical form is a list of byte strings, each written as a netstring (`5:hello,`): its length in decimal, a colon,
the bytes, a comma. No value can run into the next one, whatever it holds. In this order:

 1. `gateway-hmac-sha256-1`
 2. client id, 3. timestamp, 4. nonce: the values of the headers below
 5. method, as sent
 6. host, as in the Host header: lower case, with the port if it stands there
 7. path, as sent, without the query
 8. query, without `?`: its parts (between `&`) ordered by name, parts of one name in the order in which they were sent;
    nothing is decoded
 9. SHA-256 of the body, 64 lower-case hex digits (of nothing, if there is no body)
10. for each of the method's `signed_headers` that the request has, by name: the name in lower case, then the value
    without white space around it

Users have this text in docs/operations/authentication.md, a signer in docs/operations/sign_request.py, and test vectors
in docs/operations/signature-vectors.json.
"""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

VERSION = b"gateway-hmac-sha256-1"
SIGNATURE_HEADER = "x-signature"
CLIENT_HEADER = "x-signature-client"
TIMESTAMP_HEADER = "x-signature-timestamp"
"""Whole seconds since 1970 in UTC."""
NONCE_HEADER = "x-signature-nonce"
"""16 to 128 letters, digits, `-` and `_`; never used again by that client."""
HEADERS = (SIGNATURE_HEADER, CLIENT_HEADER, TIMESTAMP_HEADER, NONCE_HEADER)


@dataclass(frozen=True, slots=True)
class Stamp:
    """Who signs, when, and the number that makes it once."""

    client: str
    timestamp: str
    nonce: str


@dataclass(frozen=True, slots=True)
class SignedContent:
    """The parts of a request that a signature covers."""

    method: str
    host: str
    path: str
    """With the query, as sent."""
    body: bytes
    headers: tuple[tuple[str, bytes], ...] = ()
    """Of the signed headers those that are there; names in lower case."""


def canonical_form(stamp: Stamp, content: SignedContent) -> bytes:
    """The bytes that are signed."""
    path, _, query = content.path.partition("?")
    texts = (stamp.client, stamp.timestamp, stamp.nonce, content.method, content.host.lower(), path, _ordered(query))
    parts = [VERSION, *(text.encode() for text in texts), sha256(content.body).hexdigest().encode()]
    for name, value in sorted(content.headers):
        parts += [name.encode(), value.strip(b" \t")]
    return _netstrings(parts)


def signature(secret: bytes, canonical: bytes) -> str:
    """64 lower-case hex digits; goes into `x-signature`."""
    return hmac.digest(secret, canonical, "sha256").hex()


def signature_headers(secret: bytes, stamp: Stamp, content: SignedContent) -> dict[str, str]:
    """The headers that a client adds to its request."""
    return {
        CLIENT_HEADER: stamp.client,
        TIMESTAMP_HEADER: stamp.timestamp,
        NONCE_HEADER: stamp.nonce,
        SIGNATURE_HEADER: signature(secret, canonical_form(stamp, content)),
    }


def _ordered(query: str) -> str:
    """By name alone, so that the order of parameters does not matter, but that of one name's values does."""
    return "&".join(sorted(query.split("&"), key=lambda part: part.partition("=")[0]))


def _netstrings(parts: Iterable[bytes]) -> bytes:
    return b"".join(b"%d:%b," % (len(part), part) for part in parts)
