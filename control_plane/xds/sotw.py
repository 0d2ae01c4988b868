"""State-of-the-world: a request names all that the client wants, a response of some types holds all there is."""

import hashlib
from collections.abc import Callable, Collection

from control_plane.resource_types import FULL_STATE
from control_plane.snapshot import Resource
from control_plane.xds.known import Names
from control_plane.xds.subscription import Answer, Push, Subscription, View
from control_plane.xds.wire import discovery_response

WILDCARD = "*"


class SotwSubscription(Subscription):
    """One type on one state-of-the-world stream."""

    def __init__(self, type_url: str, *, answer_s: float) -> None:
        super().__init__(type_url, answer_s=answer_s)
        self._is_full_state = type_url in FULL_STATE
        self._ever_named = False
        self._claimed_version = ""
        self._last_nonce = ""

    def request(
        self, *, version: str, nonce: str, names: Collection[str], error: str | None, now: float
    ) -> Answer | None:
        """Take a DiscoveryRequest; return what it says about the last response, if it does.

        A request with another nonce than the last one is stale and means nothing: the answer to the last response
        brings its names again. The first request of a type counts whatever its nonce, which may stem from an earlier
        stream.
        """
        if self._is_first:
            self._is_first = False
            self._claimed_version = version
            self._want(names)
            self._must_answer = self.interest.wildcard or self._is_full_state
            return None
        if nonce != self._last_nonce and self._last_nonce:
            return None
        answer = self._settle(nonce, error, now)
        self._want(names)
        return answer

    def _want(self, names: Collection[str]) -> None:
        explicit = set(names)
        was_wildcard, had = self.interest.wildcard, self.interest.names
        self._ever_named = self._ever_named or bool(explicit)
        self.interest.wildcard = WILDCARD in explicit or not self._ever_named
        explicit.discard(WILDCARD)
        if set(had) == explicit and was_wildcard == self.interest.wildcard:
            return
        self.interest.names = Names(explicit)
        if was_wildcard != self.interest.wildcard:
            self.mark(None)
        if not self.interest.wildcard:
            for name in [name for name in self._known if name not in explicit]:
                self._known.discard(name)
        fresh = {name for name in explicit if name not in had}
        for name in fresh:
            self.quarantine.forget(name)
        self.force(fresh)

    def _push(self, view: View, changed: list[Resource], removed: list[str], nonce: Callable[[], str]) -> Push | None:
        resources = self._everything(view) if self._is_full_state else changed
        version = set_version(resources)
        claimed, self._claimed_version = self._claimed_version, ""
        if claimed == version and self._is_full_state and self.interest.wildcard and not self.interest.names:
            # Versions are content hashes: the client has brought all of this from an earlier stream.
            self._known.replace(resources)
            self._dirty.clear()
            self.version_sent = self.version_acked = version
            return None
        for resource in changed:
            self._last_good.setdefault(resource.name, self._held(resource.name))
        if self._is_full_state:
            self._known.replace(resources)
        else:
            for resource in changed:
                self._known[resource.name] = resource
        self._last_nonce = nonce()
        payload = discovery_response(self.type_url, version, self._last_nonce, resources)
        names = tuple(resource.name for resource in changed)
        return Push(self.type_url, self._last_nonce, version, payload, names, tuple(removed))

    def _alive(self, resources: list[Resource], nonce: str) -> Push:
        """With their content: Envoy's state-of-the-world client drops those without before it sets its timer again

        (GrpcMuxImpl::onDiscoveryResponse, 1.40; a resource that it has is no update).
        """
        self._last_nonce = nonce
        payload = discovery_response(self.type_url, self.version_acked, nonce, resources)
        return Push(self.type_url, nonce, self.version_acked, payload, (), ())

    def _everything(self, view: View) -> list[Resource]:
        """The full set, with the last good content of what must not be sent."""
        names = view.names() if self.interest.wildcard else sorted(self.interest.names)
        resources = []
        for name in names:
            resource = view.get(name)
            if resource is not None and self.quarantine.withholds(name, resource.version):
                resource = self._last_good.get(name)
            if resource is not None:
                resources.append(resource)
        return resources

    def _announces_removal(self, name: str) -> bool:
        if self._is_full_state:
            return name in self._known
        self._known.discard(name)
        self._last_good.pop(name, None)
        return False


def set_version(resources: Collection[Resource], removed: Collection[str] = ()) -> str:
    """A version of what a response says: equal content has an equal version on every replica."""
    if len(resources) == 1 and not removed:
        return next(iter(resources)).version
    digest = hashlib.sha256()
    for resource in resources:
        digest.update(f"{resource.name}\0{resource.version}\n".encode())
    for name in removed:
        digest.update(f"{name}\n".encode())
    return digest.hexdigest()[:16]
