"""What ext_authz and ext_proc enforce for each route: AuthzPolicy and ProcessingPolicy resources.

A policy's name carries the hash of its content, so two routes with equal rules share one policy, and a route version
refers to exactly one policy version. Secrets stand in a policy by name.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from google.protobuf.message import Message

from control_plane.config.effective import EffectiveRoute
from control_plane.config.materials import Materials
from control_plane.config.model.auth import ApiKeys, JwtProvider, RateLimit, Signatures
from control_plane.config.model.gateway import Gateway
from control_plane.config.model.listeners import IpRules, Listener
from control_plane.config.model.routes import Authentication, Cache, CacheQuery
from control_plane.config.scalars import Rate
from control_plane.remembered import Remembered
from control_plane.resource_types import NodeKind
from control_plane.snapshot import Resource
from control_plane.translate.invalidation import invalidating
from control_plane.translate.messages import duration
from control_plane.translate.names import digest
from control_plane.translate.secrets import api_keys_secret, jwt_secret, redis_secret, signatures_secret
from control_plane.translate.transforms import fill_transform, told_claims
from protos.gateway.policy.v1 import authz_pb2, processing_pb2

_EXT_AUTHZ = frozenset({NodeKind.EXT_AUTHZ})
_EXT_PROC = frozenset({NodeKind.EXT_PROC})
_SCOPES = {"user": processing_pb2.CachePolicy.USER, "public": processing_pb2.CachePolicy.PUBLIC}
_OVERRIDES = {
    "no-store": processing_pb2.CachePolicy.NO_STORE,
    "private": processing_pb2.CachePolicy.PRIVATE,
    "set-cookie": processing_pb2.CachePolicy.SET_COOKIE,
}
_ON_STORE_ERROR = {
    "local": authz_pb2.RateLimit.LOCAL,
    "allow": authz_pb2.RateLimit.ALLOW,
    "deny": authz_pb2.RateLimit.DENY,
}
_KEYS_KNOWN_BEFORE_AUTHENTICATION = ("client_ip", "route", "header:")


@dataclass(frozen=True, slots=True)
class RoutePolicyNames:
    """The policies of one route on one listener; None where the callout has nothing to do."""

    authz: str | None
    processing: str | None
    unsafe_only: bool = False
    """ext_proc has something to do for unsafe methods only."""


@dataclass(frozen=True)
class Policies:
    """The policies of a gateway and which of them each route names."""

    by_route: Mapping[tuple[str, str], RoutePolicyNames]
    """By (listener, route): a listener's IP rules are part of the policy."""
    resources: tuple[Resource, ...]


KnownPolicies = Remembered[Resource | None]
"""Policies of routes, while the gateway's other sections and its materials stay equal."""


def policies(
    gateway: Gateway, routes: Iterable[EffectiveRoute], materials: Materials, known: KnownPolicies | None = None
) -> Policies:
    """Build every policy once, however many routes share it.

    Args:
        known: of an earlier call for a gateway that differs in its routes and services only.
    """
    methods = _methods(gateway, materials)
    making = _Making(gateway, materials, methods, known if known is not None else KnownPolicies())
    listeners = {listener.name: listener for listener in gateway.listeners}
    routes = tuple(routes)
    invalidates = invalidating(routes)
    by_route: dict[tuple[str, str], RoutePolicyNames] = {}
    for route in routes:
        processing = making.processing(route, invalidates=route.name in invalidates)
        unsafe_only = route.cache is None and route.transform is None
        for listener in route.listeners:
            authz = making.authz(listeners[listener], route)
            by_route[listener, route.name] = RoutePolicyNames(authz, processing, unsafe_only)
    making.use(_named("limits", rate_limit_domain(gateway), _EXT_AUTHZ))
    return Policies(by_route, tuple(making.resources.values()))


