"""Clusters: one per service, named after it, whether a route uses it or not. Those of callouts are in callouts.py."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import cache, lru_cache

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2, outlier_detection_pb2
from envoy.config.core.v3 import address_pb2, health_check_pb2, protocol_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2
from envoy.extensions.clusters.common.dns.v3 import dns_pb2
from envoy.extensions.clusters.dns.v3 import dns_cluster_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from envoy.type.v3 import http_pb2, percent_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value, UInt64Value

from control_plane.config.effective import EffectiveRoute
from control_plane.config.materials import Materials
from control_plane.config.model.routes import RetryBudget
from control_plane.config.model.services import CircuitBreaker, HealthCheck, Names, OutlierDetection, Service
from control_plane.translate.endpoints import address
from control_plane.translate.messages import duration, from_ads, packed
from control_plane.translate.tls import upstream_transport_socket

HTTP_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
UPSTREAM_IDLE_TIMEOUT = timedelta(minutes=1)
"""Shorter than Envoy's hour, so that rarely used connections are gone before servers and NATs drop them silently."""
BUFFER_LIMIT_BYTES = 32 * 1024
"""Of a connection, per Envoy's edge best practices; large bodies stream through it."""
_LB_POLICIES = {
    "round_robin": cluster_pb2.Cluster.ROUND_ROBIN,
    "least_request": cluster_pb2.Cluster.LEAST_REQUEST,
    "random": cluster_pb2.Cluster.RANDOM,
    "ring_hash": cluster_pb2.Cluster.RING_HASH,
    "maglev": cluster_pb2.Cluster.MAGLEV,
}


def cluster(name: str, service: Service, budget: RetryBudget | None, materials: Materials) -> cluster_pb2.Cluster:
    """One service as a cluster."""
    message = cluster_pb2.Cluster(
        name=name,
        connect_timeout=duration(service.connect_timeout),
        per_connection_buffer_limit_bytes=UInt32Value(value=BUFFER_LIMIT_BYTES),
        lb_policy=_LB_POLICIES[service.load_balancing.policy],
        common_lb_config=_common_lb_config(service.panic_threshold),
        circuit_breakers=_circuit_breakers(service.circuit_breaker, budget),
        upstream_connection_options=_keepalive(),
        typed_extension_protocol_options={HTTP_PROTOCOL_OPTIONS: _protocol_options(service.protocol)},
    )
    _set_discovery(message, service)
    if service.outlier_detection is not None:
        message.outlier_detection.CopyFrom(_outlier_detection(service.outlier_detection, service))
    if service.health_check is not None:
        message.health_checks.append(_health_check(service.health_check, service))
        # An endpoint that discovery removed is gone, whatever the last check said.
        message.ignore_health_on_host_removal = True
    if is_judged_by_envoy(service):
        report_endpoint_health(message)
    if service.tls is not None:
        message.transport_socket.CopyFrom(upstream_transport_socket(name, service, service.tls, materials))
    return message


def zone_aware(service: Service) -> cluster_pb2.Cluster.CommonLbConfig.ZoneAwareLbConfig:
    """Envoys whose bootstrap says no zone ignore it."""
    if service.zone_aware == "none":
        return cluster_pb2.Cluster.CommonLbConfig.ZoneAwareLbConfig(routing_enabled=percent_pb2.Percent(value=0))
    return cluster_pb2.Cluster.CommonLbConfig.ZoneAwareLbConfig(
        routing_enabled=percent_pb2.Percent(value=100),
        min_cluster_size=UInt64Value(value=service.zone_aware.min_endpoints),
    )


def is_judged_by_envoy(service: Service) -> bool:
    """Whether Envoy knows of endpoints what the control plane does not: by checks, by ejection, by asking DNS."""
    return service.dns is not None or service.health_check is not None or service.outlier_detection is not None


def report_endpoint_health(message: cluster_pb2.Cluster) -> None:
    """A statistic for each endpoint. Envoy keeps those numbers in any case; this only lets them be seen."""
    message.track_cluster_stats.per_endpoint_stats = True


