"""Text -> the parts of a JWT in compact form (RFC 7515 section 7.1), before anything in it is believed.

Stricter than the RFCs where they leave room that libraries fill differently: base64url without padding, white space or
stray bits, JSON objects without duplicate names, numbers that are finite, text that is Unicode.
"""

import json
from binascii import a2b_base64
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import orjson

from ext_authz.reasons import CredentialError, Reason

MAX_TOKEN_BYTES = 8 * 1024
"""Longer tokens are refused before anything is decoded."""
MAX_KID_CHARACTERS = 256
_SHORT_HEADER = 512
"""Longer ones are not worth remembering: what a client sends does not decide how much memory it takes."""

_BASE64URL = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_TO_BASE64 = bytes.maketrans(b"-_", b"+/")


class UnverifiedToken(NamedTuple):
    """What a token says of itself."""

    algorithm: str
    kid: str | None
    claims: Mapping[str, object]
    signing_input: bytes
    signature: bytes


def parse_token(octets: bytes) -> UnverifiedToken:
    """Raises CredentialError(MALFORMED_TOKEN) for whatever is not exactly a signed JWT."""
    if len(octets) > MAX_TOKEN_BYTES:
        raise CredentialError(Reason.MALFORMED_TOKEN)
    if octets.translate(None, _BASE64URL) != b"..":
        raise CredentialError(Reason.MALFORMED_TOKEN)
    header, payload, signature = octets.split(b".")
    if not (header and payload and signature):
        raise CredentialError(Reason.MALFORMED_TOKEN)
    algorithm, kid = _known_header(header) if len(header) <= _SHORT_HEADER else _header(header)
    return UnverifiedToken(
        algorithm, kid, _object(_decoded(payload)), octets[: -1 - len(signature)], _decoded(signature)
    )


def _header(segment: bytes) -> tuple[str, str | None]:
    header = _object(_decoded(segment))
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or not _is_understood(header):
        raise CredentialError(Reason.MALFORMED_TOKEN)
    return algorithm, _kid(header)


_known_header = lru_cache(maxsize=256)(_header)
"""All tokens of a key have the same header."""


def _is_understood(header: Mapping[str, object]) -> bool:
    """No extension is (RFC 7515 section 4.1.11), nor a token typed for another use (RFC 8725 section 3.11)."""
    if "crit" in header or header.get("b64", True) is not True:
        return False
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str):
        return False
    kind = kind.lower().removeprefix("application/")
    return kind == "at+jwt" or not kind.endswith("+jwt")


def _kid(header: Mapping[str, object]) -> str | None:
    """Only ever compared with the ids of known keys; jku, x5u, jwk and x5c are not even read."""
    if "kid" not in header:
        return None
    kid = header["kid"]
    if not isinstance(kid, str) or len(kid) > MAX_KID_CHARACTERS or not kid.isprintable():
        raise CredentialError(Reason.MALFORMED_TOKEN)
    return kid


def _decoded(segment: bytes) -> bytes:
    """A segment's bytes; two texts never mean the same bytes (the last character's spare bits have to be 0)."""
    over = len(segment) % 4
    if over and segment[-1:] not in _LAST_CHARACTERS[over]:
        raise CredentialError(Reason.MALFORMED_TOKEN)
    return a2b_base64(segment.translate(_TO_BASE64) + b"==")


_LAST_CHARACTERS = (b"", b"", b"AQgw", b"AEIMQUYcgkosw048")
"""Of a segment that is that much longer than a multiple of four characters (RFC 4648 section 3.5)."""


def _object(text: bytes) -> Mapping[str, object]:
    """orjson refuses what is not Unicode, NaN, infinities and deep nesting; json sees names that come twice.

    What orjson writes exactly as it came has no such name, and json would read it alike: most tokens are compact.
    """
    try:
        value: object = orjson.loads(text)
        if orjson.dumps(value) != text:
            value = _JSON.decode(text.decode())
    except (ValueError, RecursionError):
        raise CredentialError(Reason.MALFORMED_TOKEN) from None
    if not isinstance(value, dict):
        raise CredentialError(Reason.MALFORMED_TOKEN)
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name comes twice")
    return members


_JSON = json.JSONDecoder(object_pairs_hook=_unique)
"""json.loads would make one for each call."""
