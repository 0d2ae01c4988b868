"""AuthzPolicy in compiled form: everything that can be worked out once for a policy is not worked out per request.

`compile_policy` is all or nothing: a policy either enforces every rule that it was given or does not exist.
"""

from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum

from policy.api_keys import ApiKey, api_keys, signing_secrets
from policy.errors import PolicyError
from policy.jwks import ALGORITHMS, HMAC_ALGORITHMS, KeySet, digest, key_set, shared_secret
from policy.networks import IpRules, network_set
from policy.quotas import Limit, limit
from policy.stores import RedisAddress, RevocationList, redis_address
from protos.gateway.policy.v1 import authz_pb2


class Place(Enum):
    """Where in a request a credential may stand."""

    HEADER = "header"
    COOKIE = "cookie"
    QUERY = "query"


@dataclass(frozen=True, slots=True)
class Source:
    place: Place
    name: str
    """Lower case for a header, as it stands for the others."""


@dataclass(frozen=True, slots=True)
class ClaimHeader:
    claim: str
    header: str
    """Lower case."""


@dataclass(frozen=True, slots=True, eq=False)
class JwtProvider:
    """One issuer and what a token of it has to be."""

    method: str
    """As the configuration refers to it: "jwt.meetinity"."""
    realm: str
    issuer: str
    audiences: frozenset[str]
    """Empty: `aud` is not looked at."""
    algorithms: frozenset[str]
    keys: KeySet | None
    """None: fetched, see `keys_url` and `oidc_discovery`."""
    keys_url: str
    oidc_discovery: bool
    sources: tuple[Source, ...]
    leeway_s: float
    max_lifetime_s: float | None
    required_claims: tuple[str, ...]
    forward_claims: tuple[ClaimHeader, ...]
    forward: bool
    """The token reaches the service, if it came in a header."""
    revocation: RevocationList | None
    digest: bytes


@dataclass(frozen=True, slots=True, eq=False)
class ApiKeys:
    """A set of API keys and where one is looked for."""

    method: str
    realm: str
    source: Source
    keys: Mapping[bytes, ApiKey]
    """By SHA-256 of the key."""
    forward: bool
    forward_claims: tuple[ClaimHeader, ...]
    digest: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Signatures:
    """Clients that sign their requests."""

    method: str
    realm: str
    secrets: Mapping[str, tuple[bytes, ...]]
    """By client id; several while one is rotated."""
    clock_skew_s: float
    signed_headers: tuple[str, ...]
    nonce_store: RedisAddress | None
    """None: this process's memory."""
    digest: bytes


Method = JwtProvider | ApiKeys | Signatures


@dataclass(frozen=True, slots=True)
class ClaimRequirement:
    claim: str
    values: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class Authentication:
    all_of: bool
    """Else any of the methods is enough."""
    methods: tuple[Method, ...]
    optional: bool
    required_claims: tuple[ClaimRequirement, ...]
    uses_authorization: bool
    """A method looks at the Authorization header, which then must stand there once and without a comma."""
    sole_bearer: JwtProvider | None
    """The only method, if that is a token in the Authorization header: what most routes have."""
    nonce_stores: frozenset[RedisAddress]
    """Where nonces of signed requests are remembered that replicas share."""
    hidden: Mapping[Place, frozenset[str]]
    """Credentials that the service does not get to see: those that say so, and every token outside of a header."""


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """What ext_authz enforces on the routes that name it."""

    name: str
    authentication: Authentication | None
    """None: public."""
    ip: tuple[IpRules, ...]
    limits_before: tuple[Limit, ...]
    """Charged before authentication, together or not at all."""
    limits_after: tuple[Limit, ...]
    identity_headers: frozenset[str]
    """Lower case; never reach the service unless set from a proven identity."""
    shadow: bool
    """Whoever would be denied passes, and is counted."""
    rate_limit_store: RedisAddress | None = None
    """None: this process's memory."""
    rate_limit_domain: str = ""
    """Not empty: all limits of the gateway of this name, for RateLimitService."""
    told_claims: tuple[str, ...] = ()
    """Claims whose values ext_proc is told."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What compiling needs besides the policy's own text."""

    secrets: Mapping[str, bytes]
    """Contents of the SDS Secrets, by resource name."""
    share: int = 1
    """How many equal stores divide the limits among themselves."""
    methods: MutableMapping[bytes, Method] = field(default_factory=dict)
    """Methods compiled so far, by digest: policies that name an equal method share it and the tokens verified by it."""


