"""Which credentials a request carries and whom they prove.

The rules of the contract: a credential that is absent lets `any_of` go on; one that is present and wrong refuses the
request, also when another would pass and when authentication is optional. A JWT is judged only by the provider whose
issuer it names. Of the places where a credential may stand, the first one that holds something counts.
"""

import hmac
from collections.abc import Sequence
from hashlib import sha256

from ext_authz.identity import Identity, identity, joined
from ext_authz.jwt.cache import RecentEntries, TokenCache
from ext_authz.jwt.parsing import MAX_TOKEN_BYTES, parse_token
from ext_authz.jwt.revocation import Revocations
from ext_authz.jwt.sources import KeyRing
from ext_authz.jwt.verification import SignatureAlgorithms, VerifiedToken, verified_token
from ext_authz.reasons import CredentialError, Reason
from ext_authz.request import Request
from ext_authz.signatures import NonceUse, verified_client
from policy.api_keys import ApiKey
from policy.authz import ApiKeys, Authentication, JwtProvider, Place, Signatures, Source
from policy.claims import claim_at, claim_texts
from policy.jwks import KeySet
from policy.stores import RevocationList

MAX_API_KEY_CHARACTERS = 512
PROGRAM_IDENTITIES = 10_000
"""How many prepared identities of API keys and signing clients are kept."""


class Authenticator:
    """Judges credentials; holds what was learnt from earlier ones (verified tokens), and no policy."""

    def __init__(self, tokens: TokenCache, ring: KeyRing | None = None, revocations: Revocations | None = None) -> None:
        """
        Args:
            ring: where keys that are fetched are found.
            revocations: which tokens are revoked.
        """
        self._revocations = revocations if revocations is not None else Revocations()
        self.tokens = tokens
        self._ring = ring if ring is not None else KeyRing()
        self._algorithms = SignatureAlgorithms()
        self._programs: RecentEntries[Identity] = RecentEntries(PROGRAM_IDENTITIES)

    def authenticate(
        self, rules: Authentication, request: Request, now_s: float, nonces: list[NonceUse]
    ) -> Identity | None:
        """Whom the request comes from; None if it carries no credential and need not.

        Args:
            nonces: takes the nonces of signatures; whether each is used for the first time remains to be asked.

        Raises:
            CredentialError: a credential is wrong, missing or ambiguous, or cannot be judged.
        """
        header = request.header_bytes("authorization") if rules.uses_authorization else None
        if header is not None:
            if rules.sole_bearer is not None:
                only = self._sole_bearer(rules.sole_bearer, header, now_s)
                if only is not None:
                    return only
            if b"," in header:
                raise CredentialError(Reason.AMBIGUOUS_CREDENTIAL)
        proven: list[Identity] = []
        claimed: list[str] = []
        for method in rules.methods:
            if isinstance(method, JwtProvider):
                found = self._jwt(method, rules, request, now_s, claimed)
            elif isinstance(method, ApiKeys):
                found = self._api_key(method, request)
            else:
                found = self._signature(method, request, now_s, nonces)
            if found is not None:
                proven.append(found)
        missing = len(proven) < len(rules.methods) if rules.all_of else not proven
        if missing and not (rules.optional and not proven):
            raise CredentialError(Reason.NO_CREDENTIAL)
        return joined(proven) if proven else None

    def _sole_bearer(self, provider: JwtProvider, header: bytes, now_s: float) -> Identity | None:
        """What most requests are: whom this Authorization header proves; None if it is written in some rarer way."""
        keys = self._ring.keys(provider)
        if keys is None:
            return None
        digest = sha256(header).digest()
        token = self.tokens.verified(provider, keys, digest, now_s)
        if token is None:
            octets = _plain_bearer(header)
            if octets is None:
                return None
            token = self._first_sight(provider, keys, (), octets, digest, now_s)
            assert token is not None
        if provider.revocation is not None:
            self._check_revocation(provider.revocation, token, provider.method)
        return token.identity

    def _check_revocation(self, source: RevocationList, token: VerifiedToken, method: str) -> None:
        """Of every request: what is remembered of a token says nothing about its revocation."""
        revoked = self._revocations.of(source)
        if revoked is None:
            raise CredentialError(Reason.REVOCATIONS, method)
        names = (token.token_id, token.identity.user)
        if names == (None, None):
            raise CredentialError(Reason.MISSING_CLAIM, method)
        if not revoked.isdisjoint(names):
            raise CredentialError(Reason.REVOKED, method)

    def _jwt(
        self, provider: JwtProvider, rules: Authentication, request: Request, now_s: float, claimed: list[str]
    ) -> Identity | None:
        """The token's identity; None if there is no token, or one that another provider of the route judges.

        Args:
            claimed: tokens that a provider of this route has judged; under any_of one judge is enough.
        """
        text = _token(provider.sources, request)
        if text is None or (text in claimed and not rules.all_of):
            return None
        if len(text) > MAX_TOKEN_BYTES:
            raise CredentialError(Reason.MALFORMED_TOKEN, provider.method)
        keys = self._ring.keys(provider)
        # As in an Authorization header, whose digest can then be looked up without reading it.
        digest = sha256(b"Bearer " + text.encode()).digest()
        token = None if keys is None else self.tokens.verified(provider, keys, digest, now_s)
        if token is None:
            others = _other_judges(provider, rules, request, text)
            for other in others:
                other_keys = self._ring.keys(other)
                if other_keys is not None and self.tokens.verified(other, other_keys, digest, now_s) is not None:
                    return None
            token = self._first_sight(provider, keys, others, text.encode(), digest, now_s)
            if token is None:
                return None
        if provider.revocation is not None:
            self._check_revocation(provider.revocation, token, provider.method)
        claimed.append(text)
        return token.identity

    def _first_sight(
        self,
        provider: JwtProvider,
        keys: KeySet | None,
        others: Sequence[JwtProvider],
        octets: bytes,
        digest: bytes,
        now_s: float,
    ) -> VerifiedToken | None:
        """Verify a token in full; None if it names the issuer of one of the others.

        Args:
            keys: None: not there yet, which is nothing to the tokens of others.
        """
        self.tokens.misses += 1
        known = None if keys is None else self.tokens.refused(provider, keys, digest)
        if known is not None:
            raise CredentialError(known, provider.method)
        try:
            token = parse_token(octets)
            issuer = token.claims.get("iss")
            if issuer != provider.issuer:
                if any(other.issuer == issuer for other in others):
                    return None
                raise CredentialError(Reason.UNKNOWN_ISSUER)
            if keys is None:
                raise CredentialError(Reason.NO_KEYS)
            verified = verified_token(token, provider, keys, self._algorithms, now_s, digest)
        except CredentialError as error:
            if keys is not None:
                self.tokens.keep_refusal(provider, keys, digest, error.reason)
            if error.reason is Reason.UNKNOWN_KEY:
                self._ring.key_is_unknown(provider)
            raise CredentialError(error.reason, provider.method) from None
        self.tokens.keep(provider, digest, verified)
        return verified

    def _api_key(self, method: ApiKeys, request: Request) -> Identity | None:
        text = _single(method.source, request)
        if text is None:
            return None
        if not text.isascii() or len(text) > MAX_API_KEY_CHARACTERS:
            raise CredentialError(Reason.UNKNOWN_API_KEY, method.method)
        digest = sha256(text.encode()).digest()
        key = method.keys.get(digest)
        # The lookup is by digest, whose bytes a caller cannot steer; the comparison is the one that counts.
        if not hmac.compare_digest(digest, b"\0" * 32 if key is None else key.sha256) or key is None:
            raise CredentialError(Reason.UNKNOWN_API_KEY, method.method)
        return self._key_identity(method, key)

    def _signature(self, method: Signatures, request: Request, now_s: float, nonces: list[NonceUse]) -> Identity | None:
        signed = verified_client(method, request, now_s)
        if signed is None:
            return None
        client, nonce = signed
        nonces.append(nonce)
        key = method.digest + client.encode()
        known = self._programs.get(key)
        if known is None:
            known = identity(method.method, {}, (), client=client)
            self._programs.put(key, known)
        return known

    def _key_identity(self, method: ApiKeys, key: ApiKey) -> Identity:
        known = self._programs.get(method.digest + key.sha256)
        if known is None:
            claims = {**key.attributes, "id": key.id}
            try:
                known = identity(method.method, claims, method.forward_claims, api_key=key.id)
            except ValueError:
                raise CredentialError(Reason.UNFIT_CLAIM, method.method) from None
            self._programs.put(method.digest + key.sha256, known)
        return known


