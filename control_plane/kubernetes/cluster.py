"""What is known of all watched objects, and what follows from it for the services of a gateway."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from control_plane.config.model.gateway import Gateway
from control_plane.config.model.services import Dns, KubernetesService, Names, Service
from control_plane.config.model.services import Endpoint as FixedEndpoint
from control_plane.endpoints import (
    AddressType,
    Endpoint,
    Endpoints,
    EndpointSlice,
    ServiceSpec,
    SliceMerge,
    merge,
    service_port,
    upstream_protocol,
)
from control_plane.kubernetes.list_watch import Change, Changed, Listed
from control_plane.kubernetes.parsing import ObjectContent
from control_plane.kubernetes.tls_secrets import TlsSecrets
from control_plane.kubernetes.watched import Kind, Watched, kubernetes_secrets, kubernetes_services
from control_plane.remembered import Remembered

Known = EndpointSlice | ServiceSpec | ObjectContent


@dataclass(frozen=True, slots=True, order=True)
class ServiceKey:
    """A Service of the cluster."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Affected:
    """What may look different after a change; empty if nothing does."""

    services: frozenset[ServiceKey] = frozenset()
    contents: frozenset[Watched] = frozenset()
    """Secrets and ConfigMaps."""

    def __bool__(self) -> bool:
        return bool(self.services or self.contents)

    def __or__(self, other: "Affected") -> "Affected":
        return Affected(self.services | other.services, self.contents | other.contents)


@dataclass(frozen=True, slots=True)
class Discovered:
    """One configuration together with what the cluster knows for it at one moment."""

    gateway: Gateway
    """As in the file, but for what the cluster says of its services (see `Cluster.service_as_discovered`)."""
    endpoints: Endpoints = field(default_factory=dict)
    materials: Mapping[str, bytes] = field(default_factory=dict)
    """TLS pairs by `namespace/name#tls.crt` and `namespace/name#tls.key`."""


