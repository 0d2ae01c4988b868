"""The ports of a gateway on one machine, and which of them get into each other's way."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from control_plane.config.model.gateway import Gateway

LOOPBACK = "127.0.0.1"
WILDCARDS = frozenset({"0.0.0.0", "::"})  # nosec B104 - compared with


@dataclass(frozen=True, slots=True)
class Ports:
    """Our own, all on loopback; the listeners' are in gateway.yaml."""

    xds: int = 18000
    http: int = 18080
    envoy_admin: int = 9901
    envoy_ready: int = 9902
    ext_authz: int = 9001
    ext_authz_admin: int = 9101
    ext_proc: int = 9002
    ext_proc_admin: int = 9102
    analytics: int = 9003
    analytics_http: int = 9103
    demo: int = 8101
    """The first of as many as there are demo instances."""


@dataclass(frozen=True, slots=True)
class Binding:
    """One address that a process will listen on, by the name that an operator knows."""

    name: str
    address: str
    port: int

    def overlaps(self, other: "Binding") -> bool:
        same_host = self.address == other.address or bool(WILDCARDS & {self.address, other.address})
        return self.port == other.port and same_host


@dataclass(frozen=True, slots=True)
class DemoInstance:
    """One process of a demo service; `variable` is how envoy/gateway.yaml learns its port."""

    service: str
    name: str
    variable: str


DEMO_INSTANCES = (
    DemoInstance("users", "users", "DEMO_USERS_PORT"),
    DemoInstance("events", "events-v1", "DEMO_EVENTS_V1_PORT"),
    DemoInstance("events", "events-v2", "DEMO_EVENTS_V2_PORT"),
    DemoInstance("matching", "matching-1", "DEMO_MATCHING_1_PORT"),
    DemoInstance("matching", "matching-2", "DEMO_MATCHING_2_PORT"),
    DemoInstance("auth", "auth", "DEMO_AUTH_PORT"),
)


def demo_ports(first: int) -> dict[DemoInstance, int]:
    """Consecutive ports in the order of DEMO_INSTANCES."""
    return {instance: first + offset for offset, instance in enumerate(DEMO_INSTANCES)}


def own_bindings(ports: Ports, demo: bool, *, analytics: bool = True) -> Iterator[Binding]:
    """Every address of our own processes."""
    yield Binding("xDS", LOOPBACK, ports.xds)
    yield Binding("control plane HTTP", LOOPBACK, ports.http)
    yield Binding("Envoy admin", LOOPBACK, ports.envoy_admin)
    yield Binding("Envoy ready", LOOPBACK, ports.envoy_ready)
    yield Binding("ext_authz", LOOPBACK, ports.ext_authz)
    yield Binding("ext_authz admin", LOOPBACK, ports.ext_authz_admin)
    yield Binding("ext_proc", LOOPBACK, ports.ext_proc)
    yield Binding("ext_proc admin", LOOPBACK, ports.ext_proc_admin)
    if analytics:
        yield Binding("analytics", LOOPBACK, ports.analytics)
        yield Binding("analytics HTTP", LOOPBACK, ports.analytics_http)
    if demo:
        for instance, port in demo_ports(ports.demo).items():
            yield Binding(f"demo {instance.name}", LOOPBACK, port)


def listener_bindings(gateway: Gateway) -> Iterator[Binding]:
    """Every address that Envoy will listen on for clients."""
    for listener in gateway.listeners:
        yield Binding(f"listener {listener.name}", listener.address, listener.port)


def clashes(bindings: Iterable[Binding]) -> list[str]:
    """One line for each port that two of them want."""
    found: list[str] = []
    seen: list[Binding] = []
    for binding in bindings:
        found += [
            f"port {binding.port} is wanted by {other.name} and by {binding.name}"
            for other in seen
            if binding.overlaps(other)
        ]
        seen.append(binding)
    return found