def set_eds(message: cluster_pb2.Cluster) -> None:
    """Let the endpoints come over EDS, under the cluster's own name."""
    message.MergeFrom(_eds())


@cache
def _eds() -> cluster_pb2.Cluster:
    """What is the same in all clusters is made once, here and below: there may be ten thousand."""
    message = cluster_pb2.Cluster(type=cluster_pb2.Cluster.EDS)
    message.eds_cluster_config.eds_config.CopyFrom(from_ads())
    return message


def set_strict_dns(message: cluster_pb2.Cluster) -> None:
    """Every address of a name is an endpoint.

    V4_PREFERRED: ALL would make ::1 and 127.0.0.1 of `localhost` two endpoints, of which a server often has one.
    """
    dns = dns_cluster_pb2.DnsCluster(respect_dns_ttl=True, dns_lookup_family=dns_pb2.V4_PREFERRED)
    message.cluster_type.CopyFrom(
        cluster_pb2.Cluster.CustomClusterType(name="envoy.clusters.dns", typed_config=packed(dns))
    )


def keepalive() -> cluster_pb2.UpstreamConnectionOptions:
    """TCP keepalive: a peer that vanished without a FIN is noticed after a minute instead of two hours."""
    return cluster_pb2.UpstreamConnectionOptions(
        tcp_keepalive=address_pb2.TcpKeepalive(
            keepalive_probes=UInt32Value(value=3),
            keepalive_time=UInt32Value(value=30),
            keepalive_interval=UInt32Value(value=10),
        )
    )


_keepalive = cache(keepalive)


def http2_options() -> protocol_pb2.Http2ProtocolOptions:
    """HTTP/2 with pings, so that a half-open connection does not freeze every stream on it."""
    return protocol_pb2.Http2ProtocolOptions(
        connection_keepalive=protocol_pb2.KeepaliveSettings(
            interval=duration(timedelta(seconds=30)), timeout=duration(timedelta(seconds=5))
        )
    )


def _set_discovery(message: cluster_pb2.Cluster, service: Service) -> None:
    if service.dns is None:
        set_eds(message)
        return
    set_strict_dns(message)
    message.load_assignment.cluster_name = message.name
    if not isinstance(service.dns, Names):
        message.load_assignment.endpoints.add(lb_endpoints=[_named(service.dns.host, service.dns.port)])
        return
    usable = [one for one in service.dns.endpoints if one.weight]
    for zone in sorted({one.zone for one in usable}):
        of_zone = [_named(one.address, one.port, one.weight) for one in usable if one.zone == zone]
        locality = message.load_assignment.endpoints.add(lb_endpoints=of_zone)
        if zone:
            locality.locality.zone = zone


def _named(host: str, port: int, weight: int | None = None) -> endpoint_components_pb2.LbEndpoint:
    message = endpoint_components_pb2.LbEndpoint()
    message.endpoint.address.CopyFrom(address(host, port))
    message.endpoint.hostname = host
    if weight is not None:
        message.load_balancing_weight.value = weight
    return message


@cache
def _common_lb_config(panic_threshold: int) -> cluster_pb2.Cluster.CommonLbConfig:
    return cluster_pb2.Cluster.CommonLbConfig(
        # Envoy's default of 50 % would send traffic to endpoints that are known to be dead.
        healthy_panic_threshold=percent_pb2.Percent(value=panic_threshold),
        # Envoy's default of 1 s would keep sending to an endpoint for a second after it was ejected or drained.
        update_merge_window=duration(timedelta(0)),
    )


@cache
def _protocol_options(protocol: str) -> Any:
    explicit = http_protocol_options_pb2.HttpProtocolOptions.ExplicitHttpConfig()
    if protocol == "http1":
        explicit.http_protocol_options.SetInParent()
    else:
        explicit.http2_protocol_options.CopyFrom(http2_options())
    return packed(
        http_protocol_options_pb2.HttpProtocolOptions(
            common_http_protocol_options=protocol_pb2.HttpProtocolOptions(idle_timeout=duration(UPSTREAM_IDLE_TIMEOUT)),
            explicit_http_config=explicit,
        )
    )


