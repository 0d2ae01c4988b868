"""What of a new snapshot may be published: everything but the resources that Envoy would refuse, or that name nothing.

Envoy refuses a whole response, and a whole RouteConfiguration, for one bad field. So whatever is bad stays behind
alone: in its last good version, or, if there is none, as a route that answers 503, or not at all. Pure.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2

from control_plane.resource_types import (
    AUTHZ_POLICY,
    CLUSTER_LOAD_ASSIGNMENT,
    DELIVERY_ORDER,
    EXTRA,
    LISTENER,
    PROCESSING_POLICY,
    ROUTE_CONFIGURATION,
    SECRET,
    short_name,
)
from control_plane.snapshot import Changes, Resource, Snapshot
from control_plane.validation.references import Reference
from control_plane.validation.verdicts import Verdict, Verdicts

Route = route_components_pb2.Route
_UNAVAILABLE = 503
_ALL = frozenset(DELIVERY_ORDER) | EXTRA
_WITH_ROUTES = frozenset({ROUTE_CONFIGURATION, LISTENER}) | EXTRA
_REFERRERS: Mapping[str, frozenset[str]] = {
    CLUSTER_LOAD_ASSIGNMENT: frozenset(),
    AUTHZ_POLICY: _WITH_ROUTES,
    PROCESSING_POLICY: _WITH_ROUTES,
}
"""By type, the types that may name its resources, for the types that come and go every day."""
_FORGET_AT, _FEW = 2, 1000
"""When so many times (and so many) more verdicts are known than of one snapshot, everything is looked at again."""


@dataclass(frozen=True, slots=True)
class Withheld:
    """Something that is not published as the configuration has it."""

    type: str
    """Short name of the resource's type."""
    name: str
    """Of the resource; `listener/route` of a route."""
    instead: str
    """What is served: "the last good version", "503", or "nothing"."""
    reason: str

    def __str__(self) -> str:
        return f"{self.type} {self.name}: {self.reason} (served instead: {self.instead})"


@dataclass(frozen=True, slots=True)
class Admitted:
    snapshot: Snapshot
    withheld: tuple[Withheld, ...]


class Admission:
    """Keeps what it has found out about contents, so that work is proportional to the change."""

    def __init__(self) -> None:
        self._verdicts = Verdicts()
        self._sound: Snapshot | None = None
        """The last one, if nothing of it was withheld."""
        self._known_then = 0
        """Verdicts after everything was looked at."""

    def admit(self, snapshot: Snapshot, served: Snapshot | None) -> Admitted:
        """The snapshot without what is bad.

        Args:
            served: what is published now; its resources were admitted before.
        """
        if self._sound is not None and self._has_stayed_sound(self._sound, snapshot):
            self._sound = snapshot
            return Admitted(snapshot, ())
        self._verdicts.next_round()
        work = _Work(self._verdicts, snapshot, served or Snapshot({}))
        work.run()
        self._known_then = len(self._verdicts)
        self._sound = None if work.withheld else snapshot
        if not work.withheld:
            return Admitted(snapshot, ())
        resources = [resource for named in work.kept.values() for resource in named.values()]
        return Admitted(Snapshot.of(resources), tuple(sorted(work.withheld, key=str)))

    def _has_stayed_sound(self, before: Snapshot, snapshot: Snapshot) -> bool:
        """Whether what is new is good, and nothing names what is gone. False also when there is much to forget."""
        if len(self._verdicts) > _FORGET_AT * (self._known_then + _FEW):
            return False
        changes = snapshot.changes_since(before)
        again = set().union(*(_REFERRERS.get(type_url, _ALL) for type_url in _with_losses(changes, snapshot)))
        for type_url, named in snapshot.resources.items():
            names = named if type_url in again else changes.get(type_url, frozenset())
            if not all(self._is_sound(named[name], snapshot) for name in names if name in named):
                return False
        return True

    def _is_sound(self, resource: Resource, snapshot: Snapshot) -> bool:
        verdict = self._verdicts.of(resource)
        return not verdict.faults and not _absent(verdict, snapshot.resources)


def _with_losses(changes: Changes, snapshot: Snapshot) -> Iterator[str]:
    """Types of which resources are gone."""
    for type_url, names in changes.items():
        named = snapshot.of_type(type_url)
        if any(name not in named for name in names):
            yield type_url


def _absent(verdict: Verdict, resources: Mapping[str, Mapping[str, Resource]]) -> list[Reference]:
    """What is named and not there. An absent assignment is none: the server makes an empty one."""
    return sorted(
        one
        for one in verdict.references
        if one.type_url != CLUSTER_LOAD_ASSIGNMENT and one.name not in resources.get(one.type_url, {})
    )


