"""Endpoints of a service, as values: what discovery found and what a ClusterLoadAssignment is built from."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


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
