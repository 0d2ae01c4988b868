"""Makes JWTs that a provider of gateway.yaml accepts."""

import json
from collections.abc import Iterable
from typing import TypeAlias

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from control_plane.config.model.auth import JwtProvider
from control_plane.config.scalars import parse_duration

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
Claim: TypeAlias = "str | int | float | bool | list[Claim] | dict[str, Claim] | None"

_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}


class TokenError(Exception):
    """No token can be made of this; the text says why."""


def minted(
    provider: JwtProvider,
    *,
    sub: str,
    claims: Iterable[str],
    ttl: str,
    private_key: bytes | None,
    jwks: bytes | None,
    now: int,
) -> str:
    """Return a signed token.

    Args:
        provider: gives issuer, audience and algorithm.
        sub: the subject.
        claims: `NAME=VALUE`; a value that is JSON is taken as such. They win over what is set by default.
        ttl: until when it is valid, from now.
        private_key: PEM; needed where the provider has no shared secret.
        jwks: the provider's public keys, to name the right one of several by its `kid`.
        now: seconds since 1970.
    """
    payload: dict[str, Claim] = {"iss": provider.issuer, "sub": sub, "iat": now, "exp": now + _seconds(ttl)}
    if provider.audiences:
        payload["aud"] = provider.audiences[0]
    payload |= dict(map(_claim, claims))
    if provider.secret is not None:
        if private_key is not None:
            raise TokenError("the provider has a shared secret: it takes no --key")
        return jwt.encode(payload, provider.secret, algorithm=provider.algorithms[0])
    if private_key is None:
        raise TokenError("the provider has public keys: give the private one with --key FILE (PEM)")
    key = _private_key(private_key)
    algorithm = _algorithm(provider, key)
    headers = {"kid": kid} if (kid := _key_id(key, jwks)) else None
    return jwt.encode(payload, key, algorithm=algorithm, headers=headers)


def _seconds(ttl: str) -> int:
    try:
        seconds = int(parse_duration(ttl).total_seconds())
    except ValueError as error:
        raise TokenError(f"--ttl: {error}") from None
    if not seconds:
        raise TokenError("--ttl: has to be at least 1s")
    return seconds


def _claim(text: str) -> tuple[str, Claim]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise TokenError(f"--claim: {text!r} is not NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _private_key(pem: bytes) -> PrivateKey:
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise TokenError("--key: holds no private key (PEM, without a passphrase)") from None
    if not isinstance(key, PrivateKey):
        raise TokenError("--key: its kind signs no JWT (RSA, EC or Ed25519)")
    return key


def _algorithm(provider: JwtProvider, key: PrivateKey) -> str:
    for algorithm in provider.algorithms:
        if _fits(algorithm, key):
            return algorithm
    raise TokenError(f"--key: fits none of the provider's algorithms ({', '.join(provider.algorithms)})")


def _fits(algorithm: str, key: PrivateKey) -> bool:
    if isinstance(key, rsa.RSAPrivateKey):
        return algorithm[:2] in ("RS", "PS")
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return _CURVES.get(algorithm) == key.curve.name
    return algorithm == "EdDSA"


def _key_id(key: PrivateKey, jwks: bytes | None) -> str | None:
    """The `kid` under which the provider's file lists this key."""
    if jwks is None:
        return None
    try:
        listed = jwt.PyJWKSet.from_json(jwks.decode()).keys
    except (jwt.PyJWTError, UnicodeDecodeError):
        return None
    public = key.public_key()
    return next((entry.key_id for entry in listed if entry.key == public), None)