@dataclass(slots=True)
class _Work:
    """One snapshot on its way."""

    verdicts: Verdicts
    snapshot: Snapshot
    served: Snapshot
    kept: dict[str, dict[str, Resource]] = field(default_factory=dict)
    withheld: list[Withheld] = field(default_factory=list)

    def run(self) -> None:
        """What is named is decided before what names it: the order of delivery, listeners last."""
        order = [url for url in DELIVERY_ORDER if url != LISTENER]
        self.kept = {url: dict(named) for url, named in self.snapshot.resources.items()}
        for type_url in (*order, LISTENER, *(self.kept.keys() - set(DELIVERY_ORDER))):
            for resource in list(self.kept.get(type_url, {}).values()):
                self._decide(resource)

    def _decide(self, resource: Resource) -> None:
        verdict = self.verdicts.of(resource)
        reasons = [*verdict.faults, *self._missing(verdict)]
        if not reasons:
            return
        if resource.type_url == ROUTE_CONFIGURATION and (repaired := self._repair(resource)) is not None:
            self.kept[ROUTE_CONFIGURATION][resource.name] = repaired
            return
        last_good = self.served.of_type(resource.type_url).get(resource.name)
        if last_good is not None and not self._is_sound(last_good):
            last_good = None
        if last_good is None and not verdict.faults and _may_come_later(_absent(verdict, self.kept)):
            instead = "the same: what is missing may come"
        elif last_good is not None:
            self.kept[resource.type_url][resource.name] = last_good
            instead = "the last good version"
        else:
            del self.kept[resource.type_url][resource.name]
            instead = "nothing"
        self._withhold(resource, resource.name, instead, reasons)

    def _withhold(self, resource: Resource, name: str, instead: str, reasons: Iterable[str]) -> None:
        self.withheld.append(Withheld(short_name(resource.type_url), name, instead, "; ".join(reasons)))

    def _is_sound(self, resource: Resource) -> bool:
        verdict = self.verdicts.of(resource)
        return not verdict.faults and not _absent(verdict, self.kept)

    def _missing(self, verdict: Verdict) -> Iterator[str]:
        for one in _absent(verdict, self.kept):
            yield f"the {short_name(one.type_url)} {one.name!r} does not exist"

    def _repair(self, resource: Resource) -> Resource | None:
        """The same with other routes in place of the bad ones; None if it is more than routes that is bad."""
        message = route_pb2.RouteConfiguration.FromString(resource.body)
        if self.verdicts.of_shell(message).faults:
            return None
        last_good = self._last_good_routes(resource.name)
        withheld: dict[str, Withheld] = {}
        for host in message.virtual_hosts:
            for route in host.routes:
                verdict = self.verdicts.of_route(route)
                reasons = [*verdict.faults, *self._missing(verdict)]
                if not reasons:
                    continue
                instead = self._substitute(route, last_good.get((host.name, route.name)))
                if instead is None:
                    return None
                named = f"{resource.name}/{route.name}"
                withheld[named] = Withheld(short_name(ROUTE_CONFIGURATION), named, instead, "; ".join(reasons))
        self.withheld += withheld.values()
        return Resource.of(resource.name, message, resource.kinds)

    def _last_good_routes(self, name: str) -> Mapping[tuple[str, str], Route]:
        served = self.served.of_type(ROUTE_CONFIGURATION).get(name)
        if served is None:
            return {}
        hosts = route_pb2.RouteConfiguration.FromString(served.body).virtual_hosts
        return {(host.name, route.name): route for host in hosts for route in host.routes if route.name}

    def _substitute(self, route: Route, last_good: Route | None) -> str | None:
        """Put the last good version or a 503 in the route's place; what it served instead, None if nothing can be.

        It is never left out: its requests would fall to the routes behind it, whose policies are others.
        """
        if last_good is not None:
            verdict = self.verdicts.of_route(last_good)
            if not verdict.faults and not _absent(verdict, self.kept):
                route.CopyFrom(last_good)
                return "the last good version"
        refusing = Route(name=route.name, match=route.match)
        refusing.direct_response.status = _UNAVAILABLE
        refusing.direct_response.body.CopyFrom(base_pb2.DataSource(inline_string="this route is not available\n"))
        if self.verdicts.of_route(refusing).faults:
            return None
        route.CopyFrom(refusing)
        return str(_UNAVAILABLE)


def _may_come_later(absent: Iterable[Reference]) -> bool:
    """A Secret of the cluster may not have been read yet; Envoy waits for it without harm to others."""
    return all(one.type_url == SECRET for one in absent)
