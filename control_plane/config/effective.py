"""What holds for each route once `defaults` and built-in values are filled in.

The model says what the file says; this module says what it means. Its input is a Gateway without faults, so every
reference resolves and every route has exactly one target.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from operator import is_
from typing import Literal, TypeVar

from control_plane.config.model.base import Off, Section
from control_plane.config.model.gateway import Gateway
from control_plane.config.model.listeners import IpRules
from control_plane.config.model.routes import (
    Authentication,
    Backend,
    Cache,
    Compression,
    Cors,
    Deprecation,
    DirectResponse,
    Match,
    Mirror,
    Redirect,
    Retry,
    Rewrite,
    Route,
    RoutePolicies,
)
from control_plane.config.model.services import Service
from control_plane.config.model.transform import Transform
from control_plane.remembered import Remembered

Kind = Literal["proxy", "direct_response", "redirect"]
Origin = Literal["route", "defaults", "built in"]
FailureMode = Literal["open", "closed"]

DEFAULT_TIMEOUT = timedelta(seconds=15)
"""Envoy's own (config.route.v3.RouteAction.timeout); the contract names none."""

POLICY_KEYS: tuple[str, ...] = tuple(RoutePolicies.model_fields)
"""Every key that `defaults` and a route share, in the order of the model."""

_FOR_EVERY_KIND = frozenset(
    {"auth", "cors", "ip", "rate_limits", "deprecation", "access_log", "failure_mode", "shadow"}
)
_KEYS_OF_KIND: Mapping[Kind, frozenset[str]] = {
    "proxy": frozenset(POLICY_KEYS),
    "direct_response": _FOR_EVERY_KIND | {"compression"},
    "redirect": _FOR_EVERY_KIND,
}

T = TypeVar("T")
S = TypeVar("S", bound=Section | tuple[str, ...])


@dataclass(frozen=True, slots=True)
class EffectiveRoute:
    """One route as it will behave: nothing is left to be looked up in `defaults`."""

    name: str
    listeners: tuple[str, ...]
    """Names of the listeners that serve it; never empty."""
    hosts: tuple[str, ...]
    match: Match
    kind: Kind
    backends: tuple[Backend, ...]
    """`service: x` is one backend of weight 1. Empty for other kinds than proxy."""
    direct_response: DirectResponse | None
    redirect: Redirect | None
    is_stream: bool
    """timeout 0s, gRPC included: never buffered, cached or body-transformed."""

    auth: Authentication | None
    """None: public."""
    timeout: timedelta
    """Zero: none. Meaningless for other kinds than proxy."""
    retry: Retry | None
    cors: Cors | None
    compression: Compression | None
    rewrite: Rewrite | None
    mirror: Mirror | None
    ip: tuple[IpRules, ...]
    """Rule sets of `defaults` and of the route; all have to pass. The listener's own come on top of these."""
    max_request_body: int | None
    """Bytes; None: the listener's limits.request_body."""
    rate_limits: tuple[str, ...]
    cache: Cache | None
    """Its scope is never None."""
    transform: Transform | None
    deprecation: Deprecation | None
    upgrades: bool
    access_log: bool
    ext_authz_failure_mode: FailureMode
    ext_proc_failure_mode: FailureMode
    shadow: bool
    """What ext_authz would refuse passes and is counted."""
    origins: Mapping[str, Origin]
    """Where the value of each of POLICY_KEYS comes from."""


def effective_routes(gateway: Gateway) -> tuple[EffectiveRoute, ...]:
    """Return the routes in file order with defaults, built-in values and listeners filled in."""
    return EffectiveRoutes().of(gateway)


class EffectiveRoutes:
    """The same for one configuration after the other: a route that has not changed is the very same object again."""

    def __init__(self) -> None:
        self._known = Remembered[EffectiveRoute]()
        self._context: tuple[object, ...] = ()
        self._last: tuple[EffectiveRoute, ...] = ()

    def of(self, gateway: Gateway) -> tuple[EffectiveRoute, ...]:
        """The very same tuple if no route has changed."""
        serving = serving_listeners(gateway)
        context = (gateway.defaults, gateway.callouts, serving)
        if context != self._context:
            self._known.forget()
            self._context = context
        self._known.next_round()
        routes = tuple([self._one(gateway, route, serving) for route in gateway.routes])
        if len(routes) != len(self._last) or not all(map(is_, routes, self._last)):
            self._last = routes
        return self._last

    def _one(self, gateway: Gateway, route: Route, serving: tuple[str, ...]) -> EffectiveRoute:
        # Of services nothing but this matters.
        key = (route.name, leads_to_grpc(route, gateway.services))
        return self._known.of(key, (route,), lambda: _effective_route(gateway, route, serving))


def serving_listeners(gateway: Gateway) -> tuple[str, ...]:
    """Names of the listeners that serve routes: those that do not redirect everything."""
    return tuple(listener.name for listener in gateway.listeners if listener.redirect is None)


def kind_of(route: Route) -> Kind:
    """What a route leads to."""
    if route.redirect is not None:
        return "redirect"
    return "direct_response" if route.direct_response is not None else "proxy"


def applies(key: str, kind: Kind) -> bool:
    """Whether a key of RoutePolicies means anything on a route of this kind."""
    return key in _KEYS_OF_KIND[kind]


def backends_of(route: Route) -> tuple[Backend, ...]:
    """The backends of a route, `service: x` being one of weight 1."""
    if route.service is not None:
        return (Backend(service=route.service),)
    return route.backends or ()


def leads_to_grpc(route: Route, services: Mapping[str, Service]) -> bool:
    """Whether any backend of the route speaks gRPC."""
    if route.service is not None:
        return route.service in services and services[route.service].protocol == "grpc"
    return any(b.service in services and services[b.service].protocol == "grpc" for b in route.backends or ())