def check_requirements(rules: Authentication, proven: Identity | None) -> bool:
    """Whether every required claim has one of its values; nobody has claims."""
    if not rules.required_claims or (proven is None and rules.optional):
        return True
    return proven is not None and all(
        not each.values.isdisjoint(claim_texts(claim_at(proven.claims, each.claim))) for each in rules.required_claims
    )


def _other_judges(provider: JwtProvider, rules: Authentication, request: Request, text: str) -> Sequence[JwtProvider]:
    """Providers of the route, of other issuers, that look at the same token."""
    return [
        other
        for other in rules.methods
        if isinstance(other, JwtProvider) and other.issuer != provider.issuer and _token(other.sources, request) == text
    ]


def _token(sources: Sequence[Source], request: Request) -> str | None:
    for source in sources:
        if source.place is Place.HEADER and source.name == "authorization":
            text = _bearer(request.header("authorization"))
        else:
            text = _single(source, request)
            if text is not None and source.place is Place.HEADER and text[:7].lower() == "bearer ":
                text = text[7:].strip(" ")
        if text is not None:
            return text
    return None


def _bearer(header: str | None) -> str | None:
    """The token of `Bearer TOKEN` (RFC 6750 section 2.1).

    Another scheme is no token of ours; whatever else begins with "bearer" is a wrong one.
    """
    if header is None or header[:6].lower() != "bearer":
        return None
    return header[7:].strip(" ") if header[6:7] == " " else ""


def _plain_bearer(header: bytes) -> bytes | None:
    """What stands behind `Bearer ` and one space; None for what needs a closer look (`_bearer`, and commas)."""
    if header[:7] != b"Bearer " or b"," in header or not header.isascii():
        return None
    octets = header[7:]
    return None if octets[:1] == b" " or octets[-1:] == b" " else octets


def _single(source: Source, request: Request) -> str | None:
    """The one value that stands there, None if there is none.

    Raises:
        CredentialError: it stands there twice; two readers could take different ones.
    """
    match source.place:
        case Place.HEADER:
            text = request.header(source.name)
            if text is not None and "," in text:
                raise CredentialError(Reason.AMBIGUOUS_CREDENTIAL)
            return text
        case Place.COOKIE:
            values = request.cookies(source.name)
        case Place.QUERY:
            values = request.query_values(source.name)
    if len(values) > 1:
        raise CredentialError(Reason.AMBIGUOUS_CREDENTIAL)
    return values[0] if values else None
