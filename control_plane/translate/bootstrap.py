"""Envoy's bootstrap: where its control plane is, how much it may take, and what of it can be seen.

One for every Envoy of a gateway; everything else comes over xDS.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_address

from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import base_pb2, config_source_pb2, protocol_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.config.overload.v3 import overload_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.http.upstream_codec.v3 import upstream_codec_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.resource_monitors.downstream_connections.v3 import downstream_connections_pb2
from envoy.extensions.resource_monitors.fixed_heap.v3 import fixed_heap_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf.struct_pb2 import Struct

from control_plane.config.rules.forms import MAX_REGEX_PROGRAM_SIZE
from control_plane.translate.clusters import HTTP_PROTOCOL_OPTIONS, http2_options, keepalive, set_eds, set_strict_dns
from control_plane.translate.endpoints import address
from control_plane.translate.messages import duration, exact, packed
from control_plane.translate.names import ENVOYS_CLUSTER
from control_plane.translate.sources import XDS_CLUSTER, ApiType, api_config_source, own_stream
from control_plane.translate.stats_sink import stats_sink
from control_plane.translate.tls import TLS_TRANSPORT_SOCKET

ADMIN_CLUSTER = "admin"
_ENVOYS_TIMEOUT = timedelta(seconds=1)
STATUS_PATHS = ("/ready", "/stats/prometheus")
"""What of the admin interface is reachable from outside the machine."""
_REPORT_INTERVAL = timedelta(seconds=5)
"""Between two reports of an Envoy's statistics to its control plane; Envoy's own default."""
API_TYPES: Mapping[str, ApiType] = {
    "delta-grpc": config_source_pb2.ApiConfigSource.DELTA_GRPC,
    "grpc": config_source_pb2.ApiConfigSource.GRPC,
}
"""By what `gatewayctl bootstrap --api-type` calls them."""


@dataclass(frozen=True, slots=True)
class MutualTls:
    """Files with which an Envoy proves who it is to the control plane, and the CA that it believes."""

    ca_file: str
    certificate_file: str
    private_key_file: str


@dataclass(frozen=True, slots=True)
class BootstrapSettings:
    """What differs between Envoys; the ports are the contract's."""

    name: str
    """node.cluster: the `name` of the gateway.yaml whose configuration this Envoy gets."""
    node_id: str
    xds_host: str
    xds_port: int
    mutual_tls: MutualTls | None = None
    xds_token: str = field(default="", repr=False)
    """Bearer token for the control plane; "" sends none."""
    admin_address: str = "127.0.0.1"
    """Loopback: whoever reaches the admin interface can stop Envoy and read its configuration."""
    admin_port: int = 9901
    status_address: str = "0.0.0.0"  # nosec B104 - for the scrape and probes of a pod; it answers /ready and statistics alone
    status_port: int = 9902
    limits: "ProcessLimits" = field(default_factory=lambda: LIMITS["edge"])
    api_type: ApiType = config_source_pb2.ApiConfigSource.DELTA_GRPC
    """Incremental, or state of the world (GRPC)."""
    zone: str = ""
    """In which this Envoy runs; "" means that it sends requests to all zones alike."""
    per_type: bool = False
    """A stream for each type of resource instead of one for all (ADS), which is what keeps their order."""


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """What one Envoy process may take of its machine."""

    max_heap_bytes: int
    max_connections: int
    """Of clients, over all listeners."""


LIMITS: Mapping[str, ProcessLimits] = {
    "edge": ProcessLimits(max_heap_bytes=2 << 30, max_connections=50_000),
    "sidecar": ProcessLimits(max_heap_bytes=512 << 20, max_connections=10_000),
}


def bootstrap(settings: BootstrapSettings) -> bootstrap_pb2.Bootstrap:
    """A bootstrap for an Envoy that gets everything over xDS."""
    message = _common(settings)
    message.static_resources.clusters.append(xds_cluster(settings))
    message.stats_sinks.append(stats_sink(settings.node_id, settings.name))
    message.stats_flush_interval.CopyFrom(duration(_REPORT_INTERVAL))
    message.dynamic_resources.CopyFrom(_dynamic_resources(settings))
    if settings.zone:
        _keep_to_zone(message, settings)
    return message


def _keep_to_zone(message: bootstrap_pb2.Bootstrap, settings: BootstrapSettings) -> None:
    """Envoy keeps requests in its zone as far as that keeps the load even, for which it has to know all Envoys.

    They come over EDS, if gateway.yaml says where they are (`envoys`); the start does not wait for them.
    """
    message.node.locality.zone = settings.zone
    message.cluster_manager.local_cluster_name = ENVOYS_CLUSTER
    local = cluster_pb2.Cluster(name=ENVOYS_CLUSTER, connect_timeout=duration(timedelta(seconds=1)))
    set_eds(local)
    source = own_stream(settings.api_type) if settings.per_type else local.eds_cluster_config.eds_config
    source.initial_fetch_timeout.CopyFrom(duration(_ENVOYS_TIMEOUT))
    local.eds_cluster_config.eds_config.CopyFrom(source)
    message.static_resources.clusters.append(local)


