"""The clusters of ext_authz and ext_proc.

An ext_proc stream lives as long as the upstream call, and a check stands before every request: with Envoy's default
breakers of 1,024 a slow service would turn into 500s and 503s of the gateway itself. So the breakers are far above
what the listeners admit, and connections are watched (pings, gRPC health checks) rather than limited.
"""

from collections.abc import Iterator
from datetime import timedelta

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2
from envoy.config.core.v3 import health_check_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf.wrappers_pb2 import UInt32Value

from control_plane.translate.clusters import (
    HTTP_PROTOCOL_OPTIONS,
    http2_options,
    keepalive,
    report_endpoint_health,
    set_eds,
)
from control_plane.translate.messages import duration, packed
from control_plane.translate.names import EXT_AUTHZ_CLUSTER, EXT_PROC_CLUSTER

_FAR_ABOVE_ANY_LISTENER = 1_000_000
_CONNECT_TIMEOUT = timedelta(milliseconds=250)
_HEALTH_INTERVAL = timedelta(seconds=1)


def callout_clusters() -> Iterator[cluster_pb2.Cluster]:
    """The same for both, always there: their endpoints come over EDS."""
    yield _callout_cluster(EXT_AUTHZ_CLUSTER)
    yield _callout_cluster(EXT_PROC_CLUSTER)


def _callout_cluster(name: str) -> cluster_pb2.Cluster:
    limit = UInt32Value(value=_FAR_ABOVE_ANY_LISTENER)
    options = http_protocol_options_pb2.HttpProtocolOptions()
    options.explicit_http_config.http2_protocol_options.CopyFrom(http2_options())
    message = cluster_pb2.Cluster(
        name=name,
        connect_timeout=duration(_CONNECT_TIMEOUT),
        # The panic threshold stays at Envoy's 50 % here: a lone worker is tried again the moment it is back instead of
        # after its next health check. No outlier detection either: it could eject the only one.
        lb_policy=cluster_pb2.Cluster.LEAST_REQUEST,
        circuit_breakers=circuit_breaker_pb2.CircuitBreakers(
            thresholds=[
                circuit_breaker_pb2.CircuitBreakers.Thresholds(
                    max_connections=limit, max_pending_requests=limit, max_requests=limit, max_retries=limit
                )
            ]
        ),
        health_checks=[grpc_health_check()],
        ignore_health_on_host_removal=True,
        upstream_connection_options=keepalive(),
        typed_extension_protocol_options={HTTP_PROTOCOL_OPTIONS: packed(options)},
    )
    report_endpoint_health(message)
    set_eds(message)
    return message


def grpc_health_check() -> health_check_pb2.HealthCheck:
    """grpc.health.v1: a service says NOT_SERVING before it drains and until its first policies have come."""
    return health_check_pb2.HealthCheck(
        timeout=duration(timedelta(seconds=1)),
        interval=duration(_HEALTH_INTERVAL),
        no_traffic_interval=duration(_HEALTH_INTERVAL),
        healthy_threshold=UInt32Value(value=1),
        unhealthy_threshold=UInt32Value(value=2),
        grpc_health_check=health_check_pb2.HealthCheck.GrpcHealthCheck(),
    )
