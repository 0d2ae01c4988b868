"""One process to run, as a value."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HttpProbe:
    """Ready when GET answers 200."""

    port: int
    path: str = "/readyz"
    host: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class TcpProbe:
    """Ready when a connection is accepted."""

    port: int
    host: str = "127.0.0.1"


Probe = HttpProbe | TcpProbe


@dataclass(frozen=True, slots=True)
class EnvoyDrain:
    """How an Envoy is emptied before it is stopped."""

    admin_port: int
    limit_s: float


@dataclass(frozen=True, slots=True)
class Process:
    """What to run, and when it counts as ready."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    probes: tuple[Probe, ...]
    """All of them have to hold."""
    after: frozenset[str] = frozenset()
    """Started first when these are ready, and stopped before them."""
    drain: EnvoyDrain | None = None
