"""Resources and views for tests of subscriptions, and clients that count what they are sent."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from envoy.service.discovery.v3 import discovery_pb2

from control_plane.resource_types import CLUSTER
from control_plane.snapshot import Resource, ResourceMap
from control_plane.xds.delta import DeltaSubscription
from control_plane.xds.sotw import SotwSubscription
from control_plane.xds.subscription import Answer, Push, Subscription


def resource(name: str, version: str = "1", type_url: str = CLUSTER) -> Resource:
    """A resource whose content is its name and version."""
    return Resource(type_url, name, f"{name}@{version}".encode(), version)


@dataclass
class Served:
    """A `View` that tests change."""

    type_url: str = CLUSTER
    resources: dict[str, Resource] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)

    def get(self, name: str) -> Resource | None:
        return self.resources.get(name)

    def names(self) -> Collection[str]:
        return sorted(self.resources)

    def served(self) -> ResourceMap:
        return dict(self.resources)

    def keeps(self, name: str) -> bool:
        return name in self.kept

    def put(self, *subscriptions: Subscription, **versions: str) -> None:
        """Set the content of these names and tell the subscriptions."""
        for name, version in versions.items():
            self.resources[name] = resource(name, version, self.type_url)
        for subscription in subscriptions:
            subscription.mark(versions)

    def remove(self, *names: str, subscription: Subscription) -> None:
        for name in names:
            del self.resources[name]
        subscription.mark(names)


class _Stream:
    """What a stream does for one subscription, with a clock that tests move."""

    ANSWER_S = 5.0

    def __init__(self, view: Served) -> None:
        self.view = view
        self.now = 0.0
        self.nonce = ""
        self.version = ""
        self._nonces = 0

    @property
    def _subscription(self) -> Subscription:
        raise NotImplementedError

    def take(self) -> Push | None:
        """The next response if one may be sent now; the client has then received it."""
        if self._subscription.awaits_answer(self.now):
            return None
        push = self._subscription.respond(self.view, now=self.now, nonce=self._fresh_nonce)
        if push is not None:
            self.nonce, self.version = push.nonce, push.version
        return push

    def _fresh_nonce(self) -> str:
        self._nonces += 1
        return str(self._nonces)


class SotwStream(_Stream):
    """Speaks state of the world to one subscription."""

    def __init__(self, view: Served) -> None:
        super().__init__(view)
        self.subscription = SotwSubscription(view.type_url, answer_s=self.ANSWER_S)

    @property
    def _subscription(self) -> Subscription:
        return self.subscription

    def request(
        self, *names: str, nonce: str | None = None, version: str = "", error: str | None = None
    ) -> Answer | None:
        """Send a request with the last nonce, or another one."""
        used = self.nonce if nonce is None else nonce
        return self.subscription.request(version=version, nonce=used, names=names, error=error, now=self.now)

    def received(self) -> dict[str, str] | None:
        """Version by name of the next response's resources; None if there is no response."""
        push = self.take()
        if push is None:
            return None
        response = discovery_pb2.DiscoveryResponse.FromString(push.payload)
        return _versions(packed.value for packed in response.resources)


class DeltaStream(_Stream):
    """Speaks incremental xDS to one subscription."""

    def __init__(self, view: Served) -> None:
        super().__init__(view)
        self.subscription = DeltaSubscription(view.type_url, answer_s=self.ANSWER_S)
        self.removed: tuple[str, ...] = ()

    @property
    def _subscription(self) -> Subscription:
        return self.subscription

    def request(
        self,
        *subscribe: str,
        unsubscribe: Collection[str] = (),
        initial: Mapping[str, str] | None = None,
        nonce: str = "",
        error: str | None = None,
    ) -> Answer | None:
        return self.subscription.request(
            nonce=nonce,
            subscribe=subscribe,
            unsubscribe=unsubscribe,
            initial_versions=initial or {},
            error=error,
            now=self.now,
        )

    def ack(self) -> Answer | None:
        return self.request(nonce=self.nonce)

    def nack(self, reason: str = "bad") -> Answer | None:
        return self.request(nonce=self.nonce, error=reason)

    def received(self) -> dict[str, str] | None:
        """Version by name of the next response's resources, `removed` apart; None if there is no response."""
        push = self.take()
        if push is None:
            return None
        response = discovery_pb2.DeltaDiscoveryResponse.FromString(push.payload)
        self.removed = tuple(response.removed_resources)
        return {one.name: one.version for one in response.resources}


def _versions(bodies: Iterable[bytes]) -> dict[str, str]:
    """Of resources made by `resource`."""
    return dict(body.decode().split("@") for body in bodies)
