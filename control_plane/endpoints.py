"""Endpoints of a service, as values: what discovery found and what a ClusterLoadAssignment is built from.

`merge` makes the endpoints of one Service port out of all its EndpointSlices. It reads nothing but its arguments:
the slices come from control_plane.kubernetes.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

_MAX_PORT = 65_535
_FEW = 256
"""Keys that are put into a sorted list one by one rather than by sorting it."""


class Health(Enum):
    """How Envoy is told to treat an endpoint."""

    HEALTHY = "healthy"
    DRAINING = "draining"
    """Finishes its requests and gets no new ones while others are there."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address that can serve requests of a service."""

    address: str
    """IPv4 or IPv6 literal, a host name for DNS services, or the path of a Unix socket (port 0)."""
    port: int
    zone: str = ""
    weight: int = 1
    health: Health = Health.HEALTHY


Endpoints = Mapping[str, tuple[Endpoint, ...]]
"""By the service's name in gateway.yaml, of those services whose endpoints are discovered (Kubernetes)."""


class AddressType(Enum):
    """What all addresses of one EndpointSlice are."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"
    FQDN = "FQDN"


class Condition(Enum):
    """The conditions ready, serving and terminating of a slice's endpoint, as far as they matter here.

    An absent condition counts as ready, serving and not terminating (EndpointConditions of discovery.k8s.io/v1).
    """

    READY = "ready"
    TERMINATING = "terminating, still serving"
    NOT_READY = "not ready"
    STOPPED = "terminating, no longer serving"


@dataclass(frozen=True, slots=True)
class SliceEndpoint:
    """One entry of an EndpointSlice; addresses beyond the first have no meaning in Kubernetes."""

    address: str
    condition: Condition = Condition.READY
    zone: str = ""
    hints: tuple[str, ...] = ()
    """Zones that are meant to use it (topology aware routing)."""
    target: str = ""
    """The pod behind it, "" if unknown; the same in the IPv4 and the IPv6 slice of a dual-stack Service."""


@dataclass(frozen=True, slots=True)
class SlicePort:
    name: str
    number: int | None
    """None: any port, as the slice's author says of Services without fixed ports."""
    app_protocol: str = ""


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    """One discovery.k8s.io/v1 EndpointSlice of a Service."""

    namespace: str
    service: str
    name: str
    address_type: AddressType
    ports: tuple[SlicePort, ...]
    """TCP only."""
    endpoints: tuple[SliceEndpoint, ...]
    weight: int = 1
    """Of each of its endpoints."""


@dataclass(frozen=True, slots=True)
class ServicePort:
    name: str
    number: int
    target: int | None = None
    """targetPort if it is a number."""
    app_protocol: str = ""


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """What a Service object says that its slices do not."""

    namespace: str
    name: str
    ports: tuple[ServicePort, ...] = ()
    """TCP only; empty for a headless Service without ports."""
    publish_not_ready: bool = False
    families: tuple[AddressType, ...] = ()
    """The first one is preferred for pods that have both."""
    external_name: str = ""
    """The DNS name of a Service of type ExternalName."""


def merge(slices: Iterable[EndpointSlice], port: str, service: ServiceSpec | None = None) -> tuple[Endpoint, ...]:
    """Return the unique endpoints of one port of a Service, sorted by address.

    A Service may span many slices, and one endpoint may stand in several of them for a while: "clients of the
    EndpointSlice API must iterate through all the existing EndpointSlices associated to a Service and build a complete
    list of unique network endpoints" (https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/).
    A copy that is ready wins over one that drains (kubernetes/kubernetes#121556).

    Args:
        slices: all slices of one Service, in any order.
        port: name of the Service's port, or its number.
        service: the Service; without it a number is looked for in the slices themselves.

    Returns:
        Empty if no slice has the port. Endpoints that are terminating and still serve are DRAINING; when nothing else
        is left they are HEALTHY, because a Service that only has such pods shall go on answering (KEP-1669), and Envoy
        sends a draining endpoint no request. Endpoints that are not ready are left out unless the Service publishes
        them.
    """
    return SliceMerge(port).merge({one.name: one for one in slices}, service)


