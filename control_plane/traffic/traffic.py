"""All live numbers, by gateway.

Memory is bounded by the configuration, not by what is reported: names that it does not hold are left aside, and there
are at most so many nodes. Clocks are arguments.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from control_plane.resource_types import NodeKind
from control_plane.traffic.numbers import Callouts, EndpointView, Http, Membership, Point, endpoint_views, http
from control_plane.traffic.rates import Rates
from control_plane.traffic.report import (
    CACHE,
    DECISIONS,
    HTTP_WIDTH,
    LISTENER,
    SERVICE,
    EndpointsSeen,
    Key,
    Numbers,
    Report,
    stat_name,
)

SAMPLE_S = 5.0
"""Between two points of a history."""
_POINTS = 360
"""Of a gateway: half an hour."""
_SERVICE_POINTS = 60
"""Of a service: five minutes."""
_MOST_NODES = 2_000
_MOST_CALLOUT_KEYS = 20_000
"""Of one callout worker: routes times reasons."""
_SILENT_S = 30.0
"""A node that has reported nothing for so long, and for three turns, does not count any more."""


@dataclass(frozen=True, slots=True)
class Names:
    """What a gateway has; reports of anything else are left aside."""

    listeners: frozenset[str]
    clusters: frozenset[str]
    """As they stand in the names of statistics."""
    routes: frozenset[str]


NO_NAMES = Names(frozenset(), frozenset(), frozenset())


@dataclass(slots=True)
class _Node:
    kind: NodeKind
    at: float
    gauges: Mapping[tuple[str, str], float]
    """Of the process, and of listeners."""
    lacking: Mapping[str, Membership]
    """By cluster, of those that have unhealthy endpoints."""
    endpoints: Mapping[str, EndpointsSeen]


class _Gateway:
    def __init__(self) -> None:
        self.rates = Rates()
        self.nodes: dict[str, _Node] = {}
        self.points: deque[Point] = deque(maxlen=_POINTS)
        self.services: dict[str, deque[tuple[float, float]]] = {}
        """Requests and server errors a second, by cluster, of those that had any lately."""
        self.totals: dict[str, int] = {}
        """Endpoints, by cluster, as the last report says."""
        self._seen: dict[str, EndpointsSeen] = {}

    def shared(self, endpoints: Mapping[str, EndpointsSeen]) -> Mapping[str, EndpointsSeen]:
        """The same, with equal values made one: most Envoys see the same."""
        found = {}
        for cluster, seen in endpoints.items():
            known = self._seen.get(cluster)
            found[cluster] = self._seen[cluster] = known if known == seen else seen
        return found


class Traffic:
    """What is known of all gateways."""

    def __init__(self, names: Callable[[str], Names]) -> None:
        """
        Args:
            names: of the gateway that is called so; NO_NAMES if there is none.
        """
        self._names = names
        self._gateways: dict[str, _Gateway] = {}
        self._silent_s = _SILENT_S

    def take(self, report: Report, now: float) -> bool:
        """A node has reported; False if there are too many of them."""
        gateway = self._gateways.setdefault(report.cluster, _Gateway())
        if report.node not in gateway.nodes and sum(len(one.nodes) for one in self._gateways.values()) >= _MOST_NODES:
            return False
        names = self._names(report.cluster)
        gateway.rates.update(report.node, _kept(report.counters, names), now)
        gateway.nodes[report.node] = _Node(
            report.kind,
            now,
            {key: value for key, value in report.gauges.items() if not key[1] or key[1] in names.listeners},
            _memberships(report.gauges, names, gateway.totals),
            gateway.shared({name: seen for name, seen in report.endpoints.items() if name in names.clusters}),
        )
        return True

    def expire(self, now: float, round_s: float) -> list[str]:
        """Leave out the nodes that say nothing any more; return their ids.

        Args:
            round_s: between two reports of one node that are read.
        """
        silent_s = max(_SILENT_S, 3 * round_s)
        gone = []
        for name, gateway in list(self._gateways.items()):
            names = self._names(name)
            gateway.totals = {cluster: total for cluster, total in gateway.totals.items() if cluster in names.clusters}
            for node in [node for node, known in gateway.nodes.items() if now - known.at > silent_s]:
                del gateway.nodes[node]
                gateway.rates.forget(node)
                gone.append(node)
            if not gateway.nodes and names is NO_NAMES:
                del self._gateways[name]
        return gone

    def sample(self, wall: float) -> None:
        """Add a point to every history; to be called every SAMPLE_S."""
        for name, gateway in self._gateways.items():
            total, callouts = self.total(name), self.callouts(name)
            gateway.points.append(
                Point(
                    wall,
                    total.requests,
                    total.client_errors,
                    total.server_errors,
                    total.p50_ms,
                    total.p95_ms,
                    total.p99_ms,
                    callouts.hit_ratio,
                    callouts.limited,
                )
            )
            _sample_services(gateway)

    def reporting(self, gateway: str) -> Mapping[str, float]:
        """When each node has last reported, by id, on the clock of `take`."""
        found = self._gateways.get(gateway)
        return {node: known.at for node, known in found.nodes.items()} if found is not None else {}

    def total(self, gateway: str) -> Http:
        """Of all listeners."""
        found = self._gateways.get(gateway)
        if found is None:
            return Http()
        sums = [0.0] * HTTP_WIDTH
        for key in found.rates.active():
            if key[0] == LISTENER:
                sums = [one + other for one, other in zip(sums, found.rates.get(key), strict=True)]
        return http(tuple(sums)) if any(sums) else Http()

    def listener(self, gateway: str, name: str) -> Http:
        return http(self._rate(gateway, (LISTENER, stat_name(name))))

    def service(self, gateway: str, cluster: str) -> Http:
        return http(self._rate(gateway, (SERVICE, stat_name(cluster))))

    def callouts(self, gateway: str) -> Callouts:
        """Of all routes together."""
        decisions: dict[str, float] = {}
        cache: dict[str, float] = {}
        for one in self.callouts_by_route(gateway).values():
            for sums, part in ((decisions, one.decisions), (cache, one.cache)):
                for label, rate in part.items():
                    sums[label] = sums.get(label, 0.0) + rate
        return Callouts(decisions, cache)

    def callouts_by_route(self, gateway: str) -> Mapping[str, Callouts]:
        """Of each route that ext_authz or ext_proc have seen lately."""
        found = self._gateways.get(gateway)
        by_route: dict[str, tuple[dict[str, float], dict[str, float]]] = {}
        for key in found.rates.active() if found is not None else ():
            if key[0] in (DECISIONS, CACHE):
                of_route = by_route.setdefault(key[1], ({}, {}))
                of_route[0 if key[0] == DECISIONS else 1][key[2]] = self._rate(gateway, key)[0]
        return {route: Callouts(decisions, cache) for route, (decisions, cache) in by_route.items()}

    def active_requests(self, gateway: str) -> int | None:
        """In flight on all listeners of all Envoys; None if none has said it."""
        values = [
            value
            for node in self._nodes(gateway)
            for (metric, _), value in node.gauges.items()
            if metric == "downstream_rq_active"
        ]
        return int(sum(values)) if values else None

    def memberships(self, gateway: str) -> Mapping[str, Membership]:
        """By cluster (`stat_name`), of all that Envoys have reported; as those see it that see the fewest healthy."""
        found = self._gateways.get(gateway)
        if found is None or not found.nodes:
            return {}
        worst = {name: Membership(total, total, 0) for name, total in found.totals.items()}
        for node in found.nodes.values():
            for name, one in node.lacking.items():
                known = worst.get(name)
                if known is None or one.total - one.healthy > known.total - known.healthy:
                    worst[name] = one
        return worst

    def endpoints(self, gateway: str, cluster: str) -> tuple[EndpointView, ...]:
        """Of a cluster whose endpoints Envoy judges itself."""
        name = stat_name(cluster)
        return endpoint_views([seen for node in self._nodes(gateway) if (seen := node.endpoints.get(name)) is not None])

    def history(self, gateway: str) -> Sequence[Point]:
        """The oldest first."""
        found = self._gateways.get(gateway)
        return tuple(found.points) if found is not None else ()

    def service_history(self, gateway: str, cluster: str) -> Sequence[tuple[float, float]]:
        """Requests and server errors a second, the oldest first."""
        found = self._gateways.get(gateway)
        return tuple(found.services.get(stat_name(cluster), ())) if found is not None else ()

    def _nodes(self, gateway: str) -> Iterator[_Node]:
        found = self._gateways.get(gateway)
        return iter(found.nodes.values() if found is not None else ())

    def _rate(self, gateway: str, key: Key) -> Numbers:
        found = self._gateways.get(gateway)
        return found.rates.get(key) if found is not None else ()


def _memberships(
    gauges: Mapping[tuple[str, str], float], names: Names, totals: dict[str, int]
) -> Mapping[str, Membership]:
    """Of the clusters that lack something; how large all of them are goes to `totals`."""
    lacking = {}
    for (metric, cluster), value in gauges.items():
        if metric != "membership_total" or cluster not in names.clusters:
            continue
        total, healthy = int(value), int(gauges.get(("membership_healthy", cluster), 0))
        totals[cluster] = total
        if healthy < total:
            lacking[cluster] = Membership(healthy, total, int(gauges.get(("ejections_active", cluster), 0)))
    return lacking


def _kept(counters: Mapping[Key, Numbers], names: Names) -> dict[Key, Numbers]:
    """What the configuration has a name for."""
    kept: dict[Key, Numbers] = {}
    callouts = 0
    for key, numbers in counters.items():
        if key[0] == SERVICE:
            keep = key[1] in names.clusters
        elif key[0] == LISTENER:
            keep = key[1] in names.listeners
        else:
            callouts += 1
            keep = key[1] in names.routes and callouts <= _MOST_CALLOUT_KEYS
        if keep:
            kept[key] = numbers
    return kept


def _sample_services(gateway: _Gateway) -> None:
    active = {key[1] for key in gateway.rates.active() if key[0] == SERVICE}
    for name in active - gateway.services.keys():
        gateway.services[name] = deque([(0.0, 0.0)] * (_SERVICE_POINTS - 1), maxlen=_SERVICE_POINTS)
    for name, points in list(gateway.services.items()):
        if name in active:
            numbers = gateway.rates.get((SERVICE, name))
            points.append((sum(numbers[:5]), numbers[4]))
        else:
            points.append((0.0, 0.0))
            if not any(requests for requests, _ in points):
                del gateway.services[name]
