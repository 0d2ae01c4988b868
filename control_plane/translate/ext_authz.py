"""The ext_authz filter: what is asked before a request may go on.

What a check carries (for whoever reads CheckRequests): `attributes.request.http.header_map` with raw values, one entry
per header line (Envoy joins repeated Authorization lines with a comma all the same), of the headers in
`allowed_headers()` only; `raw_body` on signed routes; context extensions `policy` and `route`.
"""

from collections.abc import Iterator
from datetime import timedelta

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import backoff_pb2, base_pb2, config_source_pb2, grpc_service_pb2
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.type.matcher.v3 import string_pb2
from envoy.type.v3 import http_status_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from control_plane.config.effective import EffectiveRoute
from control_plane.config.model.gateway import Gateway
from control_plane.translate import names
from control_plane.translate.messages import duration, exact_any_case, packed
from control_plane.translate.scope import ListenerScope

SIGNATURE_HEADER_PREFIX = "x-signature"
"""Client id, time, nonce and the signature of a signed request stand in headers that begin so."""
_RETRY_BASE = timedelta(milliseconds=5)
_ALWAYS_SENT = (
    names.CLIENT_IP_HEADER,
    "authorization",  # a credential where none is expected is refused too
    "content-type",  # gRPC callers are answered with a grpc-status
    "x-request-id",
)
_BODY_HEADERS = frozenset({"content-length", "transfer-encoding", "upgrade", "x-envoy-auth-partial-body"})
"""Tell ext_authz whether it got the whole body."""


def authz_filters(scope: ListenerScope) -> Iterator[http_connection_manager_pb2.HttpFilter]:
    """The filter with the failure mode of `callouts`, and a second one if a route wants the other mode.

    Envoy cannot set failure_mode_allow per route, hence two filters of which every route uses at most one.
    """
    mode = scope.gateway.callouts.ext_authz.failure_mode
    yield http_connection_manager_pb2.HttpFilter(
        name=names.EXT_AUTHZ_FILTER, typed_config=packed(_ext_authz(scope, is_open=mode == "open"))
    )
    if any(route.ext_authz_failure_mode != mode for route in scope.routes):
        yield http_connection_manager_pb2.HttpFilter(
            name=names.EXT_AUTHZ_OTHER_MODE_FILTER,
            typed_config=packed(_ext_authz(scope, is_open=mode != "open")),
            disabled=True,
        )


def authz_of_route(scope: ListenerScope, route: EffectiveRoute) -> Iterator[tuple[str, Any]]:
    """Per-route configurations by filter: the policy to ask for, or nothing to ask."""
    policy = scope.policies_of(route).authz
    if policy is None:
        yield names.EXT_AUTHZ_FILTER, authz_disabled()
        return
    configuration = packed(_per_route(scope, route, policy))
    if route.ext_authz_failure_mode == scope.gateway.callouts.ext_authz.failure_mode:
        yield names.EXT_AUTHZ_FILTER, configuration
    else:
        yield names.EXT_AUTHZ_FILTER, authz_disabled()
        yield names.EXT_AUTHZ_OTHER_MODE_FILTER, configuration


def authz_disabled() -> Any:
    """For public routes without limits and address rules, and for preflights."""
    return packed(ext_authz_pb2.ExtAuthzPerRoute(disabled=True))


def allowed_headers(gateway: Gateway) -> list[string_pb2.StringMatcher]:
    """The request headers that some policy of this gateway may look at; the fewer, the cheaper each check."""
    wanted = set(_ALWAYS_SENT)
    for provider in gateway.auth.jwt.values():
        wanted |= {source.header.lower() for source in provider.token if source.header}
        if any(source.cookie for source in provider.token):
            wanted.add("cookie")
    wanted |= {keys.header.lower() for keys in gateway.auth.api_keys.values() if keys.header}
    for signatures in gateway.auth.signatures.values():
        wanted |= {header.lower() for header in signatures.signed_headers}
    for limit in gateway.rate_limits.values():
        wanted |= {key.removeprefix("header:").lower() for key in limit.key if key.startswith("header:")}
    if gateway.auth.signatures:
        wanted |= _BODY_HEADERS
    matchers = exact_any_case(wanted)
    if gateway.auth.signatures:
        matchers.append(string_pb2.StringMatcher(prefix=SIGNATURE_HEADER_PREFIX, ignore_case=True))
    return matchers


