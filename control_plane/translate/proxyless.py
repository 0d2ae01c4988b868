"""Proxyless gRPC: what gRPC's own xDS client (`xds:///NAME`) gets instead of an Envoy's resources.

Every service with `protocol: grpc` whose endpoints travel over EDS, in plain text, has a Listener of its own name for
gRPC clients only; Envoys never see it. Clusters and assignments are those of Envoy, in the form that gRPC takes: gRPC
refuses what it does not know of a cluster, and spreads load by localities rather than by endpoints.

https://github.com/grpc/proposal: A27 (xDS), A28 (routes and weights), A32 (circuit breaking), A42 (ring hash), A50
(outlier detection).
"""

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.config.listener.v3 import api_listener_pb2, listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

from control_plane.config.model.gateway import Gateway
from control_plane.config.model.services import Service
from control_plane.resource_types import CLUSTER, CLUSTER_LOAD_ASSIGNMENT, NodeKind
from control_plane.snapshot import ENVOYS, Resource
from control_plane.translate.messages import from_ads, packed

GRPC_CLIENTS = frozenset({NodeKind.GRPC})
_BOTH = ENVOYS | GRPC_CLIENTS
Cluster = cluster_pb2.Cluster
HttpConnectionManager = http_connection_manager_pb2.HttpConnectionManager


def is_proxyless(service: Service) -> bool:
    """Whether gRPC clients may find a service: one with TLS needs certificate providers in their own bootstrap."""
    return service.protocol == "grpc" and service.dns is None and service.tls is None


def kinds_of(service: Service) -> frozenset[NodeKind]:
    """Who may have the cluster and the assignment of a service."""
    return _BOTH if is_proxyless(service) else ENVOYS


def proxyless_listener(gateway: Gateway, name: str) -> Resource | None:
    """Of the service of that name; None if gRPC clients may not find it, or if a listener for Envoys has its name."""
    if not is_proxyless(gateway.services[name]) or any(listener.name == name for listener in gateway.listeners):
        return None
    return Resource.of(name, _listener(name), GRPC_CLIENTS)


def for_grpc(resource: Resource) -> Resource:
    """A resource of an Envoy as gRPC takes it."""
    if resource.type_url == CLUSTER:
        return Resource.of(resource.name, _cluster(Cluster.FromString(resource.body)), resource.kinds)
    if resource.type_url == CLUSTER_LOAD_ASSIGNMENT:
        assignment = endpoint_pb2.ClusterLoadAssignment.FromString(resource.body)
        return Resource.of(resource.name, _by_weight(assignment), resource.kinds)
    return resource


def _listener(name: str) -> listener_pb2.Listener:
    everything = route_components_pb2.Route(
        name=name,
        match=route_components_pb2.RouteMatch(prefix=""),
        route=route_components_pb2.RouteAction(cluster=name),
    )
    host = route_components_pb2.VirtualHost(name=name, domains=["*"], routes=[everything])
    manager = HttpConnectionManager(
        stat_prefix=name,
        route_config=route_pb2.RouteConfiguration(name=name, virtual_hosts=[host]),
        http_filters=[
            http_connection_manager_pb2.HttpFilter(
                name="envoy.filters.http.router", typed_config=packed(router_pb2.Router())
            )
        ],
    )
    return listener_pb2.Listener(name=name, api_listener=api_listener_pb2.ApiListener(api_listener=packed(manager)))


def _cluster(cluster: Cluster) -> Cluster:
    """Round robin stands for what gRPC does not have: least_request, random and maglev."""
    message = Cluster(
        name=cluster.name,
        type=Cluster.EDS,
        eds_cluster_config=Cluster.EdsClusterConfig(eds_config=from_ads()),
        lb_policy=Cluster.RING_HASH if cluster.lb_policy == Cluster.RING_HASH else Cluster.ROUND_ROBIN,
    )
    for threshold in cluster.circuit_breakers.thresholds:
        limit = circuit_breaker_pb2.CircuitBreakers.Thresholds(max_requests=threshold.max_requests)
        message.circuit_breakers.thresholds.append(limit)
    return message


def _by_weight(assignment: endpoint_pb2.ClusterLoadAssignment) -> endpoint_pb2.ClusterLoadAssignment:
    """Endpoints of one zone and weight make a locality: round robin inside one ignores weights, localities count."""
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=assignment.cluster_name)
    for locality in assignment.endpoints:
        groups: dict[int, list[endpoint_components_pb2.LbEndpoint]] = {}
        for endpoint in locality.lb_endpoints:
            groups.setdefault(endpoint.load_balancing_weight.value, []).append(endpoint)
        for weight, members in sorted(groups.items()):
            group = message.endpoints.add(lb_endpoints=members)
            group.locality.CopyFrom(locality.locality)
            if len(groups) > 1:
                group.locality.sub_zone = f"weight {weight}"
            group.load_balancing_weight.value = weight * len(members)
    return message
