"""A Snapshot as one static bootstrap: what Envoy would get over xDS, written into the file.

For `envoy --mode validate`, which asks no control plane, and for trying a configuration with Envoy alone.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_pb2
from google.protobuf.any_pb2 import Any

from control_plane import resource_types
from control_plane.resource_types import NodeKind
from control_plane.snapshot import Snapshot
from control_plane.translate.bootstrap import BootstrapSettings, static_bootstrap
from control_plane.translate.messages import packed

M = TypeVar("M")
TlsStandIn = Callable[[], tuple[bytes, bytes]]
"""Makes a certificate and its private key (PEM) that stand in for real ones."""


def rendered_static(
    snapshot: Snapshot, settings: BootstrapSettings, stand_in: TlsStandIn | None = None
) -> bootstrap_pb2.Bootstrap:
    """Put everything that an Envoy gets into one bootstrap.

    Args:
        snapshot: of the gateway.
        settings: of the bootstrap; its xDS address is not used.
        stand_in: replaces every private key, so that the result can be shown; None keeps the real ones.
    """
    message = static_bootstrap(settings)
    resources = message.static_resources
    assignments = {
        assignment.cluster_name: assignment
        for assignment in _parsed(
            snapshot, resource_types.CLUSTER_LOAD_ASSIGNMENT, endpoint_pb2.ClusterLoadAssignment.FromString
        )
    }
    for cluster in _parsed(snapshot, resource_types.CLUSTER, cluster_pb2.Cluster.FromString):
        resources.clusters.append(_static_cluster(cluster, assignments.get(cluster.name)))
    routes = {
        r.name: r
        for r in _parsed(snapshot, resource_types.ROUTE_CONFIGURATION, route_pb2.RouteConfiguration.FromString)
    }
    for listener in _parsed(snapshot, resource_types.LISTENER, listener_pb2.Listener.FromString):
        resources.listeners.append(_static_listener(listener, routes))
    for secret in _parsed(snapshot, resource_types.SECRET, secret_pb2.Secret.FromString):
        resources.secrets.append(_static_secret(secret, stand_in))
    return message


def _parsed(snapshot: Snapshot, type_url: str, parse: Callable[[bytes], M]) -> Iterator[M]:
    """The resources of a type that an Envoy would get."""
    for resource in snapshot.of_type(type_url).values():
        if NodeKind.ENVOY in resource.kinds:
            yield parse(resource.body)


def _static_cluster(
    cluster: cluster_pb2.Cluster, assignment: endpoint_pb2.ClusterLoadAssignment | None
) -> cluster_pb2.Cluster:
    if cluster.type == cluster_pb2.Cluster.EDS:
        cluster.type = cluster_pb2.Cluster.STATIC
        cluster.ClearField("eds_cluster_config")
        cluster.load_assignment.CopyFrom(assignment or endpoint_pb2.ClusterLoadAssignment(cluster_name=cluster.name))
    if cluster.HasField("transport_socket"):
        context = tls_pb2.UpstreamTlsContext.FromString(cluster.transport_socket.typed_config.value)
        _name_static_secrets(context.common_tls_context)
        cluster.transport_socket.typed_config.CopyFrom(packed(context))
    return cluster


def _static_listener(
    listener: listener_pb2.Listener, routes: Mapping[str, route_pb2.RouteConfiguration]
) -> listener_pb2.Listener:
    for chain in listener.filter_chains:
        for network_filter in chain.filters:
            if network_filter.name == "envoy.filters.network.http_connection_manager":
                network_filter.typed_config.CopyFrom(_with_routes(network_filter.typed_config, routes))
        if chain.HasField("transport_socket"):
            context = tls_pb2.DownstreamTlsContext.FromString(chain.transport_socket.typed_config.value)
            _name_static_secrets(context.common_tls_context)
            chain.transport_socket.typed_config.CopyFrom(packed(context))
    return listener


def _with_routes(configuration: Any, routes: Mapping[str, route_pb2.RouteConfiguration]) -> Any:
    manager = http_connection_manager_pb2.HttpConnectionManager.FromString(configuration.value)
    manager.route_config.CopyFrom(routes[manager.rds.route_config_name])
    return packed(manager)


def _name_static_secrets(common: tls_pb2.CommonTlsContext) -> None:
    """A Secret named without a source is one of the bootstrap's own."""
    validation: Iterable[secret_pb2.SdsSecretConfig] = (
        [common.validation_context_sds_secret_config] if common.HasField("validation_context_sds_secret_config") else []
    )
    combined = [common.combined_validation_context] if common.HasField("combined_validation_context") else []
    for named in (
        *common.tls_certificate_sds_secret_configs,
        *validation,
        *(context.validation_context_sds_secret_config for context in combined),
    ):
        named.ClearField("sds_config")


def _static_secret(secret: secret_pb2.Secret, stand_in: TlsStandIn | None) -> secret_pb2.Secret:
    if stand_in is not None and secret.HasField("tls_certificate"):
        certificate, private_key = stand_in()
        secret.tls_certificate.certificate_chain.CopyFrom(base_pb2.DataSource(inline_bytes=certificate))
        secret.tls_certificate.private_key.CopyFrom(base_pb2.DataSource(inline_bytes=private_key))
    return secret
