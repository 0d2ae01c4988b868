"""Incremental xDS: requests change what the client wants, responses bring what changed."""

from collections.abc import Callable, Collection, Mapping

from control_plane.snapshot import Resource
from control_plane.xds.sotw import WILDCARD, set_version
from control_plane.xds.subscription import UNKNOWN, Answer, Push, Subscription, View
from control_plane.xds.wire import delta_discovery_response


class DeltaSubscription(Subscription):
    """One type on one incremental stream."""

    def __init__(self, type_url: str, *, answer_s: float) -> None:
        super().__init__(type_url, answer_s=answer_s)
        self._known: dict[str, str] = {}
        self._last_good: dict[str, str | None] = {}
        """What the client had before the responses that it has not acknowledged."""

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
            self._known.update(initial_versions)
            self._subscribe_first(subscribe)
        else:
            self._subscribe(subscribe)
        return answer

    def _subscribe_first(self, names: Collection[str]) -> None:
        """No name at all is the wildcard; what the client brought in the version that we have is not sent again."""
        self.interest.names = {name for name in names if name != WILDCARD}
        self.interest.wildcard = WILDCARD in names or not names
        self._must_answer = self.interest.wildcard
        for name in self.interest.names:
            self._known.setdefault(name, UNKNOWN)

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
                del self._known[name]

    def version_known(self, name: str) -> str | None:
        return self._known.get(name)

    def known_names(self) -> Collection[str]:
        return self._known

    def _push(self, view: View, changed: list[Resource], removed: list[str], nonce: Callable[[], str]) -> Push:
        for resource in changed:
            had = self._known.get(resource.name)
            self._last_good.setdefault(resource.name, None if had == UNKNOWN else had)
            self._known[resource.name] = resource.version
        for name in removed:
            self._known.pop(name, None)
            self._last_good.pop(name, None)
        version, fresh = set_version(changed, removed), nonce()
        payload = delta_discovery_response(self.type_url, version, fresh, changed, removed)
        names = tuple(resource.name for resource in changed)
        return Push(self.type_url, fresh, version, payload, names, tuple(removed))

    def _make_unknown(self, name: str) -> None:
        self._known[name] = UNKNOWN

    def _announces_removal(self, name: str) -> bool:
        return name in self._known

    def _restore(self, name: str, *, certain: bool) -> None:
        had = self._last_good.get(name)
        if not certain:
            self._make_unknown(name)
        elif had is not None:
            self._known[name] = had
        else:
            self._known.pop(name, None)

    def _confirm(self, names: Collection[str]) -> None:
        for name in names:
            self._last_good.pop(name, None)
