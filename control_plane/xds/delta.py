"""Incremental xDS: requests change what the client wants, responses bring what changed."""

from collections.abc import Callable, Collection, Mapping

from control_plane.snapshot import Resource
from control_plane.xds.known import Names
from control_plane.xds.sotw import WILDCARD, set_version
from control_plane.xds.subscription import Answer, Push, Subscription, View
from control_plane.xds.wire import delta_discovery_response


class DeltaSubscription(Subscription):
    """One type on one incremental stream."""

    def request(
        self,
        *,
        nonce: str,
        subscribe: Collection[str],
        unsubscribe: Collection[str],
        initial_versions: Mapping[str, str],
        error: str | None,
        now: float,
    ) -> Answer | None:
        """Take a DeltaDiscoveryRequest; return what it says about the last response, if it does.

        The nonce pairs ACK and NACK with a response and nothing else: what the request says about names counts also if
        its nonce is stale.
        """
        answer = self._settle(nonce, error, now) if nonce else None
        self._unsubscribe(unsubscribe)
        if self._is_first:
            self._is_first = False
            for name, version in initial_versions.items():
                self._known[name] = Resource(self.type_url, name, b"", version)
            self._subscribe_first(subscribe)
        else:
            self._subscribe(subscribe)
        return answer

    def _subscribe_first(self, names: Collection[str]) -> None:
        """No name at all is the wildcard; what the client brought in the version that we have is not sent again."""
        self.interest.names = Names(name for name in names if name != WILDCARD)
        self.interest.wildcard = WILDCARD in names or not names
        self._must_answer = self.interest.wildcard
        for name in self.interest.names:
            if name not in self._known:
                self._make_unknown(name)

    def _subscribe(self, names: Collection[str]) -> None:
        """A name that is subscribed to again is sent again: the client may have forgotten it."""
        for name in names:
            if name != WILDCARD:
                self.interest.names.add(name)
                self.quarantine.forget(name)
                self.force([name])
            elif self.interest.wildcard:
                self.force(list(self._known))
            else:
                self.interest.wildcard = True
                self._must_answer = True
                self.mark(None)

    def _unsubscribe(self, names: Collection[str]) -> None:
        for name in names:
            if name == WILDCARD:
                self.interest.wildcard = False
            elif name in self.interest.names:
                self.interest.names.discard(name)
                # Still wanted by the wildcard: the client is told whether it is there.
                self.force([name])
        if names and not self.interest.wildcard:
            for name in [name for name in self._known if name not in self.interest]:
                self._known.discard(name)

    def _push(self, view: View, changed: list[Resource], removed: list[str], nonce: Callable[[], str]) -> Push:
        for resource in changed:
            self._last_good.setdefault(resource.name, self._held(resource.name))
            self._known[resource.name] = resource
        for name in removed:
            self._known.discard(name)
            self._last_good.pop(name, None)
        version, fresh = set_version(changed, removed), nonce()
        payload = delta_discovery_response(self.type_url, version, fresh, changed, removed)
        names = tuple(resource.name for resource in changed)
        return Push(self.type_url, fresh, version, payload, names, tuple(removed))

    def _alive(self, resources: list[Resource], nonce: str) -> Push:
        version = set_version(resources)
        payload = delta_discovery_response(self.type_url, version, nonce, resources, (), alive=True)
        return Push(self.type_url, nonce, version, payload, (), ())

    def _announces_removal(self, name: str) -> bool:
        return name in self._known
