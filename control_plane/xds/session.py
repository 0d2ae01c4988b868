"""One client's subscriptions together: in which order types are sent, and what stays until nothing names it any more.

An Envoy with one aggregated stream is one session; so is one with a stream per type, whose streams share a connection.
Make before break (https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations):

* Clusters and assignments are sent before the listeners and routes that name them, and those wait until the clusters
  are acknowledged: routes do not warm, and Envoy withholds the ACK of a cluster until it has warmed.
* Assignments wait for nothing, because clusters warm on them, and are sent again after their cluster has changed.
* What is removed stays with the client until the types that may name it have been acknowledged without it, and a
  little longer for requests on their way. Waiting for an answer always has a limit.
"""

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from envoy.config.endpoint.v3 import endpoint_pb2

from control_plane.resource_types import (
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    DELIVERY_ORDER,
    LISTENER,
    REFERRERS,
    ROUTE_CONFIGURATION,
    SECRET,
    NodeKind,
)
from control_plane.snapshot import Changes, Resource, ResourceMap, Snapshot
from control_plane.xds.subscription import Push, Subscription

# Sent again when one of these names, or any of the type, has changed: Envoy may have opened a new subscription inside
# for which it sends no request (envoyproxy/gateway#9519, java-control-plane SimpleCache.createWatch).
_RESENT_BY_NAME = {CLUSTER: CLUSTER_LOAD_ASSIGNMENT, LISTENER: ROUTE_CONFIGURATION}
_RESENT_AS_A_WHOLE = {CLUSTER: SECRET, LISTENER: SECRET}

_ORDER = {type_url: place for place, type_url in enumerate(DELIVERY_ORDER)}


@dataclass(frozen=True, slots=True)
class Timings:
    """How long a session waits, in seconds."""

    answer_s: float = 5.0
    """For ACK or NACK before the next response of a type."""
    hold_s: float = 5.0
    """With listeners and routes for the ACK of the clusters."""
    grace_s: float = 10.0
    """With a removal for the ACK of what may still name the removed; longer than what may hold that back."""
    in_flight_s: float = 2.0
    """With a removal after that ACK: requests on the old route may wait for callouts before they look up a cluster."""


@dataclass(frozen=True, slots=True)
class Node:
    """Who a client says that it is."""

    id: str
    cluster: str
    kind: NodeKind
    version: str = ""
    """Of its program, as far as it tells."""
    takes_wrappers: bool = False
    """Also in state-of-the-world responses: a time to live stands there."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether routes may go out that name new policies."""

    is_open: bool
    opens_at: float | None = None
    """When it opens in any case; None: not before something happens."""


Gatekeeper = Callable[[], Gate]
Rendition = Callable[[Resource], Resource]
"""A resource as this client needs it; equal resources become equal ones."""


def _open_gate() -> Gate:
    return Gate(True)


@dataclass(slots=True)
class _Lingering:
    resource: Resource | None
    """None: the client has brought it from elsewhere, its content is not known."""
    since: float
    settled_at: float | None = None
    """When everything that may name it was acknowledged without it."""


class _View:
    """What this session is to have of one type."""

    __slots__ = ("_kind", "_named", "_rendition", "_substitute", "lingering")

    def __init__(
        self,
        kind: NodeKind,
        named: ResourceMap,
        substitute: Callable[[str], Resource | None],
        rendition: Rendition | None,
    ) -> None:
        self._kind = kind
        self._named = named
        self._substitute = substitute
        self._rendition = rendition
        self.lingering: dict[str, _Lingering] = {}

    def replace(self, named: ResourceMap) -> None:
        self._named = named

    def holds(self, name: str) -> bool:
        resource = self._named.get(name)
        return resource is not None and self._kind in resource.kinds

    def get(self, name: str) -> Resource | None:
        resource = self._original(name)
        return resource if resource is None or self._rendition is None else self._rendition(resource)

    def _original(self, name: str) -> Resource | None:
        resource = self._named.get(name)
        if resource is not None and self._kind in resource.kinds:
            return resource
        lingering = self.lingering.get(name)
        return lingering.resource if lingering is not None else self._substitute(name)

    def names(self) -> Collection[str]:
        kind = self._kind
        names = [name for name, resource in self._named.items() if kind in resource.kinds]
        staying = [name for name, lingering in self.lingering.items() if lingering.resource is not None]
        return sorted({*names, *staying}) if staying else names

    def served(self) -> ResourceMap:
        return self._named

    def keeps(self, name: str) -> bool:
        return name in self.lingering


