"""Listeners: one per entry of `listeners`, hardened per Envoy's edge best practices.

https://www.envoyproxy.io/docs/envoy/latest/configuration/best_practices/edge
"""

from collections.abc import Iterator
from datetime import timedelta

from envoy.config.core.v3 import address_pb2, base_pb2, extension_pb2, protocol_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.listener.proxy_protocol.v3 import proxy_protocol_pb2
from envoy.extensions.filters.network.connection_limit.v3 import connection_limit_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.http.original_ip_detection.xff.v3 import xff_pb2
from envoy.extensions.request_id.uuid.v3 import uuid_pb2
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value, UInt64Value

from control_plane.translate.access_log import access_logs
from control_plane.translate.actions import WEBSOCKET
from control_plane.translate.clusters import BUFFER_LIMIT_BYTES
from control_plane.translate.endpoints import address
from control_plane.translate.headers import early_header_mutation, is_behind_proxy, trusted_hops
from control_plane.translate.http_filters import http_filters
from control_plane.translate.local_replies import local_reply_config
from control_plane.translate.messages import duration, extension, from_ads, packed
from control_plane.translate.scope import ListenerScope
from control_plane.translate.tls import downstream_transport_socket
from control_plane.translate.tracing import tracing_of_listener
from control_plane.translate.transforms import buffer_bytes

HttpConnectionManager = http_connection_manager_pb2.HttpConnectionManager
_MAX_CONCURRENT_STREAMS = 100
_INITIAL_STREAM_WINDOW_BYTES = 64 * 1024
_INITIAL_CONNECTION_WINDOW_BYTES = 1024 * 1024
_MAX_HEADERS = 100
_ENVOYS_MAX_HEADERS_KIB = 8192
_REQUEST_HEADERS_TIMEOUT = timedelta(seconds=10)


def listener(scope: ListenerScope) -> listener_pb2.Listener:
    """The listener; its routes come over RDS under its own name."""
    configured = scope.listener
    chain = listener_components_pb2.FilterChain(filters=list(_network_filters(scope)))
    if configured.tls:
        chain.transport_socket.CopyFrom(downstream_transport_socket(configured, scope.materials))
    message = listener_pb2.Listener(
        name=configured.name,
        address=address(configured.address, configured.port),
        filter_chains=[chain],
        per_connection_buffer_limit_bytes=UInt32Value(value=buffer_bytes(scope.routes, BUFFER_LIMIT_BYTES)),
        traffic_direction=base_pb2.INBOUND,
    )
    if configured.client_ip.proxy_protocol:
        message.listener_filters.append(
            listener_components_pb2.ListenerFilter(
                name="envoy.filters.listener.proxy_protocol", typed_config=packed(proxy_protocol_pb2.ProxyProtocol())
            )
        )
    return message


def _network_filters(scope: ListenerScope) -> Iterator[listener_components_pb2.Filter]:
    limit = connection_limit_pb2.ConnectionLimit(
        stat_prefix=scope.listener.name, max_connections=UInt64Value(value=scope.listener.limits.max_connections)
    )
    yield listener_components_pb2.Filter(name="envoy.filters.network.connection_limit", typed_config=packed(limit))
    yield listener_components_pb2.Filter(
        name="envoy.filters.network.http_connection_manager", typed_config=packed(http_connection_manager(scope))
    )


