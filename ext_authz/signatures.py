"""Signed requests: which client signed this very request, now and for the first time (policy/signatures.py)."""

import hmac
import re
from dataclasses import dataclass
from hashlib import blake2b

from ext_authz.reasons import CredentialError, Reason
from ext_authz.request import Request
from policy.authz import Signatures
from policy.signatures import (
    CLIENT_HEADER,
    HEADERS,
    NONCE_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    SignedContent,
    Stamp,
    canonical_form,
    signature,
)
from policy.stores import RedisAddress

_NONCE = re.compile(r"[A-Za-z0-9_-]{16,128}", re.ASCII)
_TIMESTAMP = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)
_SIGNATURE = re.compile(r"[0-9a-f]{64}", re.ASCII)
_UNKNOWN_CLIENTS_SECRETS = (b"\0" * 32,)


@dataclass(frozen=True, slots=True)
class NonceUse:
    """One use of a nonce; a second one is a replay."""

    key: bytes
    """16 bytes, distinct for each client and nonce, whichever policy judged the request."""
    signed_s: int
    """Unix time at which the client says it signed."""
    until_s: float
    """Unix time from which on the signature is refused for its age alone."""
    method: str
    store: RedisAddress | None
    """Where it is remembered; None: in this process."""


def verified_client(rules: Signatures, request: Request, now_s: float) -> tuple[str, NonceUse] | None:
    """The client that signed, and the nonce that it used; None if the request carries nothing of a signature.

    Raises:
        CredentialError: the signature is incomplete, wrong, too old or too new, or the body did not come as it is.
    """
    texts = {name: request.header(name) for name in HEADERS}
    if all(text is None for text in texts.values()):
        return None
    stamp = Stamp(texts[CLIENT_HEADER] or "", texts[TIMESTAMP_HEADER] or "", texts[NONCE_HEADER] or "")
    sent = texts[SIGNATURE_HEADER] or ""
    if not (_TIMESTAMP.fullmatch(stamp.timestamp) and _NONCE.fullmatch(stamp.nonce) and _SIGNATURE.fullmatch(sent)):
        raise CredentialError(Reason.MALFORMED_SIGNATURE, rules.method)
    signed_s = int(stamp.timestamp)
    if abs(now_s - signed_s) > rules.clock_skew_s:
        raise CredentialError(Reason.SIGNATURE_TIME, rules.method)
    canonical = canonical_form(stamp, _signed_content(rules, request))
    known = rules.secrets.get(stamp.client)
    # An unknown client costs the same work, so that time does not tell which ids there are.
    matches = [hmac.compare_digest(signature(secret, canonical), sent) for secret in known or _UNKNOWN_CLIENTS_SECRETS]
    if known is None or not any(matches):
        raise CredentialError(Reason.REQUEST_SIGNATURE, rules.method)
    return stamp.client, NonceUse(
        _nonce_key(stamp), signed_s, signed_s + rules.clock_skew_s + 1, rules.method, rules.nonce_store
    )


def _signed_content(rules: Signatures, request: Request) -> SignedContent:
    headers: list[tuple[str, bytes]] = []
    for name in rules.signed_headers:
        lines = request.header_lines(name)
        if len(lines) > 1:
            # Readers differ in which line they take.
            raise CredentialError(Reason.AMBIGUOUS_CREDENTIAL, rules.method)
        headers += [(name, line) for line in lines]
    body = request.whole_body()
    if body is None:
        raise CredentialError(Reason.BODY, rules.method)
    return SignedContent(request.method, request.host, request.path, body, tuple(headers))


def _nonce_key(stamp: Stamp) -> bytes:
    client = stamp.client.encode()
    return blake2b(b"%d:%b%b" % (len(client), client, stamp.nonce.encode()), digest_size=16).digest()
