"""Rates as an operator reads them: requests, errors, latencies, cache hits, denials."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from control_plane.traffic.report import (
    BUCKETS,
    CLASSES,
    CONNECT_FAILURES,
    OVERFLOWS,
    RETRIES,
    TIMEOUTS,
    EndpointsSeen,
    Numbers,
    quantile_ms,
)

LIMITED = frozenset({"rate_limit"})
"""Reasons of ext_authz that mean a limit."""
_ALLOWED = frozenset({"ok"})
_FROM_CACHE = frozenset({"hit", "stale", "collapsed"})


@dataclass(frozen=True, slots=True)
class Http:
    """Of a listener, a service, or several of them; rates are per second."""

    by_class: tuple[float, ...] = (0.0,) * CLASSES
    """Answers 1xx to 5xx."""
    retries: float = 0.0
    timeouts: float = 0.0
    overflows: float = 0.0
    """Refused by a circuit breaker."""
    connect_failures: float = 0.0
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None

    @property
    def requests(self) -> float:
        return sum(self.by_class)

    @property
    def server_errors(self) -> float:
        return self.by_class[4]

    @property
    def client_errors(self) -> float:
        return self.by_class[3]

    @property
    def error_ratio(self) -> float | None:
        """5xx among all answers; None without any."""
        return self.server_errors / self.requests if self.requests else None


def http(numbers: Numbers) -> Http:
    """
    Args:
        numbers: rates as of a listener or service, or () for nothing.
    """
    if not numbers:
        return Http()
    buckets = numbers[BUCKETS:]
    return Http(
        numbers[:CLASSES],
        numbers[RETRIES],
        numbers[TIMEOUTS],
        numbers[OVERFLOWS],
        numbers[CONNECT_FAILURES],
        *(quantile_ms(buckets, q) for q in (0.5, 0.95, 0.99)),
    )


@dataclass(frozen=True, slots=True)
class Callouts:
    """What ext_authz and ext_proc say, of one route or of all; per second."""

    decisions: Mapping[str, float] = field(default_factory=dict)
    """Of ext_authz, by reason; "ok" is allowed."""
    cache: Mapping[str, float] = field(default_factory=dict)
    """Of ext_proc, by outcome: hit, miss, stale, bypass, collapsed."""

    @property
    def limited(self) -> float:
        """Refused because of a rate limit."""
        return sum(rate for reason, rate in self.decisions.items() if reason in LIMITED)

    @property
    def denied(self) -> float:
        """Refused for any other reason."""
        return sum(rate for reason, rate in self.decisions.items() if reason not in LIMITED | _ALLOWED)

    @property
    def hit_ratio(self) -> float | None:
        """Answered without a request of their own, among those that asked the cache; None if none did."""
        asked = sum(rate for outcome, rate in self.cache.items() if outcome != "bypass")
        served = sum(rate for outcome, rate in self.cache.items() if outcome in _FROM_CACHE)
        return served / asked if asked else None


@dataclass(frozen=True, slots=True)
class EndpointView:
    """One endpoint, as all Envoys that report see it."""

    address: str
    """As it stands in the names of statistics."""
    healthy_on: int
    unhealthy_on: int


def endpoint_views(seen: list[EndpointsSeen]) -> tuple[EndpointView, ...]:
    """Of one cluster, sorted by address.

    Args:
        seen: by each Envoy that says something about it.
    """
    healthy: dict[str, int] = {}
    unhealthy: dict[str, int] = {}
    for one in seen:
        for address in one.healthy:
            healthy[address] = healthy.get(address, 0) + 1
        for address in one.unhealthy:
            unhealthy[address] = unhealthy.get(address, 0) + 1
    return tuple(
        EndpointView(address, healthy.get(address, 0), unhealthy.get(address, 0))
        for address in sorted({*healthy, *unhealthy})
    )


@dataclass(frozen=True, slots=True)
class Membership:
    """How many endpoints a cluster has, as the Envoys say that see the fewest healthy ones."""

    healthy: int
    total: int
    ejected: int


@dataclass(frozen=True, slots=True)
class Point:
    """A gateway at one moment."""

    at: float
    """Seconds since the epoch."""
    requests: float
    client_errors: float
    server_errors: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    hit_ratio: float | None
    limited: float