class SliceMerge:
    """`merge` for one port that is asked again after every change; it works out changed slices only.

    Of 50,000 endpoints in 500 slices one event changes 100; all that is left to do for the others is to list them.
    """

    def __init__(self, port: str) -> None:
        self._port = port
        self._parts: dict[str, _Part] = {}
        self._visible: dict[str, Mapping[str, Endpoint]] = {}
        self._merged: dict[str, Endpoint] = {}
        self._order: list[str] = []
        """The keys of what is merged, sorted."""
        self._found: list[Endpoint] = []
        """The endpoints of these keys."""

    def merge(self, slices: Mapping[str, EndpointSlice], service: ServiceSpec | None) -> tuple[Endpoint, ...]:
        """As the function `merge`; `slices` by name, a slice that did not change being the same object."""
        self._parts = {name: self._part(slices[name], service) for name in sorted(slices)}
        parts = [part for part in self._parts.values() if part.endpoints]
        # kube-proxy's rule: hints count only if every endpoint has some, else a zone could be left without any.
        hinted = all(part.hinted is not None for part in parts)
        covered = _covered_targets(parts, service)
        visible = {part.slice.name: part.visible(hinted, covered) for part in parts}
        if not self._take_changed(visible):
            self._take_all(visible)
        self._visible = visible
        return _serving(tuple(self._found))

    def _take_changed(self, visible: Mapping[str, Mapping[str, Endpoint]]) -> bool:
        """Look at the slices that differ only; False while an endpoint stands in two slices."""
        before, merged = self._visible, self._merged
        if len(merged) != sum(map(len, before.values())):
            return False
        changed = [name for name in {**before, **visible} if before.get(name) is not visible.get(name)]
        gone = {key for name in changed for key in before.get(name, ())}
        fresh: dict[str, Endpoint] = {}
        for name in changed:
            fresh.update(visible.get(name, {}))
        if len(fresh) != sum(len(visible.get(name, ())) for name in changed):
            return False
        added = fresh.keys() - gone
        if not merged.keys().isdisjoint(added):
            return False
        removed = gone - fresh.keys()
        for key in removed:
            del merged[key]
        merged.update(fresh)
        self._put_in_order(fresh, added, removed)
        return True

    def _put_in_order(self, fresh: Mapping[str, Endpoint], added: Collection[str], removed: Collection[str]) -> None:
        order, found = self._order, self._found
        if len(added) + len(removed) > _FEW:
            kept = [key for key in order if key not in removed]
            self._order = sorted([*kept, *added])  # almost sorted: much less work than a sort
            self._found = list(map(self._merged.__getitem__, self._order))
            return
        for key in removed:
            place = bisect_left(order, key)
            del order[place], found[place]
        for key, endpoint in fresh.items():
            place = bisect_left(order, key)
            if key in added:
                order.insert(place, key)
                found.insert(place, endpoint)
            else:
                found[place] = endpoint

    def _take_all(self, visible: Mapping[str, Mapping[str, Endpoint]]) -> None:
        self._merged = {}
        for found in visible.values():
            _add(self._merged, found)
        self._order = sorted(self._merged)
        self._found = list(map(self._merged.__getitem__, self._order))

    def _part(self, one: EndpointSlice, service: ServiceSpec | None) -> "_Part":
        known = self._parts.get(one.name)
        if known is not None and known.slice is one and known.service is service:
            return known
        return _part(one, self._port, service)


@dataclass(frozen=True, slots=True)
class _Part:
    """What one slice adds, by a key that sorts by address and port."""

    slice: EndpointSlice
    service: ServiceSpec | None
    endpoints: Mapping[str, Endpoint]
    hinted: Mapping[str, Endpoint] | None
    """The same in the zones that hints give them to; None if one has no hint."""
    number: int | None
    """Of the port."""

    def visible(self, hinted: bool, covered: Collection[str] | None) -> Mapping[str, Endpoint]:
        found = self.hinted if hinted and self.hinted is not None else self.endpoints
        if covered is None or self.slice.address_type is _preferred_family(self.service):
            return found
        targets = self.targets()
        return {key: endpoint for key, endpoint in found.items() if targets[key] not in covered}

    def targets(self) -> Mapping[str, str]:
        """The pods behind the endpoints, by the same key; needed by dual-stack Services only, so it is not kept."""
        keyed = ((_key(entry, self.number), entry.target) for entry in self.slice.endpoints)
        return {key: target for key, target in keyed if key in self.endpoints}