class Session:
    """One client and its subscriptions, on one stream or several."""

    def __init__(
        self,
        node: Node,
        timings: Timings,
        gatekeeper: Gatekeeper = _open_gate,
        rendition: Rendition | None = None,
    ) -> None:
        self.node = node
        self._rendition = rendition
        self.subscriptions: dict[str, Subscription] = {}
        self.snapshot = Snapshot({})
        self._timings = timings
        self._gatekeeper = gatekeeper
        self._views: dict[str, _View] = {}
        self._blocked_since: dict[str, float] = {}
        self._deadlines: list[float] = []
        self._nonces = itertools.count(1)
        self._siblings: Callable[[], Sequence[Session]] | None = None
        self._warming: set[str] = set()
        """Clusters sent to an Envoy that acknowledges them before they have warmed."""

    def join(self, siblings: "Callable[[], Sequence[Session]]") -> None:
        """This Envoy has a stream for each type, and more sessions than this one: it opens an own stream for the
        endpoints of each cluster and for the routes of each listener.

        Args:
            siblings: all of its sessions, this one among them.
        """
        self._siblings = siblings

    def subscribe(self, subscription: Subscription) -> None:
        self.subscriptions[subscription.type_url] = subscription
        for type_url, referrers in REFERRERS.items():
            if subscription.type_url in referrers:
                for session in self._family():
                    for lingering in session._view(type_url).lingering.values():
                        lingering.settled_at = None

    def unsubscribe(self, type_url: str) -> None:
        """The stream of this type has ended."""
        del self.subscriptions[type_url]
        self._blocked_since.pop(type_url, None)

    def advance(self, snapshot: Snapshot, changes: Changes | None, now: float) -> None:
        """There is a newer snapshot.

        Args:
            changes: what differs from the snapshot of the last call; None: anything.
        """
        if changes is None:
            changes = snapshot.changes_since(self.snapshot)
        older, self.snapshot = self.snapshot, snapshot
        for type_url, names in changes.items():
            view = self._view(type_url)
            view.replace(snapshot.of_type(type_url))
            self._let_linger(type_url, names, older, now)
            if (subscription := self.subscriptions.get(type_url)) is not None:
                subscription.mark(names)
        if CLUSTER in changes and (assignments := self.subscriptions.get(CLUSTER_LOAD_ASSIGNMENT)) is not None:
            assignments.mark(changes[CLUSTER])

    def keep_unknown(self, type_url: str, names: Collection[str], now: float) -> None:
        """The client brought these names from an earlier stream: those that are gone stay as removed ones do."""
        if self.node.kind is not NodeKind.ENVOY or type_url not in REFERRERS:
            return
        view = self._view(type_url)
        for name in names:
            if not view.holds(name):
                view.lingering.setdefault(name, _Lingering(None, now))

    def take(self, type_urls: Collection[str], now: float) -> Push | None:
        """The next response for one of these types, in delivery order; None if nothing is to be sent now."""
        self._deadlines.clear()
        self._end_lingering(now)
        for type_url in sorted(type_urls, key=lambda type_url: _ORDER.get(type_url, len(_ORDER))):
            subscription = self.subscriptions.get(type_url)
            if subscription is None or self._must_wait(subscription, now):
                continue
            push = subscription.respond(self._view(type_url), now=now, nonce=self._nonce)
            if push is not None:
                self._blocked_since.pop(type_url, None)
                self._send_again(push)
                return push
            if (push := subscription.heartbeat(self._view(type_url), now=now, nonce=self._nonce)) is not None:
                return push
            if (beat := subscription.next_beat()) is not None:
                self._deadlines.append(beat)
        return None

    def _nonce(self) -> str:
        return str(next(self._nonces))

    def deadline(self) -> float | None:
        """When `take`, which returned None, may have something without any event in between."""
        return min(self._deadlines, default=None)

    @property
    def is_settled(self) -> bool:
        """Whether the client has acknowledged all that it is to have."""
        return all(self.has_settled(type_url) for type_url in self.subscriptions)

    def _family(self) -> "Sequence[Session]":
        return (self,) if self._siblings is None else self._siblings()

    def _view(self, type_url: str) -> _View:
        view = self._views.get(type_url)
        if view is None:
            substitute = self._empty_assignment if type_url == CLUSTER_LOAD_ASSIGNMENT else _nothing
            view = self._views[type_url] = _View(
                self.node.kind, self.snapshot.of_type(type_url), substitute, self._rendition
            )
        return view

    def _empty_assignment(self, name: str) -> Resource | None:
        """A cluster without endpoints gets an answer all the same, or it would stay warming until its time-out."""
        if self._view(CLUSTER).get(name) is None:
            return None
        return Resource.of(name, endpoint_pb2.ClusterLoadAssignment(cluster_name=name))

    def _must_wait(self, subscription: Subscription, now: float) -> bool:
        type_url = subscription.type_url
        view = self._view(type_url)
        if subscription.awaits_answer(now):
            due = subscription.answer_due()
            if due is not None and (subscription.next_beat() is not None or subscription.has_changes(view)):
                self._deadlines.append(due)
            return True
        if self.node.kind is not NodeKind.ENVOY or type_url not in (LISTENER, ROUTE_CONFIGURATION):
            return False
        if not self._waits_for_others(type_url, now) or not subscription.has_changes(view):
            self._blocked_since.pop(type_url, None)
            return False
        return True

    def _waits_for_others(self, type_url: str, now: float) -> bool:
        """Whether what is named has to arrive first."""
        if type_url == ROUTE_CONFIGURATION and self._waits_for_policies(now):
            return True
        first = (CLUSTER,) if type_url == LISTENER else (CLUSTER, LISTENER)
        if not any(self._is_on_its_way(other, now) for other in first) and not self._is_warming():
            return False
        limit = self._blocked_since.setdefault(type_url, now) + self._timings.hold_s
        if now >= limit:
            return False
        self._deadlines.append(limit)
        return True

    def _waits_for_policies(self, now: float) -> bool:
        """A client without any route gets them at once: an unknown policy denies, but only where one is needed."""
        gate = self._gatekeeper()
        if gate.is_open or not self.subscriptions[ROUTE_CONFIGURATION].holds_anything():
            return False
        if gate.opens_at is not None and now < gate.opens_at:
            self._deadlines.append(gate.opens_at)
        return gate.opens_at is None or now < gate.opens_at

    def _is_on_its_way(self, type_url: str, now: float) -> bool:
        found = False
        for session in self._family():
            subscription = session.subscriptions.get(type_url)
            if subscription is None:
                continue
            found = True
            if type_url == CLUSTER and subscription.awaits_answer(now):
                return True
            if subscription.has_changes(session._view(type_url)):
                return True
        # After a reconnect the stream of the clusters may be the last to open.
        return self._siblings is not None and type_url == CLUSTER and not found

    def _is_warming(self) -> bool:
        """With one stream for all types Envoy withholds the ACK of a cluster until it has warmed; otherwise not."""
        if self._siblings is None:
            return False
        for session in self._family():
            session._warming = {name for name in session._warming if not session._has_warmed(name)}
        return any(session._warming for session in self._family())

    def _has_warmed(self, name: str) -> bool:
        if not self._view(CLUSTER).holds(name) or not self._view(CLUSTER_LOAD_ASSIGNMENT).holds(name):
            return True
        for session in self._family():
            subscription = session.subscriptions.get(CLUSTER_LOAD_ASSIGNMENT)
            if subscription is not None and subscription.has_acknowledged_any(name):
                return True
        return False

    def has_settled(self, type_url: str) -> bool:
        """Whether the client has acknowledged all that it is to have of one type, and holds nothing older."""
        subscription = self.subscriptions.get(type_url)
        if subscription is None:
            return True
        if subscription.outstanding is not None or self._view(type_url).lingering:
            return False
        return not subscription.quarantine.parked and not subscription.has_changes(self._view(type_url))

    def _send_again(self, push: Push) -> None:
        """What depends on the resources that were just sent, although it has not changed itself."""
        if not push.changed:
            return
        if push.type_url == CLUSTER and self._siblings is not None:
            self._warming.update(push.changed)
        for session in self._family():
            by_name = session.subscriptions.get(_RESENT_BY_NAME.get(push.type_url, ""))
            if by_name is not None:
                by_name.force(push.changed)
            whole = session.subscriptions.get(_RESENT_AS_A_WHOLE.get(push.type_url, ""))
            if whole is not None:
                whole.force(list(whole.known_names()))

    def _let_linger(self, type_url: str, names: Collection[str], older: Snapshot, now: float) -> None:
        if self.node.kind is not NodeKind.ENVOY or type_url not in REFERRERS:
            return
        view, subscription = self._view(type_url), self.subscriptions.get(type_url)
        for name in names:
            if view.holds(name):
                view.lingering.pop(name, None)
            elif subscription is not None and subscription.version_known(name) is not None:
                had = older.of_type(type_url).get(name)
                view.lingering.setdefault(name, _Lingering(had, now))

    def _end_lingering(self, now: float) -> None:
        for type_url, referrers in REFERRERS.items():
            view = self._views.get(type_url)
            if view is None or not view.lingering:
                continue
            family = self._family()
            settled = all(session.has_settled(referrer) for session in family for referrer in referrers)
            refused = any(session._refuses(referrer) for session in family for referrer in referrers)
            ended = [
                name
                for name, one in view.lingering.items()
                if not self._has_its_cluster(type_url, name, one, now) and self._ends(one, now, settled, refused)
            ]
            for name in ended:
                del view.lingering[name]
            if ended and (subscription := self.subscriptions.get(type_url)) is not None:
                subscription.mark(ended)

    def _has_its_cluster(self, type_url: str, name: str, lingering: _Lingering, now: float) -> bool:
        """An assignment stays as long as its cluster does; the cluster's own waiting is enough for both."""
        if type_url != CLUSTER_LOAD_ASSIGNMENT:
            return False
        clusters = self._view(CLUSTER)
        if clusters.get(name) is None and not clusters.keeps(name):
            lingering.settled_at = now - self._timings.in_flight_s
            return False
        lingering.since = now
        return True

    def _ends(self, lingering: _Lingering, now: float, settled: bool, refused: bool) -> bool:
        if refused:
            # The client stays at its last good routes, which may name this.
            lingering.since, lingering.settled_at = now, None
            return False
        if settled and lingering.settled_at is None:
            lingering.settled_at = now
        if lingering.settled_at is not None:
            end = lingering.settled_at + self._timings.in_flight_s
        else:
            end = lingering.since + self._timings.grace_s
        if now < end:
            self._deadlines.append(end)
        return now >= end

    def _refuses(self, type_url: str) -> bool:
        subscription = self.subscriptions.get(type_url)
        return subscription is not None and bool(subscription.quarantine.parked)

    def lingering(self) -> Mapping[str, Collection[str]]:
        """What stays only until nothing names it any more, by type."""
        return {type_url: tuple(view.lingering) for type_url, view in self._views.items() if view.lingering}


def _nothing(_name: str) -> None:
    return None
