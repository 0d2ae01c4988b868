"""Services: their endpoints and health as Envoy sees it, and how they do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from envoy.config.core.v3 import health_check_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2

from control_plane.config.effective import EffectiveRoute
from control_plane.config.model.services import Service
from control_plane.config.wording import worded
from control_plane.dashboard.charts import Chart, sparkline
from control_plane.dashboard.paging import Page, Query, paged
from control_plane.dashboard.scene import Scene
from control_plane.resource_types import CLUSTER_LOAD_ASSIGNMENT
from control_plane.traffic.numbers import EndpointView, Http, Membership
from control_plane.traffic.report import stat_name
from control_plane.translate.clusters import is_judged_by_envoy


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """One service in the list."""

    gateway: str
    name: str
    source: str
    """Where its endpoints come from."""
    members: Membership | None
    """None: no Envoy has said anything, and its endpoints are not known here."""
    is_reported: bool
    """Whether an Envoy says so, or only the control plane."""
    http: Http

    @property
    def state(self) -> str:
        """down, degraded, healthy or unknown."""
        if self.members is None:
            return "unknown"
        if self.members.healthy == 0:
            return "down"
        return "degraded" if self.members.healthy < self.members.total else "healthy"


def source(service: Service) -> str:
    """In the words of gateway.yaml."""
    if service.kubernetes is not None:
        named = service.kubernetes
        return f"Kubernetes {named.namespace}/{named.service}:{named.port}"
    if service.dns is not None:
        return f"DNS {service.dns.host}:{service.dns.port}"
    return "local" if service.local is not None else "fixed addresses"


def rows(scene: Scene, gateway: str = "") -> list[ServiceRow]:
    """Of one gateway, or of all; by name."""
    found = []
    for name, one in scene.gateways.items():
        if gateway and name != gateway:
            continue
        members = scene.traffic.memberships(name)
        assignments = scene.snapshot_of(name).of_type(CLUSTER_LOAD_ASSIGNMENT)
        for service_name, service in sorted(one.services.items()):
            reported = members.get(stat_name(service_name))
            known = reported
            if known is None and service_name in assignments:
                known = _told(assignments[service_name].body)
            found.append(
                ServiceRow(
                    name,
                    service_name,
                    source(service),
                    known,
                    reported is not None,
                    scene.traffic.service(name, service_name),
                )
            )
    return found


@lru_cache(maxsize=4096)
def _told(body: bytes) -> Membership:
    """What Envoys have been told."""
    states = [one.health_status for _, one in _endpoints(body)]
    return Membership(sum(one != health_check_pb2.DRAINING for one in states), len(states), 0)


def page(scene: Scene, query: Query) -> Page[ServiceRow]:
    return paged(
        rows(scene, query.gateway),
        query,
        words=lambda row: f"{row.name} {row.source} {row.gateway}",
        states=lambda row: frozenset({row.state, *(("active",) if row.http.requests else ())}),
        orders={
            "name": lambda row: row.name,
            "health": lambda row: row.members.healthy - row.members.total if row.members else 0,
            "requests": lambda row: row.http.requests,
            "errors": lambda row: (row.http.server_errors, row.http.requests),
            "latency": lambda row: row.http.p95_ms or 0.0,
        },
    )


def trend(scene: Scene, row: ServiceRow) -> Chart | None:
    """Requests of the last five minutes; None: there were none."""
    points = scene.traffic.service_history(row.gateway, row.name)
    if not points:
        return None
    return sparkline([requests for requests, _ in points], "requests", f"requests of {row.name}, the last five minutes")


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """One endpoint: what Envoys were told, and what they say."""

    address: str
    zone: str
    weight: int
    told: str
    """"" for one that Envoy has found itself (DNS)."""
    view: EndpointView | None
    """None: Envoy has no opinion of its own, or has not said it yet."""

    @property
    def state(self) -> str:
        """healthy, partly, unhealthy, draining or told."""
        if self.told == "draining":
            return "draining"
        if self.view is None:
            return "told"
        if self.view.unhealthy_on == 0:
            return "healthy"
        return "partly" if self.view.healthy_on else "unhealthy"


@dataclass(frozen=True, slots=True)
class ServiceView:
    """Everything of one service."""

    row: ServiceRow
    endpoints: Sequence[EndpointRow]
    is_judged: bool
    """Whether Envoys find out about health themselves."""
    settings: Sequence[tuple[str, str]]
    routes: Sequence[tuple[EffectiveRoute, str]]
    """Those that lead to it, with how."""
    requests: Chart | None


def service(scene: Scene, gateway: str, name: str) -> ServiceView | None:
    """None if there is no such service."""
    found = scene.gateways.get(gateway)
    if found is None or name not in found.services:
        return None
    row = next(row for row in rows(scene, gateway) if row.name == name)
    resource = scene.snapshot_of(gateway).of_type(CLUSTER_LOAD_ASSIGNMENT).get(name)
    views = {view.address: view for view in scene.traffic.endpoints(gateway, name)}
    return ServiceView(
        row,
        _merged(_endpoints(resource.body) if resource is not None else [], views),
        is_judged_by_envoy(found.services[name]),
        _settings(found.services[name]),
        [(route, how) for route in scene.routes_of(gateway) if (how := _leads(route, name))],
        trend(scene, row),
    )


def _settings(service: Service) -> Sequence[tuple[str, str]]:
    breaker, tls = service.circuit_breaker, service.tls
    return [
        ("Protocol", service.protocol),
        ("Load balancing", worded(service.load_balancing.policy)),
        ("Connect timeout", worded(service.connect_timeout)),
        ("Health check", worded(service.health_check)),
        ("Outlier detection", worded(service.outlier_detection)),
        ("Circuit breaker", worded(breaker)),
        ("Panic threshold", f"{service.panic_threshold} %"),
        ("TLS", "none" if tls is None else "not verified" if tls.insecure_skip_verify else "verified"),
    ]


def _leads(route: EffectiveRoute, name: str) -> str:
    total = sum(backend.weight for backend in route.backends)
    weight = sum(backend.weight for backend in route.backends if backend.service == name)
    if total and any(backend.service == name for backend in route.backends):
        return "all requests" if weight == total else f"{100 * weight / total:.3g} % of the requests"
    if route.mirror is not None and route.mirror.service == name:
        return f"mirrors {route.mirror.percent} %"
    return ""


_Told = tuple[str, endpoint_components_pb2.LbEndpoint]
"""With its zone."""


def _endpoints(body: bytes) -> list[_Told]:
    assignment = endpoint_pb2.ClusterLoadAssignment.FromString(body)
    return [(locality.locality.zone, one) for locality in assignment.endpoints for one in locality.lb_endpoints]


def _merged(told: list[_Told], views: Mapping[str, EndpointView]) -> Sequence[EndpointRow]:
    """What was told, then what Envoys have found themselves."""
    found, named = [], set()
    for zone, endpoint in told:
        address = _address(endpoint)
        named.add(stat_name(address))
        state = "draining" if endpoint.health_status == health_check_pb2.DRAINING else "healthy"
        weight = endpoint.load_balancing_weight.value or 1
        found.append(EndpointRow(address, zone, weight, state, views.get(stat_name(address))))
    own = [view for name, view in sorted(views.items()) if name not in named]
    return [*found, *(EndpointRow(_unsaid(view.address), "", 1, "", view) for view in own)]


def _address(endpoint: endpoint_components_pb2.LbEndpoint) -> str:
    address = endpoint.endpoint.address
    if address.HasField("pipe"):
        return address.pipe.path
    host = address.socket_address.address
    return f"{f'[{host}]' if ':' in host else host}:{address.socket_address.port_value}"


def _unsaid(name: str) -> str:
    """`10.0.0.1_8080`, as statistics have it, as an address."""
    host, _, port = name.rpartition("_")
    return f"{host.replace('_', ':')}:{port}" if port.isdigit() and host else name