@dataclass(slots=True)
class _Making:
    """The policies of one gateway on their way."""

    gateway: Gateway
    materials: Materials
    methods: Mapping[str, authz_pb2.Method]
    known: KnownPolicies
    resources: dict[str, Resource] = field(default_factory=dict)

    def processing(self, route: EffectiveRoute, *, invalidates: bool) -> str | None:
        def make() -> Resource | None:
            policy = processing_policy(self.gateway, route, self.materials, invalidates=invalidates)
            return _named("proc", policy, _EXT_PROC)

        return self.use(self.known.of((route.name, invalidates), (route,), make))

    def authz(self, listener: Listener, route: EffectiveRoute) -> str | None:
        def make() -> Resource | None:
            return _named("authz", authz_policy(self.gateway, listener, route, self.methods), _EXT_AUTHZ)

        return self.use(self.known.of((route.name, listener.name), (route,), make))

    def use(self, policy: Resource | None) -> str | None:
        """The policy's name; of equal ones the first is served."""
        return None if policy is None else self.resources.setdefault(policy.name, policy).name


def _named(
    prefix: str, policy: authz_pb2.AuthzPolicy | processing_pb2.ProcessingPolicy | None, kinds: frozenset[NodeKind]
) -> Resource | None:
    """Name a policy after its content."""
    if policy is None:
        return None
    policy.name = f"{prefix}-{digest(_bytes(policy))}"
    return Resource.of(policy.name, policy, kinds)