def compile_policy(message: authz_pb2.AuthzPolicy, inputs: Inputs) -> Policy:
    """Raises PolicyError for anything that is missing, contradictory or not understood."""
    authentication = _authentication(message.authentication, inputs) if message.HasField("authentication") else None
    store = redis_address(message.rate_limit_store, inputs.secrets) if message.HasField("rate_limit_store") else None
    share = inputs.share if store is None else 1
    before = tuple(limit(each, share) for each in message.rate_limits if each.before_authentication)
    after = tuple(limit(each, share) for each in message.rate_limits if not each.before_authentication)
    names = [each.name for each in message.rate_limits]
    if len(set(names)) != len(names):
        raise PolicyError("a rate limit is listed twice")
    return Policy(
        name=message.name,
        authentication=authentication,
        ip=tuple(IpRules(network_set(rules.allow), network_set(rules.deny)) for rules in message.ip),
        limits_before=before,
        limits_after=after,
        identity_headers=frozenset(name.lower() for name in message.identity_headers)
        | (_claim_headers(authentication) if authentication else frozenset()),
        shadow=message.shadow,
        rate_limit_store=store,
        rate_limit_domain=message.rate_limit_domain,
        told_claims=tuple(message.told_claims),
    )


def _claim_headers(authentication: Authentication) -> frozenset[str]:
    return frozenset(
        each.header
        for method in authentication.methods
        if not isinstance(method, Signatures)
        for each in method.forward_claims
    )


def _authentication(message: authz_pb2.Authentication, inputs: Inputs) -> Authentication:
    if not message.methods:
        raise PolicyError("authentication without a method")
    if message.combination not in (authz_pb2.Authentication.ANY_OF, authz_pb2.Authentication.ALL_OF):
        raise PolicyError("authentication that says neither any_of nor all_of")
    methods = tuple(_method(method, inputs) for method in message.methods)
    return Authentication(
        all_of=message.combination == authz_pb2.Authentication.ALL_OF,
        methods=methods,
        optional=message.optional,
        required_claims=tuple(ClaimRequirement(each.claim, frozenset(each.values)) for each in message.required_claims),
        uses_authorization=any(_uses_authorization(method) for method in methods),
        sole_bearer=_sole_bearer(methods),
        nonce_stores=frozenset(
            method.nonce_store for method in methods if isinstance(method, Signatures) and method.nonce_store
        ),
        hidden={place: _hidden(methods, place) for place in Place},
    )


def _sole_bearer(methods: tuple[Method, ...]) -> JwtProvider | None:
    match methods:
        case (JwtProvider(sources=(Source(Place.HEADER, "authorization"),)) as provider,):
            return provider
        case _:
            return None


def _hidden(methods: Iterable[Method], place: Place) -> frozenset[str]:
    names: set[str] = set()
    for method in methods:
        match method:
            case JwtProvider(forward=forward, sources=sources):
                hides = place is not Place.HEADER or not forward
            case ApiKeys(forward=forward, source=source):
                hides, sources = not forward, (source,)
            case Signatures():
                continue
        names.update(source.name for source in sources if hides and source.place is place)
    return frozenset(names)


def _uses_authorization(method: Method) -> bool:
    match method:
        case JwtProvider(sources=sources):
            return any(source == Source(Place.HEADER, "authorization") for source in sources)
        case ApiKeys(source=source):
            return source == Source(Place.HEADER, "authorization")
        case Signatures():
            return True


def _method(message: authz_pb2.Method, inputs: Inputs) -> Method:
    secret_name = _secret_name(message)
    secret = b""
    if secret_name:
        if secret_name not in inputs.secrets:
            raise PolicyError(f"{message.name}: the secret {secret_name!r} is not there")
        secret = inputs.secrets[secret_name]
    name = digest(message.SerializeToString(deterministic=True), secret)
    if name not in inputs.methods:
        try:
            inputs.methods[name] = _compiled(message, secret, name, inputs.secrets)
        except PolicyError as error:
            raise PolicyError(f"{message.name}: {error}") from None
    return inputs.methods[name]


