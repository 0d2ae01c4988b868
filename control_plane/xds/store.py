"""The current snapshot of each gateway and who waits for the next one.

`publish` swaps references and sets events: it never waits for a client and holds no queue. A client that was busy finds
the newest state, however many came in between.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from control_plane.history import History
from control_plane.resource_types import OF_SERVICES, POLICIES, ROUTE_CONFIGURATION, SECRET, NodeKind
from control_plane.snapshot import Changes, Resource, ResourceMap, Snapshot
from control_plane.xds.pacing import Refusals
from control_plane.xds.session import Gate, Node, Rendition, Session, Timings
from control_plane.xds.subscription import Answer
from control_plane.xds.traces import PushTraces
from gateway_runtime.tracing import Tracing

ALL_GATEWAYS = ""
"""The node.cluster of a service that serves every gateway of this control plane."""

_SERVICES = frozenset({NodeKind.EXT_AUTHZ, NodeKind.EXT_PROC})
_HISTORY = 256
"""Publications whose changes are remembered; a client further behind compares everything, once."""


class UnknownGatewayError(Exception):
    """No gateway has the name that a node gave as its cluster."""

    def __init__(self, name: str, known: Collection[str]) -> None:
        names = ", ".join(sorted(known)) or "none"
        super().__init__(f"node.cluster {name!r} is no gateway of this control plane; there is: {names}")


@dataclass(frozen=True, slots=True)
class Published:
    """One state of a feed."""

    generation: int
    snapshot: Snapshot
    at: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class PolicyTimings:
    """How long policies and routes wait for each other, in seconds."""

    acknowledged_s: float = 2.0
    """Routes that name a new policy wait so long at most for the services to take it."""
    retained_s: float = 30.0
    """A policy that nothing refers to any more is served on: other replicas' Envoys may be behind."""


class Client:
    """A connected node: its session, and the streams to wake when it may have something to get."""

    def __init__(
        self,
        node: Node,
        feed: "Feed",
        *,
        peer: str,
        variant: str,
        timings: Timings,
        rendition: Rendition | None = None,
    ) -> None:
        self.node = node
        self.feed = feed
        self.peer = peer
        self.variant = variant
        self.connected_at = time.time()
        self.session = Session(node, timings, feed.gate, rendition)
        self.last_answer_at: float | None = None
        self.nack_times: dict[str, float] = {}
        """Seconds since the epoch, by type URL."""
        self._generation = 0
        self._wakeups: set[asyncio.Event] = set()
        self._siblings: Sequence[Client] = (self,)

    def join(self, siblings: "Sequence[Client]") -> None:
        """All that one Envoy's streams of single types have become, this one among them; the list may change."""
        self._siblings = siblings
        self.session.join(lambda: [client.session for client in siblings])

    def attach(self, wakeup: asyncio.Event) -> None:
        """A stream of this client has opened."""
        self._wakeups.add(wakeup)
        self.feed.clients.add(self)

    def detach(self, wakeup: asyncio.Event) -> None:
        self._wakeups.discard(wakeup)
        if not self._wakeups:
            self.feed.clients.discard(self)
            self.feed.on_progress()

    @property
    def is_up_to_date(self) -> bool:
        """Whether the session knows the newest snapshot."""
        return self._generation == self.feed.current.generation

    @property
    def is_connected(self) -> bool:
        return bool(self._wakeups)

    def note_answer(self, type_url: str, answer: Answer) -> None:
        self.last_answer_at = time.time()
        if answer.error is not None:
            self.nack_times[type_url] = self.last_answer_at

    def wake(self) -> None:
        for client in self._siblings:
            for wakeup in client._wakeups:
                wakeup.set()

    def catch_up(self, now: float) -> None:
        """Tell the session, and those it waits for, about the newest snapshot."""
        for client in self._siblings:
            client._catch_up(now)

    def _catch_up(self, now: float) -> None:
        current = self.feed.current
        if current.generation != self._generation:
            self.session.advance(current.snapshot, self.feed.changes_since(self._generation), now)
            self._generation = current.generation


@dataclass(frozen=True, slots=True)
class _Retained:
    resource: Resource
    until: float


