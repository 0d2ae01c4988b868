"""An unverified token -> a verified one: algorithm, key, signature, claims, in that order."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from jwt.algorithms import Algorithm, get_default_algorithms

from ext_authz.identity import Identity, identity
from ext_authz.jwt.parsing import UnverifiedToken
from ext_authz.reasons import CredentialError, Reason
from policy.authz import JwtProvider
from policy.claims import claim_at
from policy.jwks import ALGORITHMS, KeySet

MAX_TIME_S = 1 << 53
"""Times beyond it are no dates."""


class VerifiedToken(NamedTuple):
    """A token whose signature and claims hold, from `valid_from_s` until just before `valid_until_s` (Unix time)."""

    identity: Identity
    keys: KeySet
    """It is worth nothing under other keys."""
    valid_from_s: float
    valid_until_s: float
    token_id: str | None
    """`jti`"""


class SignatureAlgorithms:
    """PyJWT's implementations of the algorithms that a provider may list, and of no others."""

    def __init__(self) -> None:
        known: Mapping[str, Algorithm] = get_default_algorithms()
        self._by_name = {name: known[name] for name in ALGORITHMS}

    def verify(self, token: UnverifiedToken, provider: JwtProvider, keys: KeySet) -> None:
        """Raises CredentialError unless a key of the provider, fit for one of its algorithms, made the signature."""
        if token.algorithm not in provider.algorithms:
            raise CredentialError(Reason.ALGORITHM, provider.method)
        key = keys.select(token.algorithm, token.kid)
        if key is None:
            raise CredentialError(Reason.UNKNOWN_KEY, provider.method)
        if not self._by_name[token.algorithm].verify(token.signing_input, key.key, token.signature):
            raise CredentialError(Reason.SIGNATURE, provider.method)


def verified_token(
    token: UnverifiedToken,
    provider: JwtProvider,
    keys: KeySet,
    algorithms: SignatureAlgorithms,
    now_s: float,
    token_digest: bytes,
) -> VerifiedToken:
    """Verify a token that names the provider's issuer.

    Args:
        token_digest: of the token's text; tells tokens without `sub` apart.

    Raises:
        CredentialError: it is not valid now.
    """
    algorithms.verify(token, provider, keys)
    valid_from_s, valid_until_s = _checked_times(token.claims, provider)
    _check_content(token.claims, provider)
    if now_s >= valid_until_s:
        raise CredentialError(Reason.EXPIRED, provider.method)
    if now_s < valid_from_s:
        raise CredentialError(Reason.NOT_YET_VALID, provider.method)
    try:
        proven = identity(
            provider.method,
            token.claims,
            provider.forward_claims,
            user=_text(token.claims, "sub", provider),
            fallback=b"t" + token_digest,
        )
    except ValueError:
        raise CredentialError(Reason.UNFIT_CLAIM, provider.method) from None
    return VerifiedToken(proven, keys, valid_from_s, valid_until_s, _text(token.claims, "jti", provider))


def _checked_times(claims: Mapping[str, object], provider: JwtProvider) -> tuple[float, float]:
    """When the token is valid, leeway included (RFC 7519 sections 4.1.4 to 4.1.6)."""
    expires = _time(claims, "exp", provider)
    begins, issued = _time(claims, "nbf", provider), _time(claims, "iat", provider)
    if provider.max_lifetime_s is not None:
        if expires is None or issued is None:
            raise CredentialError(Reason.MISSING_CLAIM, provider.method)
        if expires - issued > provider.max_lifetime_s:
            raise CredentialError(Reason.LIFETIME, provider.method)
    valid_from_s = max(begins or 0, issued or 0) - provider.leeway_s
    return valid_from_s, math.inf if expires is None else expires + provider.leeway_s


def _time(claims: Mapping[str, object], name: str, provider: JwtProvider) -> int | None:
    """A NumericDate in whole seconds; fractions are refused, as are booleans, text and what is no date."""
    if name not in claims:
        return None
    value = claims[name]
    if type(value) is not int or not 0 <= value < MAX_TIME_S:
        raise CredentialError(Reason.UNFIT_CLAIM, provider.method)
    return value


def _check_content(claims: Mapping[str, object], provider: JwtProvider) -> None:
    if provider.audiences and not provider.audiences.intersection(_audiences(claims, provider)):
        raise CredentialError(Reason.AUDIENCE, provider.method)
    for name in provider.required_claims:
        if claim_at(claims, name) is None:
            raise CredentialError(Reason.MISSING_CLAIM, provider.method)


def _audiences(claims: Mapping[str, object], provider: JwtProvider) -> list[str]:
    match claims.get("aud"):
        case str(audience):
            return [audience]
        case list(audiences) if all(isinstance(each, str) for each in audiences):
            return audiences
        case None:
            return []
        case _:
            raise CredentialError(Reason.UNFIT_CLAIM, provider.method)


def _text(claims: Mapping[str, object], name: str, provider: JwtProvider) -> str | None:
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise CredentialError(Reason.UNFIT_CLAIM, provider.method)
    return value
