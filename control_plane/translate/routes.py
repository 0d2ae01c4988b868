"""RouteConfigurations: one per listener, named after it.

Envoy first picks the virtual host by the most specific name and only then walks its routes. The contract is "first
match wins over all hosts", so each route stands in every virtual host whose requests it may get, in file order.
"""

from collections.abc import Iterator, Mapping

from envoy.config.route.v3 import route_components_pb2, route_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.wrappers_pb2 import UInt32Value

from control_plane.config.effective import EffectiveRoute
from control_plane.config.model.listeners import ListenerRedirect
from control_plane.translate import names
from control_plane.translate.actions import set_action
from control_plane.translate.cors import preflight_routes
from control_plane.translate.http_filters import preflight_filters, route_filters
from control_plane.translate.invalidation import SAFE_METHODS
from control_plane.translate.matches import header_matchers, method_matcher, path_matches
from control_plane.translate.names import CLIENT_IP_HEADER
from control_plane.translate.retries import retries_by_method
from control_plane.translate.scope import ListenerScope

HEADERS_NEVER_SENT_UPSTREAM = (CLIENT_IP_HEADER, "x-envoy-external-address", "x-envoy-internal")
"""Removed by the router, after every filter: ours, and those that Envoy's connection manager adds."""
_ENVOYS_MAX_DIRECT_RESPONSE_BYTES = 4096


def route_configuration(scope: ListenerScope) -> route_pb2.RouteConfiguration:
    """The routes of one listener."""
    configuration = route_pb2.RouteConfiguration(
        name=scope.listener.name,
        virtual_hosts=_virtual_hosts(scope),
        # The Host header goes on as the client sent it; only the match ignores its port (and, always, its case).
        ignore_port_in_host_matching=True,
        request_headers_to_remove=HEADERS_NEVER_SENT_UPSTREAM,
    )
    largest = max(
        (len(route.direct_response.body.encode()) for route in scope.routes if route.direct_response), default=0
    )
    if largest > _ENVOYS_MAX_DIRECT_RESPONSE_BYTES:
        configuration.max_direct_response_body_size_bytes.CopyFrom(UInt32Value(value=largest))
    return configuration


def _virtual_hosts(scope: ListenerScope) -> list[route_components_pb2.VirtualHost]:
    if scope.listener.redirect is not None:
        return [_everything_redirected(scope.listener.redirect)]
    patterns = sorted({host.lower() for route in scope.routes for host in route.hosts})
    translated = {route.name: list(_translated(scope, route)) for route in scope.routes}
    return [
        route_components_pb2.VirtualHost(
            name=pattern,
            domains=[pattern],
            routes=[
                message
                for route in scope.routes
                if any(covers(host.lower(), pattern) for host in route.hosts)
                for message in translated[route.name]
            ],
        )
        for pattern in patterns
    ]


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
