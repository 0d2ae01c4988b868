"""Request bodies over the limit are refused with 413, and nothing is buffered that need not be.

Envoy's only filter that counts a body is `buffer`, which holds all of it. A body with a Content-Length cannot be longer
than it says (the codec sees to that), so an RBAC rule on that header decides without reading. Only bodies of unknown
length are buffered up to the limit, and never those of streams: gRPC, upgrades, and routes with `timeout: 0s`.
"""

from collections.abc import Iterator

from envoy.config.rbac.v3 import rbac_pb2 as rules_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.common.matching.v3 import extension_matcher_pb2
from envoy.extensions.filters.common.matcher.action.v3 import skip_action_pb2
from envoy.extensions.filters.http.buffer.v3 import buffer_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.type.matcher.v3 import http_inputs_pb2
from envoy.type.v3 import range_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.wrappers_pb2 import UInt32Value
from xds.core.v3 import extension_pb2 as xds_extension_pb2
from xds.type.matcher.v3 import matcher_pb2, regex_pb2, string_pb2

from control_plane.config.effective import EffectiveRoute
from control_plane.translate import names
from control_plane.translate.messages import extension, packed
from control_plane.translate.scope import ListenerScope

_INT64_MAX = (1 << 63) - 1
_ANY_VALUE = string_pb2.StringMatcher(
    safe_regex=regex_pb2.RegexMatcher(google_re2=regex_pb2.RegexMatcher.GoogleRE2(), regex=".+")
)


def body_length_filter(scope: ListenerScope) -> http_connection_manager_pb2.HttpFilter:
    """Refuses by Content-Length, with the listener's limit unless the route has its own."""
    return http_connection_manager_pb2.HttpFilter(
        name=names.BODY_LENGTH_FILTER, typed_config=packed(_length_rule(scope.listener.limits.request_body))
    )


def buffer_filter(scope: ListenerScope) -> http_connection_manager_pb2.HttpFilter:
    """Counts bodies of unknown length, with the listener's limit unless the route has its own."""
    matched = extension_matcher_pb2.ExtensionWithMatcher(
        extension_config=extension(names.BUFFER_FILTER, _buffer(scope.listener.limits.request_body)),
        xds_matcher=_skip_if_length_known_or_stream(),
    )
    return http_connection_manager_pb2.HttpFilter(name=names.BUFFER_FILTER, typed_config=packed(matched))


def body_limits_of_route(scope: ListenerScope, route: EffectiveRoute) -> Iterator[tuple[str, Any]]:
    """Per-route configurations by filter, where the route differs from the listener."""
    limit = scope.max_request_body(route)
    differs = limit != scope.listener.limits.request_body
    if differs:
        yield names.BODY_LENGTH_FILTER, packed(rbac_pb2.RBACPerRoute(rbac=_length_rule(limit)))
    if route.is_stream:
        yield names.BUFFER_FILTER, packed(buffer_pb2.BufferPerRoute(disabled=True))
    elif differs:
        yield names.BUFFER_FILTER, packed(buffer_pb2.BufferPerRoute(buffer=_buffer(limit)))


def _buffer(limit: int) -> buffer_pb2.Buffer:
    return buffer_pb2.Buffer(max_request_bytes=UInt32Value(value=max(limit, 1)))


def _length_rule(limit: int) -> rbac_pb2.RBAC:
    too_long = route_components_pb2.HeaderMatcher(
        name="content-length", range_match=range_pb2.Int64Range(start=limit + 1, end=_INT64_MAX)
    )
    policy = rules_pb2.Policy(
        permissions=[rules_pb2.Permission(header=too_long)], principals=[rules_pb2.Principal(any=True)]
    )
    return rbac_pb2.RBAC(rules=rules_pb2.RBAC(action=rules_pb2.RBAC.DENY, policies={names.BODY_TOO_LARGE_RULE: policy}))


def _skip_if_length_known_or_stream() -> matcher_pb2.Matcher:
    """Skip the buffer filter if any of these request headers says so."""
    predicates = (
        _header_matches("content-length", _ANY_VALUE),
        _header_matches("content-type", string_pb2.StringMatcher(prefix="application/grpc")),
        _header_matches("upgrade", _ANY_VALUE),
        # Has no end before it is answered; no route takes it, and the filter would wait for the whole request timeout.
        _header_matches(":method", string_pb2.StringMatcher(exact="CONNECT")),
    )
    predicate = matcher_pb2.Matcher.MatcherList.Predicate
    return matcher_pb2.Matcher(
        matcher_list=matcher_pb2.Matcher.MatcherList(
            matchers=[
                matcher_pb2.Matcher.MatcherList.FieldMatcher(
                    predicate=predicate(or_matcher=predicate.PredicateList(predicate=predicates)),
                    on_match=matcher_pb2.Matcher.OnMatch(
                        action=_xds_extension("skip", packed(skip_action_pb2.SkipFilter()))
                    ),
                )
            ]
        )
    )


def _header_matches(name: str, value: string_pb2.StringMatcher) -> matcher_pb2.Matcher.MatcherList.Predicate:
    predicate = matcher_pb2.Matcher.MatcherList.Predicate
    return predicate(
        single_predicate=predicate.SinglePredicate(
            input=_xds_extension(name, packed(http_inputs_pb2.HttpRequestHeaderMatchInput(header_name=name))),
            value_match=value,
        )
    )


def _xds_extension(name: str, configuration: Any) -> xds_extension_pb2.TypedExtensionConfig:
    return xds_extension_pb2.TypedExtensionConfig(name=name, typed_config=configuration)
