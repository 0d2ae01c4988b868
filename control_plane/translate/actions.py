"""Route actions: where a matched request goes and what the service sees."""

import re
from datetime import timedelta

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.type.matcher.v3 import regex_pb2
from envoy.type.v3 import percent_pb2
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from control_plane.config.effective import EffectiveRoute
from control_plane.config.model.routes import DirectResponse, Mirror, Redirect, Rewrite
from control_plane.config.model.services import Service
from control_plane.translate.messages import duration, header, regex
from control_plane.translate.names import IDENTITY_STATE
from control_plane.translate.scope import ListenerScope

WEBSOCKET = "websocket"
_REDIRECT_CODES = {
    301: route_components_pb2.RedirectAction.MOVED_PERMANENTLY,
    302: route_components_pb2.RedirectAction.FOUND,
    303: route_components_pb2.RedirectAction.SEE_OTHER,
    307: route_components_pb2.RedirectAction.TEMPORARY_REDIRECT,
    308: route_components_pb2.RedirectAction.PERMANENT_REDIRECT,
}
_WHOLE_PATH = "^/.*$"


def set_action(
    message: route_components_pb2.Route,
    scope: ListenerScope,
    route: EffectiveRoute,
    retry_policy: route_components_pb2.RetryPolicy | None,
) -> None:
    """Give a matched request its target."""
    if route.direct_response is not None:
        set_direct_response(message, route.direct_response)
    elif route.redirect is not None:
        message.redirect.CopyFrom(redirect_action(route.redirect, message.match))
    else:
        message.route.CopyFrom(route_action(scope, route, message.match, retry_policy))


def set_direct_response(message: route_components_pb2.Route, response: DirectResponse) -> None:
    message.direct_response.status = response.status
    if response.body:
        message.direct_response.body.CopyFrom(base_pb2.DataSource(inline_string=response.body))
        message.response_headers_to_add.append(header("content-type", response.content_type))
    for name, value in sorted(response.headers.items()):
        message.response_headers_to_add.append(header(name, value))


def redirect_action(redirect: Redirect, match: route_components_pb2.RouteMatch) -> route_components_pb2.RedirectAction:
    """The query always stays: Envoy keeps it unless the new path brings its own."""
    action = route_components_pb2.RedirectAction(response_code=_REDIRECT_CODES[redirect.status])
    if redirect.scheme is not None:
        action.scheme_redirect = redirect.scheme
    if redirect.host is not None:
        action.host_redirect = redirect.host
    if redirect.port is not None:
        action.port_redirect = redirect.port
    if redirect.path is not None:
        action.path_redirect = redirect.path
    elif redirect.path_prefix is not None:
        set_prefix_rewrite(action, match, redirect.path_prefix)
    return action


def route_action(
    scope: ListenerScope,
    route: EffectiveRoute,
    match: route_components_pb2.RouteMatch,
    retry_policy: route_components_pb2.RetryPolicy | None,
) -> route_components_pb2.RouteAction:
    """Forward to the route's services."""
    services = scope.services_of(route)
    action = route_components_pb2.RouteAction(
        timeout=duration(route.timeout), retry_policy=retry_policy, hash_policy=_hash_policies(services)
    )
    _set_clusters(action, route)
    _set_idle_timeout(action, scope, route)
    if route.rewrite is not None:
        _set_rewrite(action, match, route.rewrite)
    if route.mirror is not None:
        action.request_mirror_policies.append(_mirror_policy(route.mirror))
    if not route.upgrades:
        action.upgrade_configs.append(
            route_components_pb2.RouteAction.UpgradeConfig(upgrade_type=WEBSOCKET, enabled=BoolValue(value=False))
        )
    if any(service.protocol == "grpc" for service in services):
        _set_stream_duration(action, route.timeout)
    return action


def _set_stream_duration(action: route_components_pb2.RouteAction, timeout: timedelta) -> None:
    """Streams end with the timeout too: Envoy's own begins when the client has sent its last message.

    A client's grpc-timeout may be shorter; without a timeout of the route it holds as it is.
    """
    action.max_stream_duration.grpc_timeout_header_max.CopyFrom(duration(timeout))
    if timeout:
        action.max_stream_duration.max_stream_duration.CopyFrom(duration(timeout))


