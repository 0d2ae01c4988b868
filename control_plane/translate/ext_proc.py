"""The ext_proc filter: cache and transformations of the routes that have them."""

from datetime import timedelta

from envoy.config.core.v3 import base_pb2, grpc_service_pb2
from envoy.extensions.filters.http.ext_proc.v3 import ext_proc_pb2, processing_mode_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.type.v3 import http_status_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.wrappers_pb2 import BoolValue

from control_plane.config.effective import EffectiveRoute
from control_plane.translate import names
from control_plane.translate.messages import duration, packed
from control_plane.translate.plain import ALLOW_CONTENT_LENGTH_HEADER
from control_plane.translate.scope import ListenerScope

MAX_MESSAGE_TIMEOUT = timedelta(seconds=30)
"""How long ext_proc may ask Envoy to wait, once, while a request waits for another's answer (single-flight)."""


def ext_proc_filter(scope: ListenerScope) -> http_connection_manager_pb2.HttpFilter:
    """Off unless a route switches it on.

    The response side is off until ext_proc asks for it in its answer to the request headers: denials, preflights and
    Envoy's own replies pass this filter too, and would each cost a callout, be transformed, and become 500s while
    ext_proc is dead.
    """
    mode = processing_mode_pb2.ProcessingMode
    callout = scope.gateway.callouts.ext_proc
    message = ext_proc_pb2.ExternalProcessor(
        grpc_service=grpc_service_pb2.GrpcService(
            envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=names.EXT_PROC_CLUSTER)
        ),
        failure_mode_allow=callout.failure_mode == "open",
        processing_mode=mode(
            request_header_mode=mode.SEND,
            response_header_mode=mode.SKIP,
            request_body_mode=mode.NONE,
            response_body_mode=mode.NONE,
            request_trailer_mode=mode.SKIP,
            response_trailer_mode=mode.SKIP,
        ),
        allow_mode_override=True,
        message_timeout=duration(callout.message_timeout),
        max_message_timeout=duration(MAX_MESSAGE_TIMEOUT),
        # The route stands when this filter runs, whatever a transform makes of the path or the headers afterwards: what
        # a client may do is decided by what it asked for.
        route_cache_action=ext_proc_pb2.ExternalProcessor.RETAIN,
        # Only what a service answered may be stored; Envoy's own replies arrive as response headers as well.
        response_attributes=["response.code_details", "response.flags"],
        metadata_options=_metadata_options(),
        status_on_error=http_status_pb2.HttpStatus(code=http_status_pb2.ServiceUnavailable),
    )
    # A body that ext_proc changes has come whole, and goes with the length that it says; without this Envoy would leave
    # it without any, since it cannot know that in the mode BUFFERED_PARTIAL (see ext_proc/messages.py for why that).
    message.MergeFromString(ALLOW_CONTENT_LENGTH_HEADER.encoded(True))
    # mutation_rules stays unset: with Envoy's default ext_proc may not touch x-envoy-* and the host, but may
    # set :status, which it needs to turn an origin's 304 into a 200 with the stored body, and :path.
    return http_connection_manager_pb2.HttpFilter(
        name=names.EXT_PROC_FILTER, typed_config=packed(message), disabled=True
    )


def ext_proc_of_route(scope: ListenerScope, route: EffectiveRoute) -> Any | None:
    """Which ProcessingPolicy to follow; None for a route that needs none."""
    named = scope.policies_of(route)
    policy = named.processing
    if policy is None:
        return None
    overrides = ext_proc_pb2.ExtProcOverrides(
        grpc_initial_metadata=[
            base_pb2.HeaderValue(key=names.POLICY_METADATA, value=policy),
            base_pb2.HeaderValue(key=names.ROUTE_METADATA, value=route.name),
        ]
    )
    # Where ext_proc only hears of writes, a dead one must not stop them.
    failure_mode = "open" if named.unsafe_only else route.ext_proc_failure_mode
    if failure_mode != scope.gateway.callouts.ext_proc.failure_mode:
        overrides.failure_mode_allow.CopyFrom(BoolValue(value=failure_mode == "open"))
    return packed(ext_proc_pb2.ExtProcPerRoute(overrides=overrides))


def _metadata_options() -> ext_proc_pb2.MetadataOptions:
    """ext_proc learns the identity that ext_authz proved, and tells the access log what the cache did."""
    namespaces = ext_proc_pb2.MetadataOptions.MetadataNamespaces
    return ext_proc_pb2.MetadataOptions(
        forwarding_namespaces=namespaces(untyped=[names.EXT_AUTHZ_FILTER]),
        receiving_namespaces=namespaces(untyped=[names.EXT_PROC_METADATA]),
    )
