"""JWK Sets (RFC 7517) and shared secrets in the form that verifies signatures: which key may serve which algorithm.

Keys of a set that this gateway cannot use (encryption keys, unknown types, short RSA keys) are passed over, as RFC 7517
section 5 asks; a set in which none is left does not compile.
"""

import hashlib
import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from policy.errors import PolicyError

MAX_BYTES = 512 * 1024
MAX_KEYS = 64
MIN_RSA_BITS = 2048
"""RFC 7518 section 3.3."""
MIN_SECRET_BYTES = 32
"""RFC 7518 section 3.2 for HS256; the contract asks no more of HS384 and HS512."""

RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
HMAC_ALGORITHMS = frozenset({"HS256", "HS384", "HS512"})
_CURVES: Mapping[str, tuple[str, int, ec.EllipticCurve]] = MappingProxyType(
    {
        "P-256": ("ES256", 32, ec.SECP256R1()),
        "P-384": ("ES384", 48, ec.SECP384R1()),
        "P-521": ("ES512", 66, ec.SECP521R1()),
    }
)
ALGORITHMS = RSA_ALGORITHMS | HMAC_ALGORITHMS | {"ES256", "ES384", "ES512", "EdDSA"}
"""Every signature algorithm that a provider may list (RFC 7518, RFC 8037); `none` is not one."""

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey | bytes
"""bytes is an HMAC secret"""


@dataclass(frozen=True, slots=True, eq=False)
class VerificationKey:
    """A key and the only algorithms that it may verify."""

    kid: str | None
    algorithms: frozenset[str]
    key: PublicKey


class KeySet:
    """The keys of one provider at one time; compared by identity, so a new set is a new generation."""

    __slots__ = ("_any_kid", "_by_name", "keys")

    def __init__(self, keys: tuple[VerificationKey, ...], *, any_kid: bool = False) -> None:
        """
        Args:
            any_kid: a single secret serves whatever kid a token names.
        """
        self.keys = keys
        self._any_kid = any_kid
        self._by_name: dict[tuple[str, str | None], VerificationKey | None] = {}
        for key in keys:
            for algorithm in key.algorithms:
                for kid in {key.kid, None}:
                    name = (algorithm, kid)
                    self._by_name[name] = None if name in self._by_name else key

    def select(self, algorithm: str, kid: str | None) -> VerificationKey | None:
        """The one key that fits; None if there is none, or more than one (never "the first")."""
        return self._by_name.get((algorithm, None if self._any_kid else kid))


def shared_secret(secret: bytes) -> KeySet:
    """A key set of one HMAC secret.

    Raises:
        PolicyError: it is too short, or is a public key in any of its usual forms: who knows a public key could sign
            with it (CVE-2022-29217, CVE-2024-33663, CVE-2026-48526).
    """
    if len(secret) < MIN_SECRET_BYTES:
        raise PolicyError(f"a shared secret of {len(secret)} bytes (at least {MIN_SECRET_BYTES})")
    if _looks_asymmetric(secret):
        raise PolicyError("a shared secret that is an asymmetric key")
    return KeySet((VerificationKey(None, HMAC_ALGORITHMS, secret),), any_kid=True)


def _looks_asymmetric(secret: bytes) -> bool:
    text = secret.strip()
    if b"-----BEGIN" in text or text.startswith((b"ssh-", b"ecdsa-sha2-")):
        return True
    if text.startswith((b"{", b"[")) and b'"kty"' in text:
        return True
    return text.startswith(b"\x30\x82") or (text.startswith(b"\x30") and b"\x06\x07*\x86H\xce=\x02\x01" in text)


def key_set(text: bytes, *, symmetric: bool) -> KeySet:
    """Parse a JWK Set; `symmetric` allows HMAC keys in it (a file of the operator, never something fetched).

    Raises:
        PolicyError: it is not a JWK Set, is too large, or holds no key that can verify a signature.
    """
    if len(text) > MAX_BYTES:
        raise PolicyError(f"a JWK Set of {len(text)} bytes (at most {MAX_BYTES})")
    entries = _entries(text)
    if len(entries) > MAX_KEYS:
        raise PolicyError(f"a JWK Set of {len(entries)} keys (at most {MAX_KEYS})")
    keys: list[VerificationKey] = []
    faults: list[str] = []
    for index, entry in enumerate(entries):
        try:
            keys.append(_verification_key(entry, symmetric))
        except (ValueError, UnsupportedAlgorithm) as error:
            faults.append(f"key {index}: {error}")
    if not keys:
        raise PolicyError("no usable key in the JWK Set" + "".join(f"; {fault}" for fault in faults))
    return KeySet(tuple(keys))


def _entries(text: bytes) -> list[object]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise PolicyError("a JWK Set that is not JSON") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise PolicyError('a JWK Set without "keys"')
    return entries


def _verification_key(entry: object, symmetric: bool) -> VerificationKey:
    if not isinstance(entry, dict):
        raise PolicyError("not an object")
    if entry.get("use", "sig") != "sig":
        raise PolicyError("not for signatures")
    operations = entry.get("key_ops")
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        raise PolicyError("not for verifying")
    kid = entry.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise PolicyError("a kid that is not text")
    algorithms, key = _public_key(entry, symmetric)
    if (only := entry.get("alg")) is not None:
        algorithms &= {str(only)}
    if not algorithms:
        raise PolicyError("an alg that does not fit its type")
    return VerificationKey(kid, algorithms, key)


def _public_key(entry: Mapping[str, object], symmetric: bool) -> tuple[frozenset[str], PublicKey]:
    """Private members are ignored: only the public half is ever built."""
    match entry.get("kty"):
        case "RSA":
            key = rsa.RSAPublicNumbers(_number(entry, "e"), _number(entry, "n")).public_key()
            if key.key_size < MIN_RSA_BITS:
                raise PolicyError(f"an RSA key of {key.key_size} bits (at least {MIN_RSA_BITS})")
            return RSA_ALGORITHMS, key
        case "EC":
            curve = _CURVES.get(str(entry.get("crv")))
            if curve is None:
                raise PolicyError("an unknown curve")
            algorithm, size, parameters = curve
            x, y = _octets(entry, "x"), _octets(entry, "y")
            if len(x) != size or len(y) != size:
                raise PolicyError("coordinates of the wrong length")
            point = ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), parameters)
            return frozenset({algorithm}), point.public_key()
        case "OKP" if entry.get("crv") == "Ed25519":
            return frozenset({"EdDSA"}), Ed25519PublicKey.from_public_bytes(_octets(entry, "x"))
        case "OKP" if entry.get("crv") == "Ed448":
            return frozenset({"EdDSA"}), Ed448PublicKey.from_public_bytes(_octets(entry, "x"))
        case "oct" if symmetric:
            return HMAC_ALGORITHMS, shared_secret(_octets(entry, "k")).keys[0].key
        case _:
            raise PolicyError("an unknown type")


def _octets(entry: Mapping[str, object], member: str) -> bytes:
    text = entry.get(member)
    if not isinstance(text, str):
        raise PolicyError(f"no {member}")
    return urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4))


def _number(entry: Mapping[str, object], member: str) -> int:
    return int.from_bytes(_octets(entry, member))


def digest(*parts: bytes) -> bytes:
    """A name for content: equal parts, and only those, have equal digests."""
    pieces = [b"%b%b" % (len(part).to_bytes(8), part) for part in parts]
    return hashlib.blake2b(b"".join(pieces), digest_size=16).digest()
