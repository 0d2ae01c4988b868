"""Analytics: the gRPC access log of a listener and the cluster that it goes through.

Envoy keeps at most one buffer for each of its threads and drops what does not fit: a receiver that is slow or away
costs entries, never a request. `access_logs.grpc_access_log.logs_dropped` and `.logs_written` count them.
"""

from collections.abc import Iterator
from datetime import timedelta

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2
from envoy.config.core.v3 import config_source_pb2, grpc_service_pb2
from envoy.extensions.access_loggers.grpc.v3 import als_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from envoy.type.tracing.v3 import custom_tag_pb2
from envoy.type.v3 import percent_pb2
from google.protobuf.wrappers_pb2 import UInt32Value

from control_plane.config.model.gateway import Gateway
from control_plane.config.model.services import Analytics
from control_plane.translate.callouts import grpc_health_check
from control_plane.translate.clusters import HTTP_PROTOCOL_OPTIONS, http2_options, keepalive, set_eds
from control_plane.translate.messages import duration, packed
from control_plane.translate.names import ANALYTICS_CLUSTER, PATH_TAG, REQUEST_PATH_STATE

_BUFFER_BYTES = 16 * 1024
"""Of entries, for each thread of an Envoy; some 20 of them."""
_CONNECTION_BUFFER_BYTES = 256 * 1024
"""Beyond it the receiver is too slow, and entries are dropped."""
_FLUSH_INTERVAL = timedelta(seconds=1)
_CONNECT_TIMEOUT = timedelta(milliseconds=250)
_MAX_STREAMS = 1024
"""One for each thread of an Envoy and listener, and as many while a listener is being replaced."""
_MAX_PENDING = 64
DEPRECATION_HEADERS = ("deprecation", "sunset", "link")
"""Of the answer; only those of a deprecated route have them."""


def analytics_of(gateway: Gateway) -> Analytics | None:
    """Who receives the access log; None if nobody does."""
    return gateway.analytics if isinstance(gateway.analytics, Analytics) else None


def grpc_access_log(
    gateway: Gateway, listener: str, condition: accesslog_pb2.AccessLogFilter | None
) -> Iterator[accesslog_pb2.AccessLog]:
    """None or one; the same routes as the access log."""
    if analytics_of(gateway) is None:
        return
    configuration = als_pb2.HttpGrpcAccessLogConfig(
        common_config=als_pb2.CommonGrpcAccessLogConfig(
            log_name=listener,
            grpc_service=grpc_service_pb2.GrpcService(
                envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=ANALYTICS_CLUSTER)
            ),
            transport_api_version=config_source_pb2.V3,
            buffer_flush_interval=duration(_FLUSH_INTERVAL),
            buffer_size_bytes=UInt32Value(value=_BUFFER_BYTES),
            # The path of the entry itself has been rewritten.
            custom_tags=[custom_tag_pb2.CustomTag(tag=PATH_TAG, value=f"%FILTER_STATE({REQUEST_PATH_STATE}:PLAIN)%")],
        ),
        additional_response_headers_to_log=DEPRECATION_HEADERS,
    )
    yield accesslog_pb2.AccessLog(
        name="envoy.access_loggers.http_grpc", filter=condition, typed_config=packed(configuration)
    )


def analytics_clusters(gateway: Gateway) -> Iterator[cluster_pb2.Cluster]:
    """None or one; its endpoints come over EDS."""
    if analytics_of(gateway) is None:
        return
    options = http_protocol_options_pb2.HttpProtocolOptions()
    options.explicit_http_config.http2_protocol_options.CopyFrom(http2_options())
    message = cluster_pb2.Cluster(
        name=ANALYTICS_CLUSTER,
        connect_timeout=duration(_CONNECT_TIMEOUT),
        per_connection_buffer_limit_bytes=UInt32Value(value=_CONNECTION_BUFFER_BYTES),
        circuit_breakers=circuit_breaker_pb2.CircuitBreakers(
            thresholds=[
                circuit_breaker_pb2.CircuitBreakers.Thresholds(
                    max_connections=UInt32Value(value=_MAX_STREAMS),
                    max_pending_requests=UInt32Value(value=_MAX_PENDING),
                    max_requests=UInt32Value(value=_MAX_STREAMS),
                )
            ]
        ),
        # Nobody connects in vain while it is away.
        common_lb_config=cluster_pb2.Cluster.CommonLbConfig(healthy_panic_threshold=percent_pb2.Percent(value=0)),
        health_checks=[grpc_health_check()],
        ignore_health_on_host_removal=True,
        upstream_connection_options=keepalive(),
        typed_extension_protocol_options={HTTP_PROTOCOL_OPTIONS: packed(options)},
    )
    set_eds(message)
    yield message
