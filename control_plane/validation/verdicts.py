"""What is wrong with one resource and what it names, found once per content.

A route is looked at alone, so an edit of one among a thousand costs one. Clusters that differ only in their names share
a verdict. Assignments are by far the most, and their shape is ours: they are checked by hand, the same rules.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from control_plane.resource_types import CLUSTER, CLUSTER_LOAD_ASSIGNMENT, ROUTE_CONFIGURATION
from control_plane.snapshot import Resource
from control_plane.validation.field_rules import FieldRules
from control_plane.validation.references import Reference, References

_MAX_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one content."""

    faults: tuple[str, ...]
    """Envoy would refuse it for these."""
    references: frozenset[Reference]


_SOUND = Verdict((), frozenset())


class Verdicts:
    """Remembers the contents that the last two rounds have asked for."""

    def __init__(self) -> None:
        self._rules = FieldRules()
        self._references = References()
        self._recent: dict[object, Verdict] = {}
        self._older: dict[object, Verdict] = {}

    def next_round(self) -> None:
        """What is not asked for again until the next call is forgotten."""
        self._older, self._recent = self._recent, {}

    def __len__(self) -> int:
        """How many were asked for since the last call of `next_round`."""
        return len(self._recent)

    def of(self, resource: Resource) -> Verdict:
        """Of a whole resource; routes have verdicts of their own besides (`of_route`)."""
        key = (resource.type_url, resource.name, resource.version)
        known = self._known(key)
        return known if known is not None else self._keep(key, self.judge(resource))

    def of_route(self, route: route_components_pb2.Route) -> Verdict:
        key = route.SerializeToString(deterministic=True)
        known = self._known(key)
        return known if known is not None else self._keep(key, self._judge_message(route))

    def of_shell(self, routes: route_pb2.RouteConfiguration) -> Verdict:
        """Of everything but the routes."""
        shell = route_pb2.RouteConfiguration()
        shell.CopyFrom(routes)
        for host in shell.virtual_hosts:
            host.ClearField("routes")
        return self._judge_message(shell)

    def _known(self, key: object) -> Verdict | None:
        known = self._recent.get(key)
        if known is None and (known := self._older.get(key)) is not None:
            self._recent[key] = known
        return known

    def _keep(self, key: object, verdict: Verdict) -> Verdict:
        self._recent[key] = verdict
        return verdict

    def judge(self, resource: Resource) -> Verdict:
        """Without looking for what is known, or remembering it."""
        try:
            if resource.type_url == CLUSTER_LOAD_ASSIGNMENT:
                return self._assignment(endpoint_pb2.ClusterLoadAssignment.FromString(resource.body))
            if resource.type_url == CLUSTER:
                return self._cluster(cluster_pb2.Cluster.FromString(resource.body))
            if resource.type_url == ROUTE_CONFIGURATION:
                return self._routes(route_pb2.RouteConfiguration.FromString(resource.body))
            name = resource.type_url.rpartition("/")[2]
            return self._judge_message(GetMessageClass(Default().FindMessageTypeByName(name)).FromString(resource.body))
        except (KeyError, DecodeError) as error:
            return Verdict((f"cannot be read: {error}",), frozenset())

    def _judge_message(self, message: Message) -> Verdict:
        faults = tuple(str(violation) for violation in self._rules.violations(message))
        return Verdict(faults, frozenset(self._references.walk(message)))

    def _cluster(self, cluster: cluster_pb2.Cluster) -> Verdict:
        """By its shape: name and endpoints' name aside."""
        name = cluster.name
        if not name:
            return self._judge_message(cluster)
        endpoints = cluster.eds_cluster_config.service_name or name
        is_eds = cluster.type == cluster_pb2.Cluster.EDS
        cluster.name = "name"
        if is_eds:
            cluster.eds_cluster_config.service_name = ""
        shape = cluster.SerializeToString(deterministic=True)
        verdict = self._known(shape)
        if verdict is None:
            found = self._judge_message(cluster)
            own = Reference(CLUSTER_LOAD_ASSIGNMENT, "name")
            verdict = self._keep(shape, Verdict(found.faults, found.references - {own}))
        if not is_eds:
            return verdict
        return Verdict(verdict.faults, verdict.references | {Reference(CLUSTER_LOAD_ASSIGNMENT, endpoints)})

    def _assignment(self, assignment: endpoint_pb2.ClusterLoadAssignment) -> Verdict:
        if is_plain(assignment):
            return _SOUND
        return self._judge_message(assignment)

    def _routes(self, configuration: route_pb2.RouteConfiguration) -> Verdict:
        shell = self.of_shell(configuration)
        faults, references = list(shell.faults), set(shell.references)
        for place, host in enumerate(configuration.virtual_hosts):
            for number, route in enumerate(host.routes):
                verdict = self.of_route(route)
                references |= verdict.references
                below = f"virtual_hosts[{place}].routes[{number}]"
                faults += [f"{below}.{fault}" for fault in verdict.faults]
        return Verdict(tuple(faults), frozenset(references))


def is_plain(assignment: endpoint_pb2.ClusterLoadAssignment) -> bool:
    """Whether it is one as translation makes them, with values that Envoy takes; others go through the rules."""
    if not assignment.cluster_name or len(assignment.ListFields()) > 2:
        return False
    return all(
        locality.priority == 0 and locality.load_balancing_weight.value and _is_plain(locality.lb_endpoints)
        for locality in assignment.endpoints
    )


def _is_plain(endpoints: Iterable[endpoint_components_pb2.LbEndpoint]) -> bool:
    for one in endpoints:
        socket = one.endpoint.address.socket_address
        if not socket.address or not 0 < socket.port_value <= _MAX_PORT:
            return False
        if not one.load_balancing_weight.value:
            return False
    return True