def _bytes(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def authz_policy(
    gateway: Gateway,
    listener: Listener,
    route: EffectiveRoute,
    methods: Mapping[str, authz_pb2.Method],
) -> authz_pb2.AuthzPolicy | None:
    """What ext_authz has to check, without its name; None for a public route without limits and address rules."""
    ip = [_ip_rules(rules) for rules in (listener.ip, *route.ip) if rules is not None]
    if route.auth is None and not ip and not route.rate_limits:
        return None
    return authz_pb2.AuthzPolicy(
        authentication=_authentication(route.auth, methods) if route.auth is not None else None,
        ip=ip,
        rate_limits=[_rate_limit(name, gateway.rate_limits[name]) for name in route.rate_limits],
        identity_headers=identity_headers(gateway),
        shadow=route.shadow,
        rate_limit_store=rate_limit_store(gateway) if route.rate_limits else None,
        told_claims=told_claims(route) if route.auth is not None else (),
    )


def rate_limit_domain(gateway: Gateway) -> authz_pb2.AuthzPolicy | None:
    """All limits of the gateway, which ext_authz serves as RateLimitService too; None if there are none."""
    if not gateway.rate_limits:
        return None
    return authz_pb2.AuthzPolicy(
        rate_limits=[_rate_limit(name, limit) for name, limit in sorted(gateway.rate_limits.items())],
        rate_limit_store=rate_limit_store(gateway),
        rate_limit_domain=gateway.name,
    )


def rate_limit_store(gateway: Gateway) -> authz_pb2.RedisStore | None:
    """Where buckets are; None for the memory of each process."""
    secret = redis_secret(gateway)
    if gateway.stores.rate_limits != "redis" or secret is None:
        return None
    return authz_pb2.RedisStore(url_secret=secret[0], prefix=f"{gateway.name}:rl:")


def identity_headers(gateway: Gateway) -> list[str]:
    """Every header that a provider of this gateway may set from a claim, lower case, sorted."""
    sources: tuple[JwtProvider | ApiKeys, ...] = (*gateway.auth.jwt.values(), *gateway.auth.api_keys.values())
    return sorted({header.lower() for source in sources for header in source.forward_claims.values()})


def _authentication(auth: Authentication, methods: Mapping[str, authz_pb2.Method]) -> authz_pb2.Authentication:
    combination = authz_pb2.Authentication.ANY_OF if auth.any_of is not None else authz_pb2.Authentication.ALL_OF
    return authz_pb2.Authentication(
        combination=combination,
        methods=[methods[reference] for reference in auth.any_of or auth.all_of or ()],
        optional=auth.optional,
        required_claims=[
            authz_pb2.ClaimRequirement(claim=claim, values=values)
            for claim, values in sorted(auth.required_claims.items())
        ],
    )


def _methods(gateway: Gateway, materials: Materials) -> Mapping[str, authz_pb2.Method]:
    """Every method of `auth`, by the reference that routes use."""
    methods: dict[str, authz_pb2.Method] = {}
    for name, provider in gateway.auth.jwt.items():
        methods[f"jwt.{name}"] = authz_pb2.Method(name=f"jwt.{name}", jwt=_jwt(gateway, name, provider, materials))
    for name, keys in gateway.auth.api_keys.items():
        methods[f"api_keys.{name}"] = authz_pb2.Method(
            name=f"api_keys.{name}", api_keys=_api_keys(name, keys, materials)
        )
    for name, signatures in gateway.auth.signatures.items():
        methods[f"signatures.{name}"] = authz_pb2.Method(
            name=f"signatures.{name}", signatures=_signatures(gateway, name, signatures)
        )
    return methods


def _jwt(gateway: Gateway, name: str, provider: JwtProvider, materials: Materials) -> authz_pb2.JwtProvider:
    message = authz_pb2.JwtProvider(
        name=name,
        issuer=provider.issuer,
        audiences=provider.audiences,
        algorithms=provider.algorithms,
        sources=[_credential_source(s.header, s.cookie, s.query) for s in provider.token],
        leeway=duration(provider.leeway),
        max_lifetime=duration(provider.max_lifetime) if provider.max_lifetime is not None else None,
        required_claims=provider.required_claims,
        forward_claims=_claim_headers(provider.forward_claims),
        forward=provider.forward,
    )
    redis = redis_secret(gateway)
    if provider.revocation is not None and redis is not None:
        message.revocation_redis_key = provider.revocation.redis_key
        message.revocation_store.url_secret = redis[0]
    secret = jwt_secret(name, provider, materials)
    if secret is not None and provider.secret is not None:
        message.shared_secret = secret[0]
    elif secret is not None:
        message.jwks_secret = secret[0]
    elif provider.jwks_url is not None:
        message.jwks_url = provider.jwks_url
    else:
        message.oidc_discovery = True
    return message


def _api_keys(name: str, keys: ApiKeys, materials: Materials) -> authz_pb2.ApiKeys:
    return authz_pb2.ApiKeys(
        name=name,
        source=_credential_source(keys.header, None, keys.query),
        keys_secret=api_keys_secret(name, keys, materials)[0],
        forward=keys.forward,
        forward_claims=_claim_headers(keys.forward_claims),
    )


def _signatures(gateway: Gateway, name: str, signatures: Signatures) -> authz_pb2.Signatures:
    redis = redis_secret(gateway)
    store = None if redis is None else authz_pb2.RedisStore(url_secret=redis[0], prefix=f"{gateway.name}:nonce:")
    return authz_pb2.Signatures(
        name=name,
        clients_secret=signatures_secret(name, signatures)[0],
        clock_skew=duration(signatures.clock_skew),
        signed_headers=[header.lower() for header in signatures.signed_headers],
        nonce_store=store,
    )


def _credential_source(header: str | None, cookie: str | None, query: str | None) -> authz_pb2.CredentialSource:
    if header is not None:
        return authz_pb2.CredentialSource(header=header.lower())
    return authz_pb2.CredentialSource(cookie=cookie) if cookie is not None else authz_pb2.CredentialSource(query=query)


def _claim_headers(forwarded: Mapping[str, str]) -> list[authz_pb2.ClaimHeader]:
    return [authz_pb2.ClaimHeader(claim=claim, header=header.lower()) for claim, header in sorted(forwarded.items())]


def _ip_rules(rules: IpRules) -> authz_pb2.IpRules:
    return authz_pb2.IpRules(allow=sorted(set(rules.allow)), deny=sorted(set(rules.deny)))


def _rate_limit(name: str, limit: RateLimit) -> authz_pb2.RateLimit:
    message = authz_pb2.RateLimit(
        name=name,
        rate=_rate(limit.rate),
        burst=limit.burst or 0,
        key=[_limit_key(key) for key in limit.key],
        cost=limit.cost,
        shadow=limit.shadow,
        on_store_error=_ON_STORE_ERROR[limit.on_store_error],
        before_authentication=_is_before_authentication(limit),
    )
    if limit.by is not None:
        message.by_attribute = limit.by.attribute
        for value, rate in limit.by.rates.items():
            message.by_value[value].CopyFrom(_rate(rate))
    return message


def _is_before_authentication(limit: RateLimit) -> bool:
    """Limits that need no identity are charged first, so that guessing credentials costs something."""
    return limit.by is None and all(key.startswith(_KEYS_KNOWN_BEFORE_AUTHENTICATION) for key in limit.key)


def _rate(rate: Rate) -> authz_pb2.Rate:
    return authz_pb2.Rate(count=rate.count, period=duration(rate.period))


def _limit_key(key: str) -> authz_pb2.LimitKey:
    kind, _, name = key.partition(":")
    match kind:
        case "header":
            return authz_pb2.LimitKey(header=name.lower())
        case "claim":
            return authz_pb2.LimitKey(claim=name)
        case "attribute":
            return authz_pb2.LimitKey(attribute=name)
        case "user":
            return authz_pb2.LimitKey(user=True)
        case "api_key":
            return authz_pb2.LimitKey(api_key=True)
        case "client_ip":
            return authz_pb2.LimitKey(client_ip=True)
        case "route":
            return authz_pb2.LimitKey(route=True)
        case _:
            raise ValueError(f"{key!r} is not a key of a rate limit")


def processing_policy(
    gateway: Gateway, route: EffectiveRoute, materials: Materials, *, invalidates: bool
) -> processing_pb2.ProcessingPolicy | None:
    """What ext_proc has to do, without its name; None for a route without cache and transform.

    Args:
        invalidates: the route's unsafe requests may change what another route has stored.
    """
    if route.cache is None and route.transform is None and not invalidates:
        return None
    policy = processing_pb2.ProcessingPolicy(gateway=gateway.name, invalidates=invalidates)
    if route.cache is not None:
        policy.cache.CopyFrom(_cache(gateway, route.cache))
    if route.transform is not None:
        fill_transform(policy, route.transform, materials)
    return policy


def _cache(gateway: Gateway, cache: Cache) -> processing_pb2.CachePolicy:
    return processing_pb2.CachePolicy(
        ttl=duration(cache.ttl) if cache.ttl is not None else None,
        vary=sorted({name.lower() for name in cache.vary}),
        scope=_SCOPES[cache.scope or "user"],
        max_body_bytes=cache.max_body,
        stale_while_revalidate=duration(cache.stale_while_revalidate),
        stale_if_error=duration(cache.stale_if_error),
        overrides=sorted({_OVERRIDES[name] for name in cache.override}),
        store=cache_store(gateway),
        query=query_parameters(cache.query) if cache.query is not None else None,
    )


def cache_store(gateway: Gateway) -> authz_pb2.RedisStore | None:
    """Where responses are shared; None for the memory of each process."""
    secret = redis_secret(gateway)
    if gateway.stores.cache != "redis" or secret is None:
        return None
    return authz_pb2.RedisStore(url_secret=secret[0], prefix=f"{gateway.name}:cache:")


def query_parameters(query: CacheQuery) -> processing_pb2.QueryParameters:
    """Which parameters of the query are part of the key."""
    kinds = processing_pb2.QueryParameters
    if query.allow is not None:
        return kinds(kind=kinds.ALLOW, names=sorted(set(query.allow)))
    return kinds(kind=kinds.IGNORE, names=sorted(set(query.ignore or ())))
