"""A client like Envoy for tests of sessions: it subscribes by what it was sent and answers when told to."""

from collections.abc import Collection

from control_plane.resource_types import (
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    LISTENER,
    ROUTE_CONFIGURATION,
    NodeKind,
    short_name,
)
from control_plane.snapshot import Resource, Snapshot
from control_plane.xds.delta import DeltaSubscription
from control_plane.xds.session import Gate, Gatekeeper, Node, Session, Timings
from control_plane.xds.sotw import SotwSubscription
from control_plane.xds.subscription import Push

ENVOY = Node("envoy-1", "meetinity", NodeKind.ENVOY)
TYPES = (CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER, ROUTE_CONFIGURATION)
_PREFIXES = {"c": CLUSTER, "e": CLUSTER_LOAD_ASSIGNMENT, "l": LISTENER, "r": ROUTE_CONFIGURATION}


def snapshot(*texts: str) -> Snapshot:
    """`c/a@1` is version 1 of cluster a; e is an assignment, l a listener, r a route configuration."""
    return Snapshot.of(_resource(text) for text in texts)


def _resource(text: str) -> Resource:
    kind, _, rest = text.partition("/")
    name, _, version = rest.partition("@")
    return Resource(_PREFIXES[kind], name, rest.encode(), version or "1")


class FakeEnvoy:
    """One session with all types, delta or state of the world."""

    def __init__(self, *, delta: bool, gatekeeper: Gatekeeper = lambda: Gate(True)) -> None:
        self.now = 0.0
        self.timings = Timings(answer_s=5, hold_s=5, grace_s=10, in_flight_s=2)
        self.session = Session(ENVOY, self.timings, gatekeeper)
        self.delta = delta

    def serve(self, *texts: str) -> None:
        """Publish a snapshot."""
        self.session.advance(snapshot(*texts), None, self.now)

    def subscribe(self, type_url: str, *names: str, initial: Collection[str] = ()) -> None:
        """
        Args:
            initial: names that a delta client brings, in version 1.
        """
        if self.delta:
            delta = DeltaSubscription(type_url, answer_s=self.timings.answer_s)
            delta.request(
                nonce="",
                subscribe=names,
                unsubscribe=(),
                initial_versions=dict.fromkeys(initial, "1"),
                error=None,
                now=self.now,
            )
            self.session.subscribe(delta)
            self.session.keep_unknown(type_url, initial, self.now)
        else:
            sotw = SotwSubscription(type_url, answer_s=self.timings.answer_s)
            sotw.request(version="", nonce="", names=names, error=None, now=self.now)
            self.session.subscribe(sotw)

    def subscribe_all(self, *names: str) -> None:
        """Clusters and listeners by wildcard, the others by these names."""
        self.subscribe(CLUSTER)
        self.subscribe(LISTENER)
        self.subscribe(CLUSTER_LOAD_ASSIGNMENT, *names)
        self.subscribe(ROUTE_CONFIGURATION, *names)

    def take(self, types: Collection[str] = TYPES) -> list[Push]:
        """All that may be sent now."""
        pushes = []
        while (push := self.session.take(types, self.now)) is not None:
            pushes.append(push)
        return pushes

    def answer(self, push: Push, error: str | None = None) -> None:
        subscription = self.session.subscriptions[push.type_url]
        if isinstance(subscription, DeltaSubscription):
            subscription.request(
                nonce=push.nonce, subscribe=(), unsubscribe=(), initial_versions={}, error=error, now=self.now
            )
        elif isinstance(subscription, SotwSubscription):
            names = tuple(subscription.interest.names)
            subscription.request(version=push.version, nonce=push.nonce, names=names, error=error, now=self.now)

    def settle(self) -> list[Push]:
        """Take and acknowledge until nothing comes; return what came, in order."""
        seen: list[Push] = []
        while pushes := self.take():
            seen += pushes
            for push in pushes:
                self.answer(push)
        return seen


def told(pushes: Collection[Push]) -> list[str]:
    """`Cluster +a -b` for each."""
    return [
        " ".join(
            (short_name(push.type_url), *(f"+{name}" for name in push.changed), *(f"-{name}" for name in push.removed))
        )
        for push in pushes
    ]