def static_bootstrap(settings: BootstrapSettings) -> bootstrap_pb2.Bootstrap:
    """A bootstrap without a control plane, for resources that are put into it (see static.py)."""
    return _common(settings)


def _common(settings: BootstrapSettings) -> bootstrap_pb2.Bootstrap:
    message = bootstrap_pb2.Bootstrap(
        # So that state-of-the-world responses may say for how long a resource lives; Envoy can do it and does not say.
        node=base_pb2.Node(id=settings.node_id, cluster=settings.name, client_features=["xds.config.resource-in-sotw"]),
        admin=bootstrap_pb2.Admin(
            address=address(settings.admin_address, settings.admin_port), ignore_global_conn_limit=True
        ),
        layered_runtime=_layered_runtime(),
        overload_manager=_overload_manager(settings),
    )
    message.static_resources.clusters.append(_admin_cluster(settings))
    message.static_resources.listeners.append(_status_listener(settings))
    return message


def _dynamic_resources(settings: BootstrapSettings) -> bootstrap_pb2.Bootstrap.DynamicResources:
    """All types on one stream, or a stream each.

    initial_fetch_timeout 0: an Envoy whose control plane is away stays not ready instead of starting with nothing.
    """
    if settings.per_type:
        source = own_stream(settings.api_type)
        source.initial_fetch_timeout.CopyFrom(duration(timedelta(0)))
        return bootstrap_pb2.Bootstrap.DynamicResources(cds_config=source, lds_config=source)
    source = config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(),
        resource_api_version=config_source_pb2.V3,
        initial_fetch_timeout=duration(timedelta(0)),
    )
    return bootstrap_pb2.Bootstrap.DynamicResources(
        ads_config=api_config_source(settings.api_type), cds_config=source, lds_config=source
    )


def xds_cluster(settings: BootstrapSettings) -> cluster_pb2.Cluster:
    options = http_protocol_options_pb2.HttpProtocolOptions()
    options.explicit_http_config.http2_protocol_options.CopyFrom(http2_options())
    if settings.xds_token:
        options.http_filters.extend(_bearer_token(settings.xds_token))
    message = cluster_pb2.Cluster(
        name=XDS_CLUSTER,
        connect_timeout=duration(timedelta(seconds=2)),
        upstream_connection_options=keepalive(),
        load_assignment=_one_endpoint(XDS_CLUSTER, settings.xds_host, settings.xds_port),
        typed_extension_protocol_options={HTTP_PROTOCOL_OPTIONS: packed(options)},
    )
    set_strict_dns(message)
    if settings.mutual_tls is not None:
        message.transport_socket.CopyFrom(_xds_transport_socket(settings.xds_host, settings.mutual_tls))
    return message


def _bearer_token(token: str) -> list[http_connection_manager_pb2.HttpFilter]:
    """On the cluster, not in a config source: it holds for every stream, and no resource carries it."""
    mutation = header_mutation_pb2.HeaderMutation(
        mutations=header_mutation_pb2.Mutations(
            request_mutations=[
                mutation_rules_pb2.HeaderMutation(
                    append=base_pb2.HeaderValueOption(
                        header=base_pb2.HeaderValue(key="authorization", value=f"Bearer {token}"),
                        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
                    )
                )
            ]
        )
    )
    return [
        http_connection_manager_pb2.HttpFilter(
            name="envoy.filters.http.header_mutation", typed_config=packed(mutation)
        ),
        http_connection_manager_pb2.HttpFilter(
            name="envoy.filters.http.upstream_codec", typed_config=packed(upstream_codec_pb2.UpstreamCodec())
        ),
    ]


def _xds_transport_socket(host: str, files: MutualTls) -> base_pb2.TransportSocket:
    """The control plane proves its host name; whoever rotates the files restarts Envoy."""
    matchers = common_pb2.SubjectAltNameMatcher
    is_address = _is_ip_address(host)
    subject = matchers(san_type=matchers.IP_ADDRESS if is_address else matchers.DNS, matcher=exact(host))
    common = tls_pb2.CommonTlsContext(
        alpn_protocols=["h2"],
        tls_certificates=[
            common_pb2.TlsCertificate(
                certificate_chain=base_pb2.DataSource(filename=files.certificate_file),
                private_key=base_pb2.DataSource(filename=files.private_key_file),
            )
        ],
        validation_context=common_pb2.CertificateValidationContext(
            trusted_ca=base_pb2.DataSource(filename=files.ca_file), match_typed_subject_alt_names=[subject]
        ),
    )
    context = tls_pb2.UpstreamTlsContext(common_tls_context=common, sni="" if is_address else host)
    return base_pb2.TransportSocket(name=TLS_TRANSPORT_SOCKET, typed_config=packed(context))


