"""Tracing: Envoy's OpenTelemetry tracer, the cluster that it exports through, and where our services send their spans.

Nothing of it exists while `tracing.otlp_endpoint` is empty: then a client's traceparent is a header like any other and
reaches the service unchanged.
"""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2
from envoy.config.core.v3 import base_pb2, grpc_service_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.config.trace.v3 import http_tracer_pb2, opentelemetry_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.tracers.opentelemetry.samplers.v3 import (
    parent_based_sampler_pb2,
    trace_id_ratio_based_sampler_pb2,
)
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from envoy.type.tracing.v3 import custom_tag_pb2
from envoy.type.v3 import percent_pb2
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from control_plane.config.model.gateway import Gateway
from control_plane.resource_types import NodeKind
from control_plane.snapshot import Resource
from control_plane.translate.clusters import HTTP_PROTOCOL_OPTIONS, http2_options, keepalive, set_strict_dns
from control_plane.translate.endpoints import address
from control_plane.translate.messages import duration, exact, extension, packed
from control_plane.translate.names import OTLP_CLUSTER, REQUEST_PATH_STATE
from control_plane.translate.tls import SYSTEM_CA_FILE, TLS_TRANSPORT_SOCKET
from protos.gateway.policy.v1 import tracing_pb2

Tracing = http_connection_manager_pb2.HttpConnectionManager.Tracing
_SAMPLERS = "envoy.tracers.opentelemetry.samplers."
_OTLP_PORT = 4317
_EXPORT_TIMEOUT = timedelta(seconds=5)
_CONNECT_TIMEOUT = timedelta(seconds=1)
_MAX_EXPORTS = 64
"""At once: a slow receiver costs Envoy this many batches of memory, then spans are dropped."""
_SERVICES = frozenset({NodeKind.EXT_AUTHZ, NodeKind.EXT_PROC})


@dataclass(frozen=True, slots=True)
class _Receiver:
    host: str
    port: int
    is_encrypted: bool


def _receiver(endpoint: str) -> _Receiver:
    parts = urlsplit(endpoint)
    return _Receiver(parts.hostname or "", parts.port or _OTLP_PORT, parts.scheme == "https")


def tracing_resources(gateway: Gateway) -> Iterator[Resource]:
    """What the callout services need to know; nothing while tracing is off."""
    if gateway.tracing.otlp_endpoint:
        message = tracing_pb2.Tracing(name=gateway.name, otlp_endpoint=gateway.tracing.otlp_endpoint)
        yield Resource.of(gateway.name, message, _SERVICES)


def otlp_clusters(gateway: Gateway) -> Iterator[cluster_pb2.Cluster]:
    """The receiver of Envoy's spans; nothing while tracing is off."""
    if gateway.tracing.otlp_endpoint:
        yield _otlp_cluster(_receiver(gateway.tracing.otlp_endpoint))


def tracing_of_listener(gateway: Gateway) -> Tracing | None:
    """Who is traced and what a span says.

    W3C trace context alone is read and written. Whoever began the trace has decided whether it is sampled, a client
    included; of the traces that begin here, sample_percent are. A trace id decides, so every gateway decides alike.
    """
    if not gateway.tracing.otlp_endpoint:
        return None
    everything = percent_pb2.Percent(value=100)
    return Tracing(
        client_sampling=everything,
        random_sampling=everything,
        overall_sampling=everything,
        # A span of its own for each try, so that retries can be told apart and the service's parent is its try.
        spawn_upstream_span=BoolValue(value=True),
        # Envoy's http.url would show the query, where tokens may stand; url.path takes its place.
        max_path_tag_length=UInt32Value(value=0),
        operation="%REQ(:method)% %ROUTE_NAME%",
        upstream_operation="%REQ(:method)% %UPSTREAM_CLUSTER%",
        custom_tags=list(_tags()),
        provider=http_tracer_pb2.Tracing.Http(
            name="envoy.tracers.opentelemetry", typed_config=packed(_open_telemetry(gateway))
        ),
    )


