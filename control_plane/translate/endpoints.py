"""ClusterLoadAssignments: from addresses in the configuration and from discovery."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from envoy.config.core.v3 import address_pb2, health_check_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from google.protobuf.wrappers_pb2 import UInt32Value

from control_plane.config.model.gateway import Gateway
from control_plane.config.model.services import Analytics, Callout, Envoys, Service
from control_plane.config.model.services import Endpoint as FixedEndpoint
from control_plane.endpoints import Endpoint, Endpoints, Health
from control_plane.resource_types import NodeKind
from control_plane.snapshot import ENVOYS, Resource
from control_plane.translate.names import ANALYTICS_CLUSTER, ENVOYS_CLUSTER, EXT_AUTHZ_CLUSTER, EXT_PROC_CLUSTER
from policy.wire import tag

_MAX_PORT = 65_535
_HEALTH = {Health.HEALTHY: health_check_pb2.HEALTHY, Health.DRAINING: health_check_pb2.DRAINING}


def other_assignments(gateway: Gateway, endpoints: Endpoints) -> Iterator[Resource]:
    """Of the callouts and of the gateway's Envoys; discovered endpoints stand under the names of their clusters."""
    yield load_assignment(EXT_AUTHZ_CLUSTER, _of_callout(EXT_AUTHZ_CLUSTER, gateway.callouts.ext_authz, endpoints))
    yield load_assignment(EXT_PROC_CLUSTER, _of_callout(EXT_PROC_CLUSTER, gateway.callouts.ext_proc, endpoints))
    if gateway.envoys is not None:
        yield load_assignment(ENVOYS_CLUSTER, _of_envoys(gateway.envoys, endpoints))
    if isinstance(gateway.analytics, Analytics):
        yield load_assignment(ANALYTICS_CLUSTER, _of_callout(ANALYTICS_CLUSTER, gateway.analytics, endpoints))


def service_assignment(name: str, service: Service, endpoints: Endpoints, kinds: frozenset[NodeKind]) -> Resource:
    """Of a service whose endpoints travel over EDS: every one but those with `dns`.

    A Kubernetes service that discovery knows nothing of gets an empty one: Envoy would hold up its start for an
    answer that never comes.
    """
    return load_assignment(name, _of_service(name, service, endpoints), kinds)


def cluster_load_assignment(cluster: str, endpoints: Iterable[Endpoint]) -> endpoint_pb2.ClusterLoadAssignment:
    """The message of `load_assignment_body`."""
    return endpoint_pb2.ClusterLoadAssignment.FromString(load_assignment_body(cluster, endpoints))


def load_assignment(cluster: str, endpoints: Iterable[Endpoint], kinds: frozenset[NodeKind] = ENVOYS) -> Resource:
    """The resource of `load_assignment_body`."""
    type_url = f"type.googleapis.com/{endpoint_pb2.ClusterLoadAssignment.DESCRIPTOR.full_name}"
    return Resource.of_body(type_url, cluster, load_assignment_body(cluster, endpoints), kinds)


def load_assignment_body(cluster: str, endpoints: Iterable[Endpoint]) -> bytes:
    """A ClusterLoadAssignment, serialised deterministically: endpoints grouped by zone, in the order given.

    Endpoints are what changes all day long, so none becomes a message of its own: see `_Templates`.

    Weight 0 means no traffic, which Envoy can only be told by leaving the endpoint out. The weight of a locality is
    the sum of its endpoints': Envoy needs none, gRPC's own xDS client skips a locality without.

    Args:
        endpoints: no two with one address and port; Envoy would refuse them.

    Raises:
        ValueError: Envoy would refuse one of them.
    """
    by_zone: defaultdict[str, list[Endpoint]] = defaultdict(list)
    for endpoint in endpoints:
        if endpoint.weight > 0:
            by_zone[endpoint.zone].append(endpoint)
    assignment = endpoint_pb2.ClusterLoadAssignment(cluster_name=cluster)
    parts = [assignment.SerializeToString(deterministic=True)]
    templates = _Templates()
    for zone, found in sorted(by_zone.items()):
        locality = _locality(zone, found, templates)
        parts += (tag(_LOCALITIES, len(locality)), locality)
    return b"".join(parts)


_LOCALITIES = endpoint_pb2.ClusterLoadAssignment.ENDPOINTS_FIELD_NUMBER


def _locality(zone: str, endpoints: list[Endpoint], templates: "_Templates") -> bytes:
    head = endpoint_components_pb2.LocalityLbEndpoints()
    if zone:
        head.locality.zone = zone
    parts = [head.SerializeToString(deterministic=True)]
    last, before, after = None, b"", b""
    for endpoint in endpoints:
        address = endpoint.address.encode()
        kind = (len(address), endpoint.port, endpoint.weight, endpoint.health)
        if kind != last:
            before, after = templates[kind]
            last = kind
        parts += (before, address, after)
    weight = UInt32Value(value=sum([endpoint.weight for endpoint in endpoints]))
    tail = endpoint_components_pb2.LocalityLbEndpoints(load_balancing_weight=weight)
    parts.append(tail.SerializeToString(deterministic=True))
    return b"".join(parts)


_Kind = tuple[int, int, int, Health]
"""Length of the address in bytes, port, weight, health: all that endpoints differ in but the address itself."""


class _Templates(dict[_Kind, tuple[bytes, bytes]]):
    """What stands before and after the address in the bytes of an endpoint of a kind.

    Made by serialising a message of the kind; ten times as fast as a message for each.
    """

    def __missing__(self, kind: _Kind) -> tuple[bytes, bytes]:
        length, port, weight, health = kind
        if not length or not 0 <= port <= _MAX_PORT:
            raise ValueError(f"an endpoint with an address of {length} characters and port {port}")
        # NULs are in no tag and no length; the path of a Unix socket (port 0) is known by its slash.
        placeholder = ("" if port else "/").ljust(length, "\0")
        one = lb_endpoint(Endpoint(placeholder, port, weight=weight, health=health))
        whole = endpoint_components_pb2.LocalityLbEndpoints(lb_endpoints=[one]).SerializeToString(deterministic=True)
        before, _, after = whole.partition(placeholder.encode())
        self[kind] = before, after
        return before, after


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
        return _fixed(service.endpoints)
    return endpoints.get(name, ())


def _of_envoys(envoys: Envoys, endpoints: Endpoints) -> Iterable[Endpoint]:
    return _fixed(envoys.endpoints) if envoys.endpoints is not None else endpoints.get(ENVOYS_CLUSTER, ())


def _fixed(given: Iterable[FixedEndpoint]) -> Iterable[Endpoint]:
    return _unique(Endpoint(one.address, one.port, one.zone, one.weight) for one in given)


def _unique(endpoints: Iterable[Endpoint]) -> Iterable[Endpoint]:
    """Sorted by address and port; of two with the same the first counts."""
    found: dict[tuple[str, int], Endpoint] = {}
    for endpoint in endpoints:
        found.setdefault((endpoint.address, endpoint.port), endpoint)
    return [endpoint for _, endpoint in sorted(found.items())]


def _of_callout(cluster: str, callout: Callout, endpoints: Endpoints) -> Iterable[Endpoint]:
    if callout.kubernetes is not None:
        return endpoints.get(cluster, ())
    return _unique(Endpoint(fixed.path or fixed.address or "", fixed.port or 0) for fixed in callout.endpoints or ())