def _is_ip_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _one_endpoint(cluster: str, host: str, port: int) -> endpoint_pb2.ClusterLoadAssignment:
    endpoint = endpoint_components_pb2.LbEndpoint(
        endpoint=endpoint_components_pb2.Endpoint(address=address(host, port))
    )
    return endpoint_pb2.ClusterLoadAssignment(
        cluster_name=cluster, endpoints=[endpoint_components_pb2.LocalityLbEndpoints(lb_endpoints=[endpoint])]
    )


def _admin_cluster(settings: BootstrapSettings) -> cluster_pb2.Cluster:
    return cluster_pb2.Cluster(
        name=ADMIN_CLUSTER,
        type=cluster_pb2.Cluster.STATIC,
        connect_timeout=duration(timedelta(seconds=1)),
        load_assignment=_one_endpoint(ADMIN_CLUSTER, settings.admin_address, settings.admin_port),
    )


def _status_listener(settings: BootstrapSettings) -> listener_pb2.Listener:
    """Readiness and metrics for probes and Prometheus, and nothing else of the admin interface."""
    routes = [
        route_components_pb2.Route(
            match=route_components_pb2.RouteMatch(path=path, headers=[_only_get()]),
            route=route_components_pb2.RouteAction(cluster=ADMIN_CLUSTER),
        )
        for path in STATUS_PATHS
    ]
    manager = http_connection_manager_pb2.HttpConnectionManager(
        stat_prefix="status",
        route_config=route_pb2.RouteConfiguration(
            name="status",
            virtual_hosts=[route_components_pb2.VirtualHost(name="status", domains=["*"], routes=routes)],
        ),
        http_filters=[
            http_connection_manager_pb2.HttpFilter(
                name="envoy.filters.http.router", typed_config=packed(router_pb2.Router(suppress_envoy_headers=True))
            )
        ],
        server_header_transformation=http_connection_manager_pb2.HttpConnectionManager.PASS_THROUGH,
        request_timeout=duration(timedelta(seconds=10)),
        common_http_protocol_options=protocol_pb2.HttpProtocolOptions(idle_timeout=duration(timedelta(minutes=5))),
    )
    chain = listener_components_pb2.FilterChain(
        filters=[
            listener_components_pb2.Filter(
                name="envoy.filters.network.http_connection_manager", typed_config=packed(manager)
            )
        ]
    )
    return listener_pb2.Listener(
        name="status",
        address=address(settings.status_address, settings.status_port),
        filter_chains=[chain],
        # Readiness has to be seen while the gateway is full.
        ignore_global_conn_limit=True,
        bypass_overload_manager=True,
    )


def _only_get() -> route_components_pb2.HeaderMatcher:
    return route_components_pb2.HeaderMatcher(name=":method", string_match=exact("GET"))


def _layered_runtime() -> bootstrap_pb2.LayeredRuntime:
    """A route's regex may not become a program that costs every request milliseconds; the admin layer is for tests."""
    limits = Struct()
    limits.update({"re2": {"max_program_size": {"error_level": MAX_REGEX_PROGRAM_SIZE}}})
    return bootstrap_pb2.LayeredRuntime(
        layers=[
            bootstrap_pb2.RuntimeLayer(name="defaults", static_layer=limits),
            bootstrap_pb2.RuntimeLayer(name="admin", admin_layer=bootstrap_pb2.RuntimeLayer.AdminLayer()),
        ]
    )


def _overload_manager(settings: BootstrapSettings) -> overload_pb2.OverloadManager:
    """Shed load before the machine does: give memory back at 95 % of the heap, refuse requests at 98 %."""
    heap, connections = (
        "envoy.resource_monitors.fixed_heap",
        "envoy.resource_monitors.global_downstream_max_connections",
    )
    return overload_pb2.OverloadManager(
        refresh_interval=duration(timedelta(milliseconds=250)),
        resource_monitors=[
            overload_pb2.ResourceMonitor(
                name=heap,
                typed_config=packed(fixed_heap_pb2.FixedHeapConfig(max_heap_size_bytes=settings.limits.max_heap_bytes)),
            ),
            overload_pb2.ResourceMonitor(
                name=connections,
                typed_config=packed(
                    downstream_connections_pb2.DownstreamConnectionsConfig(
                        max_active_downstream_connections=settings.limits.max_connections
                    )
                ),
            ),
        ],
        actions=[
            _action("envoy.overload_actions.shrink_heap", heap, 0.95),
            _action("envoy.overload_actions.stop_accepting_requests", heap, 0.98),
        ],
    )


def _action(name: str, resource: str, threshold: float) -> overload_pb2.OverloadAction:
    trigger = overload_pb2.Trigger(name=resource, threshold=overload_pb2.ThresholdTrigger(value=threshold))
    return overload_pb2.OverloadAction(name=name, triggers=[trigger])