def _ext_authz(scope: ListenerScope, *, is_open: bool) -> ext_authz_pb2.ExtAuthz:
    message = ext_authz_pb2.ExtAuthz(
        transport_api_version=config_source_pb2.V3,
        grpc_service=_grpc_service(scope.gateway),
        failure_mode_allow=is_open,
        # The header would tell services that a check was skipped, and a client can send it as well.
        failure_mode_allow_header_add=False,
        status_on_error=http_status_pb2.HttpStatus(code=http_status_pb2.ServiceUnavailable),
        # A faulty mutation is our fault and ends the request instead of reaching a service.
        validate_mutations=True,
        # ext_authz sets headers; path, method and host are the router's (query parameters are removed by name).
        decoder_header_mutation_rules=mutation_rules_pb2.HeaderMutationRules(disallow_system=BoolValue(value=True)),
        # Denials are no answers of the service, so they do not count in its cluster's statistics.
        charge_cluster_response_stats=BoolValue(value=False),
        encode_raw_headers=True,
    )
    message.allowed_headers.patterns.extend(allowed_headers(scope.gateway))
    signed = [scope.max_request_body(route) for route in scope.routes if scope.is_signed(route)]
    if signed:
        message.with_request_body.CopyFrom(_body(max(signed)))
    return message


def _grpc_service(gateway: Gateway) -> grpc_service_pb2.GrpcService:
    """A check that never reached a worker goes to another one; one that did is not repeated: it may have charged."""
    timeout = gateway.callouts.ext_authz.timeout
    service = grpc_service_pb2.GrpcService(
        envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=names.EXT_AUTHZ_CLUSTER),
        timeout=duration(timeout),
    )
    service.retry_policy.CopyFrom(
        base_pb2.RetryPolicy(
            retry_on="connect-failure,refused-stream",
            num_retries=UInt32Value(value=1),
            # Envoy's own back-off for gRPC begins at up to 500 ms, which is all the time there is.
            # Its max_interval is also the timeout of each try (Envoy's Http::Utility::convertCoreToRouteRetryPolicy): a
            # shorter one than the whole call's fails every check that a busy worker answers late.
            retry_back_off=backoff_pb2.BackoffStrategy(
                base_interval=duration(min(_RETRY_BASE, timeout)), max_interval=duration(timeout)
            ),
            retry_host_predicate=[
                base_pb2.RetryPolicy.RetryHostPredicate(
                    name="envoy.retry_host_predicates.previous_hosts",
                    typed_config=packed(previous_hosts_pb2.PreviousHostsPredicate()),
                )
            ],
            host_selection_retry_max_attempts=3,
        )
    )
    return service


def _per_route(scope: ListenerScope, route: EffectiveRoute, policy: str) -> ext_authz_pb2.ExtAuthzPerRoute:
    settings = ext_authz_pb2.CheckSettings(
        context_extensions={names.POLICY_EXTENSION: policy, names.ROUTE_EXTENSION: route.name}
    )
    if scope.is_signed(route):
        settings.with_request_body.CopyFrom(_body(scope.max_request_body(route)))
    elif scope.has_signed_routes:
        settings.disable_request_body_buffering = True
    return ext_authz_pb2.ExtAuthzPerRoute(check_settings=settings)


def _body(max_bytes: int) -> ext_authz_pb2.BufferSettings:
    """pack_as_bytes counts only at the filter; without it bytes that are no UTF-8 arrive as `!` and share a digest."""
    return ext_authz_pb2.BufferSettings(max_request_bytes=max(max_bytes, 1), pack_as_bytes=True)