class Feed:
    """What the nodes of one gateway get, or the services of all gateways."""

    def __init__(self, name: str, *, timings: PolicyTimings, clock: Callable[[], float]) -> None:
        self.name = name
        self.current = Published(0, Snapshot({}), time.time())
        self.clients: set[Client] = set()
        self.overseers: Callable[[], Collection[Client]] = tuple
        """Services of other feeds that take this one's policies as well."""
        self._timings = timings
        self._clock = clock
        self.history = History()
        """For people: what was served, and what differed."""
        self._history: deque[Changes] = deque(maxlen=_HISTORY)
        self._retained: dict[tuple[str, str], _Retained] = {}
        self._awaited: tuple[Resource, ...] = ()
        """New policies that the services have not all taken."""
        self._awaited_until = 0.0

    def publish(self, snapshot: Snapshot, changes: Changes | None = None) -> Changes:
        """Serve this from now on; return what changed, nothing if nothing did.

        Args:
            changes: what differs from the current snapshot, if the caller knows: then nothing is compared.
        """
        now = self._clock()
        if changes is None:
            snapshot = self._retain(snapshot, now)
            changes = snapshot.changes_since(self.current.snapshot)
        if not changes and self.current.generation:
            return changes
        self._history.append(changes)
        older, self.current = self.current, Published(self.current.generation + 1, snapshot, time.time())
        self.history.note(self.current.generation, self.current.at, older.snapshot, snapshot, changes)
        self._await_policies(snapshot, changes, now)
        self.wake()
        return changes

    def changes_since(self, generation: int) -> Changes | None:
        """What differs from that generation's snapshot; None if it is too long ago to know."""
        missed = self.current.generation - generation
        if missed > len(self._history) or generation == 0:
            return None
        if missed == 1:
            return self._history[-1]
        union: dict[str, set[str]] = {}
        for changes in list(self._history)[len(self._history) - missed :]:
            for type_url, names in changes.items():
                union.setdefault(type_url, set()).update(names)
        return {type_url: frozenset(names) for type_url, names in union.items()}

    def gate(self) -> Gate:
        """Whether routes may go to Envoys: the services must have taken the policies first, or 2 s have passed.

        A policy that a service refuses is never referred to: the routes stay as they are.
        """
        if not self._awaited:
            return Gate(True)
        refused, missing = self._policy_progress()
        if refused:
            return Gate(False)
        if missing and self._clock() < self._awaited_until:
            return Gate(False, self._awaited_until)
        self._awaited = ()
        return Gate(True)

    def on_progress(self) -> None:
        """A service has answered or left: Envoys may be waiting for that."""
        if self._awaited:
            self.wake(NodeKind.ENVOY)

    def wake(self, kind: NodeKind | None = None) -> None:
        for client in self.clients:
            if kind is None or client.node.kind is kind:
                client.wake()

    def refused_policies(self) -> tuple[str, ...]:
        """Names of awaited policies that a connected service refuses."""
        return tuple(sorted({name for name, _ in self._refusals()}))

    def expire(self) -> bool:
        """Drop retained policies whose time has come and that no connected Envoy's routes may name; whether any."""
        if not self._retained or not all(client.session.has_settled(ROUTE_CONFIGURATION) for client in self.envoys()):
            return False
        now = self._clock()
        expired = [key for key, retained in self._retained.items() if retained.until <= now]
        if not expired:
            return False
        by_type = {type_url: dict(named) for type_url, named in self.current.snapshot.resources.items()}
        for type_url, name in expired:
            del self._retained[type_url, name]
            by_type[type_url].pop(name, None)
        changes = _grouped(expired)
        self._history.append(changes)
        snapshot = Snapshot(MappingProxyType({url: MappingProxyType(named) for url, named in by_type.items()}))
        older, self.current = self.current, Published(self.current.generation + 1, snapshot, self.current.at)
        self.history.note(self.current.generation, time.time(), older.snapshot, snapshot, changes)
        self.wake()
        return True

    def envoys(self) -> Iterator[Client]:
        return (client for client in self.clients if client.node.kind is NodeKind.ENVOY)

    def _retain(self, snapshot: Snapshot, now: float) -> Snapshot:
        """The snapshot with the policies, and their secrets, that it has no more but that may still be in use."""
        for type_url in (*POLICIES, SECRET):
            after = snapshot.of_type(type_url)
            for name, resource in self.current.snapshot.of_type(type_url).items():
                if name in after:
                    self._retained.pop((type_url, name), None)
                elif resource.kinds & _SERVICES:
                    self._retained.setdefault((type_url, name), _Retained(resource, now + self._timings.retained_s))
        if not self._retained:
            return snapshot
        resources = [resource for named in snapshot.resources.values() for resource in named.values()]
        return Snapshot.of([*resources, *(retained.resource for retained in self._retained.values())])

    def _await_policies(self, snapshot: Snapshot, changes: Changes, now: float) -> None:
        fresh = {(one.type_url, one.name): one for one in self._awaited}
        for type_url in POLICIES & changes.keys():
            named = snapshot.of_type(type_url)
            fresh.update(((type_url, name), named[name]) for name in changes[type_url] if name in named)
        current = [
            one
            for (type_url, name), one in sorted(fresh.items())
            if name in snapshot.of_type(type_url) and (type_url, name) not in self._retained
        ]
        if current and POLICIES & changes.keys():
            self._awaited_until = now + self._timings.acknowledged_s
        self._awaited = tuple(current)

    def _services(self) -> list[Client]:
        own = [client for client in self.clients if client.node.kind in _SERVICES]
        return [*own, *self.overseers()]

    def _policy_progress(self) -> tuple[bool, bool]:
        """Whether a service refuses an awaited policy, and whether one has not answered."""
        if any(True for _ in self._refusals()):
            return True, True
        missing = any(
            not subscription.has_acknowledged(policy.name, policy.version)
            for client in self._services()
            for policy in self._awaited
            if (subscription := client.session.subscriptions.get(policy.type_url)) is not None
        )
        return False, missing

    def _refusals(self) -> Iterator[tuple[str, Client]]:
        for client in self._services():
            for policy in self._awaited:
                subscription = client.session.subscriptions.get(policy.type_url)
                if subscription is not None and subscription.quarantine.parked.get(policy.name) == policy.version:
                    yield policy.name, client