def _secret_name(message: authz_pb2.Method) -> str:
    match message.WhichOneof("kind"):
        case "jwt":
            return message.jwt.jwks_secret or message.jwt.shared_secret
        case "api_keys":
            return message.api_keys.keys_secret
        case "signatures":
            return message.signatures.clients_secret
        case _:
            raise PolicyError(f"{message.name}: a method of unknown kind")


def _compiled(message: authz_pb2.Method, secret: bytes, name: bytes, secrets: Mapping[str, bytes]) -> Method:
    match message.WhichOneof("kind"):
        case "jwt":
            return _jwt_provider(message.name, message.jwt, secret, name, _revocation(message.jwt, secrets))
        case "api_keys":
            return _api_keys(message.name, message.api_keys, secret, name)
        case _:
            return _signatures(message.name, message.signatures, secret, name, secrets)


def _revocation(message: authz_pb2.JwtProvider, secrets: Mapping[str, bytes]) -> RevocationList | None:
    if not message.revocation_redis_key:
        return None
    return RevocationList(redis_address(message.revocation_store, secrets), message.revocation_redis_key)


def _jwt_provider(
    method: str, message: authz_pb2.JwtProvider, secret: bytes, name: bytes, revocation: RevocationList | None
) -> JwtProvider:
    algorithms = frozenset(message.algorithms)
    if not algorithms or not algorithms <= ALGORITHMS:
        raise PolicyError(f"algorithms {sorted(algorithms)} (some of {', '.join(sorted(ALGORITHMS))})")
    if not message.issuer:
        raise PolicyError("no issuer")
    keys: KeySet | None = None
    match message.WhichOneof("keys"):
        case "jwks_secret":
            keys = key_set(secret, symmetric=True)
        case "shared_secret":
            keys = shared_secret(secret)
            if not algorithms <= HMAC_ALGORITHMS:
                raise PolicyError("a shared secret serves HS256, HS384 and HS512 only")
        case None:
            raise PolicyError("no source of keys")
    if keys is not None and not any(key.algorithms & algorithms for key in keys.keys):
        raise PolicyError("no key serves any of its algorithms")
    return JwtProvider(
        method=method,
        realm=message.name,
        issuer=message.issuer,
        audiences=frozenset(message.audiences),
        algorithms=algorithms,
        keys=keys,
        keys_url=message.jwks_url,
        oidc_discovery=message.oidc_discovery,
        sources=tuple(_source(source) for source in message.sources) or (Source(Place.HEADER, "authorization"),),
        leeway_s=_seconds(message.leeway.ToTimedelta()),
        max_lifetime_s=_seconds(message.max_lifetime.ToTimedelta()) if message.HasField("max_lifetime") else None,
        required_claims=tuple(message.required_claims),
        forward_claims=_forward_claims(message.forward_claims),
        forward=message.forward,
        revocation=revocation,
        digest=name,
    )


def _api_keys(method: str, message: authz_pb2.ApiKeys, secret: bytes, name: bytes) -> ApiKeys:
    source = _source(message.source)
    if source.place is Place.COOKIE:
        raise PolicyError("an API key in a cookie")
    forward_claims = _forward_claims(message.forward_claims)
    return ApiKeys(method, message.name, source, api_keys(secret), message.forward, forward_claims, name)


def _signatures(
    method: str, message: authz_pb2.Signatures, secret: bytes, name: bytes, secrets: Mapping[str, bytes]
) -> Signatures:
    return Signatures(
        method=method,
        realm=message.name,
        secrets=signing_secrets(secret),
        clock_skew_s=_seconds(message.clock_skew.ToTimedelta()),
        signed_headers=tuple(header.lower() for header in message.signed_headers),
        nonce_store=redis_address(message.nonce_store, secrets) if message.HasField("nonce_store") else None,
        digest=name,
    )


def _forward_claims(messages: Iterable[authz_pb2.ClaimHeader]) -> tuple[ClaimHeader, ...]:
    return tuple(ClaimHeader(each.claim, each.header.lower()) for each in messages)


def _source(message: authz_pb2.CredentialSource) -> Source:
    match message.WhichOneof("kind"):
        case "header":
            return Source(Place.HEADER, message.header.lower())
        case "cookie":
            return Source(Place.COOKIE, message.cookie)
        case "query":
            return Source(Place.QUERY, message.query)
        case _:
            raise PolicyError("a credential that is looked for nowhere")


def _seconds(duration: timedelta) -> float:
    return duration.total_seconds()