def _tags() -> Iterator[custom_tag_pb2.CustomTag]:
    """By the semantic conventions, beside those that Envoy sets under names of its own."""
    formats = {
        "gateway.route": "%ROUTE_NAME%",
        "http.request.method": "%REQ(:method)%",
        "url.path": f"%FILTER_STATE({REQUEST_PATH_STATE}:PLAIN)%",
    }
    for tag, value in formats.items():
        yield custom_tag_pb2.CustomTag(tag=tag, value=value)


def _open_telemetry(gateway: Gateway) -> opentelemetry_pb2.OpenTelemetryConfig:
    percent = round(gateway.tracing.sample_percent * 10_000)
    ratio = trace_id_ratio_based_sampler_pb2.TraceIdRatioBasedSamplerConfig(
        sampling_percentage=percent_pb2.FractionalPercent(
            numerator=percent, denominator=percent_pb2.FractionalPercent.MILLION
        )
    )
    parent_based = parent_based_sampler_pb2.ParentBasedSamplerConfig(
        wrapped_sampler=extension(_SAMPLERS + "trace_id_ratio_based", ratio)
    )
    return opentelemetry_pb2.OpenTelemetryConfig(
        service_name=gateway.name,
        grpc_service=grpc_service_pb2.GrpcService(
            envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=OTLP_CLUSTER),
            timeout=duration(_EXPORT_TIMEOUT),
        ),
        sampler=extension(_SAMPLERS + "parent_based", parent_based),
    )


def _otlp_cluster(receiver: _Receiver) -> cluster_pb2.Cluster:
    options = http_protocol_options_pb2.HttpProtocolOptions()
    options.explicit_http_config.http2_protocol_options.CopyFrom(http2_options())
    message = cluster_pb2.Cluster(
        name=OTLP_CLUSTER,
        connect_timeout=duration(_CONNECT_TIMEOUT),
        circuit_breakers=circuit_breaker_pb2.CircuitBreakers(
            thresholds=[
                circuit_breaker_pb2.CircuitBreakers.Thresholds(
                    max_requests=UInt32Value(value=_MAX_EXPORTS), max_pending_requests=UInt32Value(value=_MAX_EXPORTS)
                )
            ]
        ),
        upstream_connection_options=keepalive(),
        typed_extension_protocol_options={HTTP_PROTOCOL_OPTIONS: packed(options)},
        load_assignment=_assignment(receiver),
    )
    if _is_ip(receiver.host):
        message.type = cluster_pb2.Cluster.STATIC
    else:
        set_strict_dns(message)
    if receiver.is_encrypted:
        message.transport_socket.CopyFrom(_transport_socket(receiver.host))
    return message


def _assignment(receiver: _Receiver) -> endpoint_pb2.ClusterLoadAssignment:
    endpoint = endpoint_components_pb2.Endpoint(address=address(receiver.host, receiver.port), hostname=receiver.host)
    return endpoint_pb2.ClusterLoadAssignment(
        cluster_name=OTLP_CLUSTER,
        endpoints=[
            endpoint_components_pb2.LocalityLbEndpoints(
                lb_endpoints=[endpoint_components_pb2.LbEndpoint(endpoint=endpoint)]
            )
        ],
    )


def _transport_socket(host: str) -> base_pb2.TransportSocket:
    """Verified against the system's CAs and the receiver's name."""
    matcher = common_pb2.SubjectAltNameMatcher
    common = tls_pb2.CommonTlsContext(
        alpn_protocols=["h2"],
        validation_context=common_pb2.CertificateValidationContext(
            trusted_ca=base_pb2.DataSource(filename=SYSTEM_CA_FILE),
            match_typed_subject_alt_names=[
                matcher(san_type=matcher.IP_ADDRESS if _is_ip(host) else matcher.DNS, matcher=exact(host))
            ],
        ),
    )
    context = tls_pb2.UpstreamTlsContext(common_tls_context=common, sni="" if _is_ip(host) else host)
    return base_pb2.TransportSocket(name=TLS_TRANSPORT_SOCKET, typed_config=packed(context))


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