class Store:
    """All feeds. Streams wait until `open` was called: an incomplete answer would take resources away."""

    def __init__(
        self,
        *,
        timings: Timings | None = None,
        policy_timings: PolicyTimings | None = None,
        tracing: Tracing | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.timings = timings or Timings()
        self.traces = PushTraces(tracing or Tracing("control_plane"))
        self.clock = clock
        self._policy_timings = policy_timings or PolicyTimings()
        self.refusals = Refusals()
        self._opened = asyncio.Event()
        self._feeds: dict[str, Feed] = {}
        self._standing: dict[str, ResourceMap] = {}
        # What it gets has been retained by the gateways' own feeds.
        self._services = Feed(ALL_GATEWAYS, timings=PolicyTimings(retained_s=0.0), clock=clock)

    @property
    def is_open(self) -> bool:
        return self._opened.is_set()

    @property
    def feeds(self) -> Mapping[str, Feed]:
        return self._feeds

    def open(self) -> None:
        """Every gateway has been published: serve."""
        self._opened.set()

    def publish(self, gateway: str, snapshot: Snapshot, changes: Changes | None = None) -> Changes:
        """Serve this snapshot to the gateway's nodes from now on; return what changed.

        Args:
            changes: what differs from the snapshot served now, if it was made from that one.
        """
        feed = self._feeds.get(gateway)
        if feed is None:
            feed = self._feeds[gateway] = Feed(gateway, timings=self._policy_timings, clock=self.clock)
            feed.overseers = lambda: self._services.clients
        if changes is None:
            snapshot = self._with_standing(snapshot)
        changes = feed.publish(snapshot, changes)
        if changes.keys() & OF_SERVICES:
            self._services.publish(self._policies_of_all())
        return changes

    def stand(self, type_url: str, named: ResourceMap) -> None:
        """Serve these resources of a type that no configuration makes beside whatever is published for a gateway.

        Args:
            named: all of that type, for services; takes the place of those of the last call.
        """
        before = self._standing.get(type_url, {})
        changes = {type_url: frozenset({*before, *named} - (before.keys() & named.keys()))}
        self._standing[type_url] = MappingProxyType(dict(sorted(named.items())))
        for name, feed in self._feeds.items():
            self.publish(name, self._with_standing(feed.current.snapshot), changes)

    def _with_standing(self, snapshot: Snapshot) -> Snapshot:
        if not self._standing:
            return snapshot
        return Snapshot(MappingProxyType({**snapshot.resources, **self._standing}))

    def remove(self, gateway: str) -> None:
        """Forget a gateway: who asks for it is refused; who is connected keeps what it has."""
        del self._feeds[gateway]
        self._services.publish(self._policies_of_all())

    async def feed_for(self, node: Node) -> Feed:
        """Wait until there is something to serve, then return the node's feed.

        Raises:
            UnknownGatewayError: node.cluster names no gateway.
        """
        await self._opened.wait()
        if node.cluster == ALL_GATEWAYS and node.kind in _SERVICES:
            return self._services
        feed = self._feeds.get(node.cluster)
        if feed is None:
            raise UnknownGatewayError(node.cluster, self._feeds.keys())
        return feed

    def clients(self) -> list[Client]:
        """All that are connected, in the order of their ids."""
        found = [client for feed in (*self._feeds.values(), self._services) for client in feed.clients]
        return sorted(found, key=lambda client: (client.node.kind.value, client.node.id, client.connected_at))

    def on_service_progress(self, client: Client) -> None:
        """A service has answered: Envoys that wait for it look again."""
        if client.node.kind is NodeKind.ENVOY:
            return
        for feed in self._feeds.values() if client.feed is self._services else (client.feed,):
            feed.on_progress()

    async def run(self) -> None:
        """Drop what is retained when its time has come; until cancelled."""
        while True:
            await asyncio.sleep(1)
            self.expire()

    def expire(self) -> None:
        """Drop what is retained and whose time has come."""
        expired = [feed.name for feed in self._feeds.values() if feed.expire()]
        if expired:
            self._services.publish(self._policies_of_all())
        self._services.expire()

    def _policies_of_all(self) -> Snapshot:
        """What services of several gateways share; equal names have equal content, because names carry its hash."""
        found: dict[tuple[str, str], Resource] = {}
        for _, feed in sorted(self._feeds.items()):
            for type_url in OF_SERVICES:
                for name, resource in feed.current.snapshot.of_type(type_url).items():
                    if resource.kinds & _SERVICES:
                        found.setdefault((type_url, name), resource)
        return Snapshot.of(found.values())


def _grouped(keys: Collection[tuple[str, str]]) -> Changes:
    grouped: dict[str, set[str]] = {}
    for type_url, name in keys:
        grouped.setdefault(type_url, set()).add(name)
    return {type_url: frozenset(names) for type_url, names in grouped.items()}
