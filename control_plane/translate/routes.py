"""RouteConfigurations: one per listener, named after it.

Envoy first picks the virtual host by the most specific name and only then walks its routes. The contract is "first
match wins over all hosts", so each route stands in every virtual host whose requests it may get, in file order.
"""

import itertools
from collections.abc import Iterator, Mapping

from envoy.config.route.v3 import route_components_pb2, route_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import UInt32Value

from control_plane.config.effective import EffectiveRoute
from control_plane.config.model.listeners import ListenerRedirect
from control_plane.remembered import Remembered
from control_plane.translate import names
from control_plane.translate.actions import set_action
from control_plane.translate.cors import preflight_routes
from control_plane.translate.http_filters import preflight_filters, route_filters
from control_plane.translate.invalidation import SAFE_METHODS
from control_plane.translate.matches import header_matchers, method_matcher, path_matches
from control_plane.translate.names import CLIENT_IP_HEADER
from control_plane.translate.retries import retries_by_method
from control_plane.translate.scope import ListenerScope
from policy.wire import delimited

HEADERS_NEVER_SENT_UPSTREAM = (CLIENT_IP_HEADER, "x-envoy-external-address", "x-envoy-internal")
"""Removed by the router, after every filter: ours, and those that Envoy's connection manager adds."""
_ENVOYS_MAX_DIRECT_RESPONSE_BYTES = 4096
# Numbers of fields, of messages in envoy/config/route/v3.
_VIRTUAL_HOSTS = 2
_ROUTES = 3


KnownRoutes = Remembered[tuple[bytes, ...]]
"""Serialised Envoy routes of routes, while the gateway's other sections stay equal."""


def route_configuration(scope: ListenerScope, known: KnownRoutes | None = None) -> bytes:
    """The routes of one listener, as a serialised RouteConfiguration.

    Put together from serialised parts, in the order of their fields: copying a thousand routes through messages would
    cost more than everything else that an edit of one of them needs.

    Args:
        known: of an earlier call for a gateway that differs in its routes and services only.
    """
    configuration = route_pb2.RouteConfiguration(
        # The Host header goes on as the client sent it; only the match ignores its port (and, always, its case).
        ignore_port_in_host_matching=True,
        request_headers_to_remove=HEADERS_NEVER_SENT_UPSTREAM,
    )
    largest = max(
        (len(route.direct_response.body.encode()) for route in scope.routes if route.direct_response), default=0
    )
    if largest > _ENVOYS_MAX_DIRECT_RESPONSE_BYTES:
        configuration.max_direct_response_body_size_bytes.CopyFrom(UInt32Value(value=largest))
    hosts = _virtual_hosts(scope, known if known is not None else KnownRoutes())
    name = route_pb2.RouteConfiguration(name=scope.listener.name)
    return _bytes(name) + b"".join(delimited(_VIRTUAL_HOSTS, host) for host in hosts) + _bytes(configuration)


def _virtual_hosts(scope: ListenerScope, known: KnownRoutes) -> Iterator[bytes]:
    if scope.listener.redirect is not None:
        yield _bytes(_everything_redirected(scope.listener.redirect))
        return
    patterns = sorted({host.lower() for route in scope.routes for host in route.hosts})
    translated = [(route, _framed_routes(scope, route, known)) for route in scope.routes]
    for pattern in patterns:
        head = _bytes(route_components_pb2.VirtualHost(name=pattern, domains=[pattern]))
        own = (framed for route, framed in translated if any(covers(host.lower(), pattern) for host in route.hosts))
        yield head + b"".join(itertools.chain.from_iterable(own))


def _framed_routes(scope: ListenerScope, route: EffectiveRoute, known: KnownRoutes) -> tuple[bytes, ...]:
    """What a route has become, each as a field of its virtual host."""
    listener, traits = scope.listener.name, scope.traits_of(route)
    key = (listener, route.name, scope.policies_of(route), scope.has_signed_routes, traits)

    def make() -> tuple[bytes, ...]:
        return tuple(delimited(_ROUTES, _bytes(message)) for message in _translated(scope, route))

    return known.of(key, (route,), make)


def _bytes(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def covers(pattern: str, other: str) -> bool:
    """Whether every request for `other` (a name, `*.name` or `*`) is one for `pattern`.

    Requests for a virtual host that `pattern` covers only in part go to a more specific one: `pattern` has its own.
    """
    if pattern in ("*", other):
        return True
    return pattern.startswith("*.") and other.removeprefix("*").endswith(pattern[1:])


def _translated(scope: ListenerScope, route: EffectiveRoute) -> Iterator[route_components_pb2.Route]:
    """One route of gateway.yaml as Envoy routes: preflights first, then a route per path and kind of method."""
    if route.cors is not None:
        for preflight in preflight_routes(route):
            yield _with_filters(preflight, preflight_filters(route.cors))
    filters = route_filters(scope, route)
    for match in path_matches(route.match):
        match.headers.extend(header_matchers(route.match))
        for retry in retries_by_method(route.retry, route.match.methods):
            message = route_components_pb2.Route(name=route.name, match=match)
            if retry.methods is not None:
                message.match.headers.insert(0, method_matcher(retry.methods))
            set_action(message, scope, route, retry.policy)
            if scope.policies_of(route).unsafe_only and names.EXT_PROC_FILTER in filters:
                yield from _unsafe_apart(message, retry.methods, filters)
            else:
                yield _with_filters(message, filters)


def _unsafe_apart(
    message: route_components_pb2.Route, methods: tuple[str, ...] | None, filters: Mapping[str, Any]
) -> Iterator[route_components_pb2.Route]:
    """Two Envoy routes, the first for safe methods: only the others pay for ext_proc.

    Args:
        methods: what the route matches already; None for every method.
    """
    safe = sorted(SAFE_METHODS if methods is None else SAFE_METHODS & set(methods))
    if safe:
        apart = route_components_pb2.Route()
        apart.CopyFrom(message)
        if methods is not None:
            del apart.match.headers[0]
        apart.match.headers.insert(0, method_matcher(safe))
        yield _with_filters(apart, {name: one for name, one in filters.items() if name != names.EXT_PROC_FILTER})
    if methods is None or not SAFE_METHODS.issuperset(methods):
        yield _with_filters(message, filters)


def _with_filters(message: route_components_pb2.Route, filters: Mapping[str, Any]) -> route_components_pb2.Route:
    for name, configuration in filters.items():
        message.typed_per_filter_config[name].CopyFrom(configuration)
    return message


def _everything_redirected(redirect: ListenerRedirect) -> route_components_pb2.VirtualHost:
    """308 to the same host, path and query with another scheme."""
    action = route_components_pb2.RedirectAction(
        https_redirect=True, response_code=route_components_pb2.RedirectAction.PERMANENT_REDIRECT
    )
    if redirect.port is not None:
        action.port_redirect = redirect.port
    return route_components_pb2.VirtualHost(
        name="*",
        domains=["*"],
        routes=[
            route_components_pb2.Route(
                name="redirect", match=route_components_pb2.RouteMatch(prefix="/"), redirect=action
            )
        ],
    )
