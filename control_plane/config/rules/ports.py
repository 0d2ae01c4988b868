"""The gateway's own ports (defaults; every one is a flag and a variable)."""

import ipaddress
from collections.abc import Mapping

OWN_PORTS: Mapping[int, str] = {
    9901: "Envoy's admin interface",
    9902: "Envoy's /ready and /stats/prometheus",
    18000: "the control plane's xDS",
    18080: "the control plane's HTTP",
    9001: "ext_authz",
    9101: "ext_authz's metrics and health",
    9002: "ext_proc",
    9102: "ext_proc's metrics and health",
    9003: "analytics",
    9103: "analytics' report, metrics and health",
}


def own_port_fault(port: int) -> str | None:
    """Report a port that one of the gateway's own processes listens on."""
    owner = OWN_PORTS.get(port)
    return f"port {port} is the gateway's own ({owner}; any other port)" if owner else None


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address.lower() == "localhost"


def is_this_machine(address: str) -> bool:
    """Whether an address leads back to this machine for certain."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address.lower() == "localhost"
    return parsed.is_loopback or parsed.is_unspecified