def _set_clusters(action: route_components_pb2.RouteAction, route: EffectiveRoute) -> None:
    if len(route.backends) == 1:
        action.cluster = route.backends[0].service
        return
    for backend in route.backends:
        action.weighted_clusters.clusters.append(
            route_components_pb2.WeightedCluster.ClusterWeight(
                name=backend.service, weight=UInt32Value(value=backend.weight)
            )
        )


def _set_idle_timeout(action: route_components_pb2.RouteAction, scope: ListenerScope, route: EffectiveRoute) -> None:
    """A request that may take longer than the listener's idle timeout must not be cut while it is being answered."""
    if route.timeout >= scope.listener.limits.idle_timeout:
        action.idle_timeout.CopyFrom(duration(route.timeout + timedelta(seconds=1)))


def _set_rewrite(
    action: route_components_pb2.RouteAction, match: route_components_pb2.RouteMatch, rewrite: Rewrite
) -> None:
    if rewrite.host is not None:
        action.host_rewrite_literal = rewrite.host
    if rewrite.path is not None:
        action.regex_rewrite.CopyFrom(_substitution(_WHOLE_PATH, _literal(rewrite.path)))
    elif rewrite.path_prefix is not None:
        set_prefix_rewrite(action, match, rewrite.path_prefix)
    elif rewrite.regex is not None:
        action.regex_rewrite.CopyFrom(_substitution(rewrite.regex.match, rewrite.regex.replace))


def set_prefix_rewrite(
    action: route_components_pb2.RouteAction | route_components_pb2.RedirectAction,
    match: route_components_pb2.RouteMatch,
    replacement: str,
) -> None:
    """Exchange the matched prefix without ever making `//` or gluing two segments together.

    Envoy replaces text: /api -> / would make /api/x //x, and / -> /v1 would make /x /v1x.
    """
    segments = replacement.rstrip("/")
    matched = match.path_separated_prefix
    if not matched and not match.prefix:
        action.prefix_rewrite = replacement  # an exact path or a regex: the whole path was matched
    elif not matched:
        action.prefix_rewrite = f"{segments}/"
    elif segments:
        action.prefix_rewrite = segments
    else:
        action.regex_rewrite.CopyFrom(_substitution(f"^{re.escape(matched)}/*", "/"))


def _substitution(pattern: str, replacement: str) -> regex_pb2.RegexMatchAndSubstitute:
    return regex_pb2.RegexMatchAndSubstitute(pattern=regex(pattern), substitution=replacement)


def _literal(text: str) -> str:
    """RE2 reads a backslash in a substitution as a reference to a group."""
    return text.replace("\\", "\\\\")


def _mirror_policy(mirror: Mirror) -> route_components_pb2.RouteAction.RequestMirrorPolicy:
    return route_components_pb2.RouteAction.RequestMirrorPolicy(
        cluster=mirror.service,
        runtime_fraction=base_pb2.RuntimeFractionalPercent(
            default_value=percent_pb2.FractionalPercent(numerator=mirror.percent)
        ),
        # A shadow that sees another Host than the original would not be a copy.
        disable_shadow_host_suffix_append=True,
    )


def _hash_policies(services: tuple[Service, ...]) -> list[route_components_pb2.RouteAction.HashPolicy]:
    """The keys of every backend that hashes, in order, each once."""
    keys: dict[str, None] = {}
    for service in services:
        if service.load_balancing.hash is not None:
            keys.update(dict.fromkeys(service.load_balancing.hash.key))
    return [_hash_policy(key) for key in keys]


def _hash_policy(key: str) -> route_components_pb2.RouteAction.HashPolicy:
    kind, _, name = key.partition(":")
    policy = route_components_pb2.RouteAction.HashPolicy()
    match kind:
        case "cookie":
            policy.cookie.CopyFrom(_session_cookie(name))
        case "header":
            policy.header.header_name = name.lower()
        case "user":
            policy.filter_state.key = IDENTITY_STATE
        case _:
            policy.connection_properties.source_ip = True
    return policy


def _session_cookie(name: str) -> route_components_pb2.RouteAction.HashPolicy.Cookie:
    """Set when missing (that is what a ttl asks for), 0 being the browser's session."""
    attribute = route_components_pb2.RouteAction.HashPolicy.CookieAttribute  # HttpOnly is Envoy's own
    return route_components_pb2.RouteAction.HashPolicy.Cookie(
        name=name,
        ttl=duration(timedelta(0)),
        path="/",
        attributes=[attribute(name="SameSite", value="Lax")],
    )