def http_connection_manager(scope: ListenerScope) -> HttpConnectionManager:
    limits = scope.listener.limits
    manager = HttpConnectionManager(
        stat_prefix=scope.listener.name,
        codec_type=HttpConnectionManager.AUTO,
        rds=http_connection_manager_pb2.Rds(config_source=from_ads(), route_config_name=scope.listener.name),
        http_filters=list(http_filters(scope)),
        access_log=list(access_logs(scope)),
        local_reply_config=local_reply_config(),
        early_header_mutation_extensions=[early_header_mutation(scope)],
        upgrade_configs=[HttpConnectionManager.UpgradeConfig(upgrade_type=WEBSOCKET)],
        server_header_transformation=HttpConnectionManager.PASS_THROUGH,
        drain_timeout=duration(limits.drain),
        stream_idle_timeout=duration(limits.idle_timeout),
        request_timeout=duration(limits.request_timeout),
        request_headers_timeout=duration(min(limits.request_timeout, _REQUEST_HEADERS_TIMEOUT)),
        # Whole KiB, within what Envoy takes.
        max_request_headers_kb=UInt32Value(
            value=min(max(1, -(-limits.request_headers // 1024)), _ENVOYS_MAX_HEADERS_KIB)
        ),
    )
    _set_protocols(manager, scope)
    _set_client_address(manager, scope)
    _set_request_id(manager, scope)
    _set_path_rules(manager)
    if (tracing := tracing_of_listener(scope.gateway)) is not None:
        manager.tracing.CopyFrom(tracing)
    return manager


def _set_protocols(manager: HttpConnectionManager, scope: ListenerScope) -> None:
    manager.common_http_protocol_options.CopyFrom(
        protocol_pb2.HttpProtocolOptions(
            idle_timeout=duration(scope.listener.limits.idle_timeout),
            max_headers_count=UInt32Value(value=_MAX_HEADERS),
            # x_user_id would reach a service that reads it as x-user-id.
            headers_with_underscores_action=protocol_pb2.HttpProtocolOptions.REJECT_REQUEST,
        )
    )
    manager.http2_protocol_options.CopyFrom(
        protocol_pb2.Http2ProtocolOptions(
            max_concurrent_streams=UInt32Value(value=_MAX_CONCURRENT_STREAMS),
            initial_stream_window_size=UInt32Value(value=_INITIAL_STREAM_WINDOW_BYTES),
            initial_connection_window_size=UInt32Value(value=_INITIAL_CONNECTION_WINDOW_BYTES),
            # Extended CONNECT (RFC 8441): WebSockets over HTTP/2. A plain CONNECT matches no route.
            allow_connect=True,
        )
    )


def _set_client_address(manager: HttpConnectionManager, scope: ListenerScope) -> None:
    """Who the client is; see early_header_mutation for what a client may not claim.

    No peer is internal (Envoy would believe its x-envoy-* and x-request-id): without a range of its own Envoy takes the
    private networks, so it gets one that no peer has.
    """
    client_ip = scope.listener.client_ip
    manager.internal_address_config.cidr_ranges.append(_cidr_range("255.255.255.255/32"))
    if client_ip.trusted_proxies is None:
        manager.use_remote_address.CopyFrom(BoolValue(value=True))
        manager.xff_num_trusted_hops = trusted_hops(scope)
        return
    manager.use_remote_address.CopyFrom(BoolValue(value=False))
    manager.original_ip_detection_extensions.append(_trusted_proxies(client_ip.trusted_proxies))


def _trusted_proxies(networks: tuple[str, ...]) -> extension_pb2.TypedExtensionConfig:
    """The last address of X-Forwarded-For that is not in the list."""
    configuration = xff_pb2.XffConfig(skip_xff_append=BoolValue(value=False))
    configuration.xff_trusted_cidrs.cidrs.extend(_cidr_range(network) for network in sorted(set(networks)))
    return extension("envoy.http.original_ip_detection.xff", configuration)


def _cidr_range(network: str) -> address_pb2.CidrRange:
    prefix, _, length = network.partition("/")
    bits = int(length) if length else (128 if ":" in prefix else 32)
    return address_pb2.CidrRange(address_prefix=prefix, prefix_len=UInt32Value(value=bits))


def _set_request_id(manager: HttpConnectionManager, scope: ListenerScope) -> None:
    manager.generate_request_id.CopyFrom(BoolValue(value=True))
    manager.preserve_external_request_id = is_behind_proxy(scope)
    manager.always_set_request_id_in_response = True
    # An id is an id: Envoy's default writes its tracing decision into one of the digits.
    configuration = uuid_pb2.UuidRequestIdConfig(pack_trace_reason=BoolValue(value=False))
    if scope.gateway.tracing.otlp_endpoint:
        # The sampler decides; a proxy's id that is no UUID would not be traced at all otherwise.
        configuration.use_request_id_for_trace_sampling.CopyFrom(BoolValue(value=False))
    manager.request_id_extension.typed_config.CopyFrom(packed(configuration))


def _set_path_rules(manager: HttpConnectionManager) -> None:
    """Routing, ext_authz and the service see one and the same path."""
    manager.normalize_path.CopyFrom(BoolValue(value=True))
    manager.merge_slashes = True
    manager.path_with_escaped_slashes_action = HttpConnectionManager.REJECT_REQUEST
    manager.strip_trailing_host_dot = True