def _effective_route(gateway: Gateway, route: Route, serving: tuple[str, ...]) -> EffectiveRoute:
    chosen = _Chosen(route, gateway.defaults)
    kind = chosen.kind
    timeout = _timeout(chosen, gateway)
    is_stream = kind == "proxy" and not timeout
    auth = chosen.switchable("auth", route.auth, gateway.defaults.auth)
    transform = _transform(chosen, is_stream)
    return EffectiveRoute(
        name=route.name,
        listeners=route.listeners or serving,
        hosts=route.hosts,
        match=route.match,
        kind=kind,
        backends=backends_of(route),
        direct_response=route.direct_response,
        redirect=route.redirect,
        is_stream=is_stream,
        auth=auth,
        timeout=timeout,
        retry=chosen.switchable("retry", route.retry, gateway.defaults.retry),
        cors=chosen.switchable("cors", route.cors, gateway.defaults.cors),
        compression=chosen.switchable("compression", route.compression, gateway.defaults.compression),
        rewrite=chosen.switchable("rewrite", route.rewrite, gateway.defaults.rewrite),
        mirror=chosen.switchable("mirror", route.mirror, gateway.defaults.mirror),
        ip=_ip(chosen),
        max_request_body=chosen.get("max_request_body", route.max_request_body, gateway.defaults.max_request_body),
        rate_limits=chosen.switchable("rate_limits", route.rate_limits, gateway.defaults.rate_limits) or (),
        cache=_cache(chosen, auth, is_stream),
        transform=transform,
        deprecation=chosen.switchable("deprecation", route.deprecation, gateway.defaults.deprecation),
        upgrades=chosen.get("upgrades", route.upgrades, gateway.defaults.upgrades) is None,
        access_log=chosen.get("access_log", route.access_log, gateway.defaults.access_log) is None,
        ext_authz_failure_mode=_ext_authz_failure_mode(chosen, gateway),
        ext_proc_failure_mode=_ext_proc_failure_mode(chosen, gateway, transform),
        shadow=chosen.get("shadow", route.shadow, gateway.defaults.shadow) or False,
        origins=chosen.origins,
    )


class _Chosen:
    """Picks route before defaults before nothing, and remembers which it was."""

    def __init__(self, route: Route, defaults: RoutePolicies) -> None:
        self.route = route
        self.defaults = defaults
        self.kind = kind_of(route)
        self.origins: dict[str, Origin] = dict.fromkeys(POLICY_KEYS, "built in")

    def get(self, key: str, own: T | None, default: T | None) -> T | None:
        if own is not None:
            self.origins[key] = "route"
            return own
        if default is not None and applies(key, self.kind):
            self.origins[key] = "defaults"
            return default
        return None

    def switchable(self, key: str, own: S | Off | None, default: S | Off | None) -> S | None:
        """Like get, of a key that `none` switches off."""
        value: S | Off | None = self.get(key, own, default)
        return None if isinstance(value, str) else value

    def drop(self, key: str) -> None:
        """Forget a value that turned out not to apply."""
        self.origins[key] = "built in"


def _timeout(chosen: _Chosen, gateway: Gateway) -> timedelta:
    """A route to gRPC has none unless the route itself says so: a default meant for pages would cut its streams."""
    if chosen.route.timeout is None and leads_to_grpc(chosen.route, gateway.services):
        return timedelta(0)
    timeout = chosen.get("timeout", chosen.route.timeout, chosen.defaults.timeout)
    return DEFAULT_TIMEOUT if timeout is None else timeout


def _ip(chosen: _Chosen) -> tuple[IpRules, ...]:
    """The rules of `defaults` hold in addition to the route's own; only `ip: none` leaves them out."""
    own, default = chosen.route.ip, chosen.defaults.ip
    chosen.get("ip", own, default)
    if own == "none":
        return ()
    return tuple(rules for rules in (default, own) if rules is not None and rules != "none")


def _cache(chosen: _Chosen, auth: Authentication | None, is_stream: bool) -> Cache | None:
    cache = chosen.switchable("cache", chosen.route.cache, chosen.defaults.cache)
    if cache is None or is_stream:
        chosen.drop("cache") if is_stream else None
        return None
    if auth is None:
        # A default scope `user` cannot apply to a public route; on the route itself it is a fault.
        return cache.model_copy(update={"scope": "public"})
    return cache.model_copy(update={"scope": cache.scope or "user"})


def _transform(chosen: _Chosen, is_stream: bool) -> Transform | None:
    transform = chosen.switchable("transform", chosen.route.transform, chosen.defaults.transform)
    if transform is None or not is_stream:
        return transform
    headers_alone = {"body": (), "validation": None}
    return transform.model_copy(
        update={
            "request": transform.request.model_copy(update=headers_alone),
            "response": transform.response.model_copy(update=headers_alone),
        }
    )


def _ext_authz_failure_mode(chosen: _Chosen, gateway: Gateway) -> FailureMode:
    mode = chosen.get("failure_mode", chosen.route.failure_mode, chosen.defaults.failure_mode)
    return (mode.ext_authz if mode else None) or gateway.callouts.ext_authz.failure_mode


def _ext_proc_failure_mode(chosen: _Chosen, gateway: Gateway, transform: Transform | None) -> FailureMode:
    """Closed where a message that passed untouched would show what a redaction hides, or reach a service unchecked."""
    mode = chosen.get("failure_mode", chosen.route.failure_mode, chosen.defaults.failure_mode)
    if mode is not None and mode.ext_proc is not None:
        return mode.ext_proc
    if transform is not None and transform.needs_bodies:
        return "closed"
    return gateway.callouts.ext_proc.failure_mode