@lru_cache(maxsize=64)
def _circuit_breakers(breaker: CircuitBreaker, budget: RetryBudget | None) -> circuit_breaker_pb2.CircuitBreakers:
    thresholds = circuit_breaker_pb2.CircuitBreakers.Thresholds(
        max_connections=UInt32Value(value=breaker.max_connections),
        max_pending_requests=UInt32Value(value=breaker.max_pending_requests),
        max_requests=UInt32Value(value=breaker.max_requests),
    )
    if budget is not None:
        thresholds.retry_budget.CopyFrom(
            circuit_breaker_pb2.CircuitBreakers.Thresholds.RetryBudget(
                budget_percent=percent_pb2.Percent(value=budget.percent),
                min_retry_concurrency=UInt32Value(value=budget.min_concurrency),
            )
        )
    elif breaker.max_retries is not None:
        thresholds.max_retries.CopyFrom(UInt32Value(value=breaker.max_retries))
    return circuit_breaker_pb2.CircuitBreakers(thresholds=[thresholds])


def retry_budgets(routes: Iterable[EffectiveRoute]) -> Mapping[str, RetryBudget]:
    """The budget of each service that a route with one leads to.

    Envoy counts retries per cluster, so routes that share a service share its budget; the widest one holds.
    """
    budgets: dict[str, RetryBudget] = {}
    for route in routes:
        if route.retry is None or route.retry.budget is None:
            continue
        for backend in route.backends:
            known = budgets.get(backend.service, route.retry.budget)
            budgets[backend.service] = max(known, route.retry.budget, key=lambda b: (b.percent, b.min_concurrency))
    return budgets


def _outlier_detection(detection: OutlierDetection, service: Service) -> outlier_detection_pb2.OutlierDetection:
    """Ejection by what the configuration names and nothing else.

    Envoy detects consecutive gateway failures but does not eject for them (enforcing defaults to 0), and ejects for
    five 5xx and by success rate without being asked.
    """
    message = outlier_detection_pb2.OutlierDetection(
        interval=duration(detection.interval),
        base_ejection_time=duration(detection.base_ejection_time),
        max_ejection_percent=UInt32Value(value=detection.max_ejection_percent),
        enforcing_consecutive_5xx=UInt32Value(value=100 if detection.consecutive_5xx else 0),
        enforcing_consecutive_gateway_failure=UInt32Value(value=100 if detection.consecutive_gateway_failure else 0),
        enforcing_success_rate=UInt32Value(value=0),
    )
    if detection.consecutive_5xx:
        message.consecutive_5xx.value = detection.consecutive_5xx
    if detection.consecutive_gateway_failure:
        message.consecutive_gateway_failure.value = detection.consecutive_gateway_failure
    if detection.max_ejection_percent < 50 and not _is_lone(service):
        # A percentage that allows no ejection among few endpoints would switch detection off silently.
        message.always_eject_one_host.CopyFrom(BoolValue(value=True))
    return message


def _is_lone(service: Service) -> bool:
    """Whether the service has one endpoint for sure; ejecting it would take the service away."""
    return service.local is not None or (service.endpoints is not None and len(service.endpoints) < 2)


def _health_check(check: HealthCheck, service: Service) -> health_check_pb2.HealthCheck:
    message = health_check_pb2.HealthCheck(
        timeout=duration(check.timeout),
        interval=duration(check.interval),
        # Envoy checks a cluster without traffic only once a minute unless told otherwise.
        no_traffic_interval=duration(check.interval),
        healthy_threshold=UInt32Value(value=check.healthy_threshold),
        unhealthy_threshold=UInt32Value(value=check.unhealthy_threshold),
    )
    if service.protocol == "grpc":
        message.grpc_health_check.SetInParent()
        return message
    message.http_health_check.path = check.path
    if service.dns is not None:
        message.http_health_check.host = service.dns.host
    if service.protocol == "http2":
        message.http_health_check.codec_client_type = http_pb2.HTTP2
    return message
