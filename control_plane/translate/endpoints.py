"""ClusterLoadAssignments: from addresses in the configuration and from discovery."""

from collections.abc import Iterable, Iterator

from envoy.config.core.v3 import address_pb2, health_check_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from google.protobuf.wrappers_pb2 import UInt32Value

from control_plane.config.model.gateway import Gateway
from control_plane.config.model.services import ExtAuthzCallout, ExtProcCallout, Service
from control_plane.endpoints import Endpoint, Endpoints, Health
from control_plane.translate.names import EXT_AUTHZ_CLUSTER, EXT_PROC_CLUSTER

_HEALTH = {Health.HEALTHY: health_check_pb2.HEALTHY, Health.DRAINING: health_check_pb2.DRAINING}


def cluster_load_assignments(gateway: Gateway, endpoints: Endpoints) -> Iterator[endpoint_pb2.ClusterLoadAssignment]:
    """One for every cluster whose endpoints travel over EDS: all but DNS services, the callouts included.

    A Kubernetes service that discovery knows nothing of gets an empty one: Envoy would hold up its start for an
    answer that never comes. Discovered endpoints of a callout stand under its cluster's name.
    """
    yield cluster_load_assignment(
        EXT_AUTHZ_CLUSTER, _of_callout(EXT_AUTHZ_CLUSTER, gateway.callouts.ext_authz, endpoints)
    )
    yield cluster_load_assignment(EXT_PROC_CLUSTER, _of_callout(EXT_PROC_CLUSTER, gateway.callouts.ext_proc, endpoints))
    for name, service in sorted(gateway.services.items()):
        if service.dns is None:
            yield cluster_load_assignment(name, _of_service(name, service, endpoints))


def cluster_load_assignment(cluster: str, endpoints: Iterable[Endpoint]) -> endpoint_pb2.ClusterLoadAssignment:
    """Endpoints grouped by zone, both sorted; of two with one address the first counts.

    Weight 0 means no traffic, which Envoy can only be told by leaving the endpoint out. The weight of a locality is
    the sum of its endpoints': Envoy needs none, gRPC's own xDS client skips a locality without.
    """
    by_zone: dict[str, dict[tuple[str, int], Endpoint]] = {}
    for endpoint in endpoints:
        if endpoint.weight > 0:
            by_zone.setdefault(endpoint.zone, {}).setdefault((endpoint.address, endpoint.port), endpoint)
    assignment = endpoint_pb2.ClusterLoadAssignment(cluster_name=cluster)
    for zone, known in sorted(by_zone.items()):
        _fill_locality(assignment.endpoints.add(), zone, sorted_by_address(known.values()))
    return assignment


def sorted_by_address(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    return sorted(endpoints, key=lambda endpoint: (endpoint.address, endpoint.port))


def _fill_locality(locality: endpoint_components_pb2.LocalityLbEndpoints, zone: str, endpoints: list[Endpoint]) -> None:
    """One message serves for a run of endpoints of a kind, with another address each time: `append` copies it.

    Five times as fast as a message of its own for each, and endpoints are what changes all day long.
    """
    if zone:
        locality.locality.zone = zone
    locality.load_balancing_weight.value = sum([endpoint.weight for endpoint in endpoints])
    append = locality.lb_endpoints.append
    weight, health = -1, Health.HEALTHY
    for endpoint in endpoints:
        if endpoint.port == 0:  # the path of a Unix socket
            append(lb_endpoint(endpoint))
            continue
        if endpoint.weight != weight or endpoint.health is not health:
            weight, health = endpoint.weight, endpoint.health
            message = lb_endpoint(endpoint)
            socket_address = message.endpoint.address.socket_address
        socket_address.address = endpoint.address
        socket_address.port_value = endpoint.port
        append(message)


def lb_endpoint(endpoint: Endpoint) -> endpoint_components_pb2.LbEndpoint:
    return endpoint_components_pb2.LbEndpoint(
        endpoint=endpoint_components_pb2.Endpoint(address=address(endpoint.address, endpoint.port)),
        health_status=_HEALTH[endpoint.health],
        load_balancing_weight=UInt32Value(value=endpoint.weight),
    )


def address(host: str, port: int) -> address_pb2.Address:
    """A TCP address, or the path of a Unix socket."""
    if host.startswith("/"):
        return address_pb2.Address(pipe=address_pb2.Pipe(path=host))
    return address_pb2.Address(socket_address=address_pb2.SocketAddress(address=host, port_value=port))


def _of_service(name: str, service: Service, endpoints: Endpoints) -> Iterable[Endpoint]:
    if service.local is not None:
        return (Endpoint("127.0.0.1", service.local),)
    if service.endpoints is not None:
        return tuple(Endpoint(fixed.address, fixed.port, fixed.zone, fixed.weight) for fixed in service.endpoints)
    return endpoints.get(name, ())


def _of_callout(cluster: str, callout: ExtAuthzCallout | ExtProcCallout, endpoints: Endpoints) -> Iterable[Endpoint]:
    if callout.kubernetes is not None:
        return endpoints.get(cluster, ())
    return tuple(Endpoint(fixed.path or fixed.address or "", fixed.port or 0) for fixed in callout.endpoints or ())