class Cluster:
    """Services, slices, Secrets and ConfigMaps by name. `apply` every change; ask for what follows from it."""

    def __init__(self) -> None:
        self._objects: dict[Watched, dict[str, Known]] = {}
        self._services: dict[ServiceKey, ServiceSpec] = {}
        self._slices: dict[ServiceKey, dict[str, EndpointSlice]] = {}
        self._named: dict[ServiceKey, dict[str, EndpointSlice]] = {}
        """Slices of host names, which EDS cannot carry."""
        self._merges: dict[tuple[ServiceKey, str], SliceMerge] = {}
        self._tls = TlsSecrets()
        self._as_discovered = Remembered[Service]()

    def apply(self, watched: Watched, change: Change[Known]) -> Affected:
        """Take in a change of one list/watch and say what it affects.

        What is equal to what was known changes nothing: API servers send an event for every touched annotation, and a
        list repeats everything.
        """
        objects = self._objects.setdefault(watched, {})
        if isinstance(change, Changed):
            return self._apply(watched, objects, change)
        gone: list[Changed[Known]] = [Changed(name, None) for name in sorted(objects.keys() - change.objects.keys())]
        put: list[Changed[Known]] = [Changed(name, value) for name, value in change.objects.items()]
        services: set[ServiceKey] = set()
        contents: set[Watched] = set()
        for one in (*gone, *put):
            affected = self._apply(watched, objects, one)
            services |= affected.services
            contents |= affected.contents
        return Affected(frozenset(services), frozenset(contents))

    def forget(self, watched: Watched) -> Affected:
        """The objects of one list/watch do not count any more."""
        affected = self.apply(watched, Listed({}))
        del self._objects[watched]
        return affected

    def _apply(self, watched: Watched, objects: dict[str, Known], change: Changed[Known]) -> Affected:
        before, after = objects.get(change.name), change.value
        if before == after:
            return Affected()
        if after is None:
            del objects[change.name]
        else:
            objects[change.name] = after
        return self._remove(watched, before) | self._add(watched, after)

    def _remove(self, watched: Watched, known: Known | None) -> Affected:
        match known:
            case EndpointSlice():
                key, slices = ServiceKey(known.namespace, known.service), self._slices_like(known)
                del slices[key][known.name]
                if not slices[key]:
                    del slices[key]
                return Affected(frozenset({key}))
            case ServiceSpec():
                key = ServiceKey(known.namespace, known.name)
                del self._services[key]
                return Affected(frozenset({key}))
            case ObjectContent():
                return Affected(contents=frozenset({watched}))
            case None:
                return Affected()

    def _add(self, watched: Watched, known: Known | None) -> Affected:
        match known:
            case EndpointSlice():
                key = ServiceKey(known.namespace, known.service)
                self._slices_like(known).setdefault(key, {})[known.name] = known
                return Affected(frozenset({key}))
            case ServiceSpec():
                key = ServiceKey(known.namespace, known.name)
                self._services[key] = known
                return Affected(frozenset({key}))
            case ObjectContent():
                return Affected(contents=frozenset({watched}))
            case None:
                return Affected()

    def _slices_like(self, one: EndpointSlice) -> dict[ServiceKey, dict[str, EndpointSlice]]:
        return self._named if one.address_type is AddressType.FQDN else self._slices

    def content(self, watched: Watched) -> ObjectContent | None:
        """The one Secret or ConfigMap of a list/watch, if it exists."""
        found = self._objects.get(watched, {}).get(watched.name)
        return found if isinstance(found, ObjectContent) else None

    def endpoints(self, reference: KubernetesService) -> tuple[Endpoint, ...]:
        """Of one Service port, addresses only; empty for a Service that does not exist."""
        key = _key(reference)
        merge = self._merges.setdefault((key, reference.port), SliceMerge(reference.port))
        return merge.merge(self._slices.get(key, {}), self._services.get(key))

    def discovered(self, gateway: Gateway) -> Discovered:
        """All that is known for one configuration. The snapshot of it may be made in another thread."""
        self._as_discovered.next_round()
        services = {name: self.service_as_discovered(service) for name, service in gateway.services.items()}
        endpoints = {name: self.endpoints(reference) for name, reference in kubernetes_services(gateway)}
        wanted = {(_key(reference), reference.port) for _, reference in kubernetes_services(gateway)}
        for forgotten in self._merges.keys() - wanted:
            del self._merges[forgotten]
        secrets = (Watched(namespace, Kind.SECRETS, name) for namespace, name in kubernetes_secrets(gateway))
        self._tls.take({f"{one.namespace}/{one.name}": self.content(one) for one in secrets})
        return Discovered(
            gateway if services == gateway.services else gateway.model_copy(update={"services": services}),
            MappingProxyType(endpoints),
            MappingProxyType({**self._tls.materials}),
        )

    def service_as_discovered(self, service: Service) -> Service:
        """The service with what the cluster says about it, as if it stood in the file.

        An ExternalName Service, and one whose slices hold host names alone, is a DNS service: Envoy's EDS takes
        addresses only. appProtocol sets the protocol of a service for which the file says none.
        """
        if service.kubernetes is None:
            return service
        said: dict[str, object] = {}
        dns = self._dns(service.kubernetes)
        if dns is not None:
            said |= {"kubernetes": None, "dns": dns}
        protocol = self._protocol(service.kubernetes)
        if protocol is not None and "protocol" not in service.model_fields_set:
            said["protocol"] = protocol
        if not said:
            return service
        # The very same object as before: what is made of it need not be made again.
        key = (id(service), dns, said.get("protocol"))
        return self._as_discovered.of(key, (service,), lambda: service.model_copy(update=said))

    def _protocol(self, reference: KubernetesService) -> str | None:
        key = _key(reference)
        slices = self._slices.get(key) or self._named.get(key, {})
        return upstream_protocol(slices.values(), reference.port, self._services.get(key))

    def _dns(self, reference: KubernetesService) -> Dns | None:
        key = _key(reference)
        service = self._services.get(key)
        if service is not None and service.external_name:
            port = _external_port(service, reference.port)
            return Dns(host=service.external_name, port=port) if port is not None else None
        if key in self._slices:
            return None
        found = merge(self._named.get(key, {}).values(), reference.port, service)
        if len(found) < 2:
            return Dns(host=found[0].address, port=found[0].port) if found else None
        endpoints = tuple(FixedEndpoint(address=o.address, port=o.port, zone=o.zone, weight=o.weight) for o in found)
        return Names(host=found[0].address, port=found[0].port, endpoints=endpoints)

    def problems(self, gateway: Gateway) -> Mapping[str, str]:
        """Why a service has no endpoint or a listener no certificate, by its name in gateway.yaml or `namespace/name`.

        Those of Secrets are as of the last call of `discovered`.
        """
        services = {name: text for name, reference in kubernetes_services(gateway) for text in self._problem(reference)}
        return {**services, **self._tls.faults}

    def _problem(self, reference: KubernetesService) -> Iterator[str]:
        key = _key(reference)
        service = self._services.get(key)
        called = f"Service {key.namespace}/{key.name}"
        if service is not None and service.external_name:
            if _external_port(service, reference.port) is None:
                yield f"{called} is an ExternalName without a port {reference.port!r}: write its number"
        elif service is None and key not in self._slices and key not in self._named:
            yield f"{called} does not exist"
        elif service is not None and service.ports and service_port(service, reference.port) is None:
            yield f"{called} has no port {reference.port!r} (it has {_listed(service)})"
        elif not self.endpoints(reference) and self._dns(reference) is None:
            yield f"{called} has no ready endpoint"


def _key(reference: KubernetesService) -> ServiceKey:
    return ServiceKey(reference.namespace, reference.service)


def _external_port(service: ServiceSpec, port: str) -> int | None:
    known = service_port(service, port)
    if known is not None:
        return known.number
    return int(port) if port.isdecimal() else None


def _listed(service: ServiceSpec) -> str:
    return ", ".join(_port_text(port.name, port.number) for port in service.ports)


def _port_text(name: str, number: int) -> str:
    return f"{name} ({number})" if name else str(number)


def services_of(gateway: Gateway, keys: Iterable[ServiceKey]) -> Mapping[str, KubernetesService]:
    """The services of a gateway that refer to one of the given Services."""
    wanted = frozenset(keys)
    return {name: reference for name, reference in kubernetes_services(gateway) if _key(reference) in wanted}