def _part(one: EndpointSlice, port: str, service: ServiceSpec | None) -> _Part:
    number = _usable(port_number(one, port, service))
    publish = service is not None and service.publish_not_ready
    endpoints: dict[str, Endpoint] = {}
    hinted: dict[str, Endpoint] | None = {}
    for entry in one.endpoints if number is not None else ():
        health = _health(entry.condition, publish)
        if health is None or not entry.address:
            continue
        assert number is not None
        key = _key(entry, number)
        if key in endpoints and health is Health.DRAINING:
            continue
        endpoint = Endpoint(entry.address, number, entry.zone, one.weight, health)
        endpoints[key] = endpoint
        if not entry.hints:
            hinted = None
        elif hinted is not None:
            zone = entry.zone if entry.zone in entry.hints else min(entry.hints)
            hinted[key] = endpoint if zone == entry.zone else replace(endpoint, zone=zone)
    return _Part(one, service, endpoints, hinted, number)


def _usable(number: int | None) -> int | None:
    """An API server lets no other number pass; but one that Envoy refuses would hold up every change of the service."""
    return number if number is not None and 0 < number <= _MAX_PORT else None


def _key(entry: SliceEndpoint, number: int | None) -> str:
    return f"{entry.address} {number}"


def _health(condition: Condition, publish_not_ready: bool) -> Health | None:
    match condition:
        case Condition.READY:
            return Health.HEALTHY
        case Condition.TERMINATING:
            return Health.DRAINING
        case Condition.NOT_READY:
            return Health.HEALTHY if publish_not_ready else None
        case Condition.STOPPED:
            return Health.DRAINING if publish_not_ready else None


def _add(merged: dict[str, Endpoint], found: Mapping[str, Endpoint]) -> None:
    again = {key: merged[key] for key in merged.keys() & found.keys()}
    merged.update(found)
    for key, before in again.items():
        if before.health is Health.HEALTHY or merged[key].health is Health.DRAINING:
            merged[key] = before


def _serving(endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    if any(endpoint.health is Health.HEALTHY and endpoint.weight > 0 for endpoint in endpoints):
        return endpoints
    return tuple(replace(endpoint, health=Health.HEALTHY) for endpoint in endpoints)


def _preferred_family(service: ServiceSpec | None) -> AddressType:
    return service.families[0] if service is not None and service.families else AddressType.IPV4


def _covered_targets(parts: Collection[_Part], service: ServiceSpec | None) -> frozenset[str] | None:
    """Pods that are reached by an address of the preferred family; None unless the slices have two families.

    A pod of a dual-stack Service stands in two slices. Counted twice, it would get twice the traffic of a pod that has
    one address.
    """
    if len({part.slice.address_type for part in parts}) < 2:
        return None
    preferred = _preferred_family(service)
    targets = (part.targets().values() for part in parts if part.slice.address_type is preferred)
    return frozenset().union(*targets) - {""}


def port_number(one: EndpointSlice, port: str, service: ServiceSpec | None) -> int | None:
    """The number that a Service's port has in this slice (targetPort may differ by slice); None if it has none.

    A number means the Service's port, as in the Gateway API. Where no Service port is known (selector-less slices whose
    Service cannot be read, headless Services without ports) it is the endpoints' own port.
    """
    if service is not None and service.ports:
        wanted = service_port(service, port)
        if wanted is None:
            return None
        return next((_number(found, wanted) for found in one.ports if found.name == wanted.name), None)
    if not port.isdecimal():
        return next((found.number for found in one.ports if found.name == port), None)
    number = int(port)
    unrestricted = not one.ports or any(found.number in (None, number) for found in one.ports)
    return number if unrestricted else None


def service_port(service: ServiceSpec, port: str) -> ServicePort | None:
    """The port of that name or number."""
    by_name = next((found for found in service.ports if found.name == port), None)
    if by_name is None and port.isdecimal():
        return next((found for found in service.ports if found.number == int(port)), None)
    return by_name


def _number(found: SlicePort, wanted: ServicePort) -> int:
    return found.number or wanted.target or wanted.number


def upstream_protocol(slices: Iterable[EndpointSlice], port: str, service: ServiceSpec | None) -> str | None:
    """What appProtocol says of the port in words of gateway.yaml (`http2`, `grpc`), None if it says nothing of use.

    `kubernetes.io/h2c` is Kubernetes' own name; `h2c`, `http2` and `grpc` are common besides it.
    """
    wanted = service_port(service, port) if service is not None else None
    name = wanted.name if wanted is not None else port
    said = [wanted.app_protocol] if wanted is not None else []
    said += sorted({found.app_protocol for one in slices for found in one.ports if found.name == name})
    return next((_PROTOCOLS[one] for one in said if one in _PROTOCOLS), None)


_PROTOCOLS = {"kubernetes.io/h2c": "http2", "h2c": "http2", "http2": "http2", "grpc": "grpc"}
