"""Whatever happens on a stream, in the end the client holds what is served."""

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from control_plane.resource_types import CLUSTER, ROUTE_CONFIGURATION
from control_plane.xds import known
from control_plane.xds.subscription import Push
from tests.unit.control_plane.xds.served import DeltaStream, Served, SotwStream

NAMES = ("a", "b", "c", "d", "e")
names = st.sampled_from(NAMES)
BAD = "x"
"""A version that ends in it is refused by the client."""


@pytest.fixture(autouse=True)
def _settle_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams share what they know with the view from the first name on, not only when it is much."""
    monkeypatch.setattr(known, "_FEW", 0)


class _Client(RuleBasedStateMachine):
    """A client that takes a response whole or refuses it whole, and a server's subscription for it."""

    def __init__(self) -> None:
        super().__init__()
        self.view = Served()
        self.count = 0
        self.wildcard = False
        self.wanted: set[str] = set()
        self.holds: dict[str, str] = {}
        self.unanswered: Push | None = None

    # What differs between the variants.

    def connect(self) -> None:
        raise NotImplementedError

    def take(self) -> bool:
        """Receive a response if there is one."""
        raise NotImplementedError

    def answer(self) -> None:
        raise NotImplementedError

    # What happens.

    @rule(name=names, bad=st.booleans())
    def put(self, name: str, bad: bool) -> None:
        self.count += 1
        self.view.put(self.stream.subscription, **{name: f"{self.count}{BAD if bad else ''}"})

    @rule(name=names)
    def remove(self, name: str) -> None:
        if name in self.view.resources:
            self.view.remove(name, subscription=self.stream.subscription)

    @rule(seconds=st.sampled_from([1, 5]))
    def wait(self, seconds: int) -> None:
        self.stream.now += seconds

    @rule()
    def receive(self) -> None:
        self.take()

    @precondition(lambda self: self.unanswered is not None)
    @rule()
    def respond(self) -> None:
        self.answer()

    @rule()
    def reconnect(self) -> None:
        self.unanswered = None
        self.connect()

    @property
    def stream(self) -> "SotwStream | DeltaStream":
        raise NotImplementedError

    def teardown(self) -> None:
        """Mend everything, answer everything: what is wanted is held, in its newest version."""
        for name in list(self.view.resources):
            self.put(name, bad=False)
        for _ in range(50):
            if self.unanswered is not None:
                self.answer()
            self.stream.now += 5
            if not self.take():
                break
        else:
            raise AssertionError("it never comes to rest")
        served = {name: one.version for name, one in self.view.resources.items()}
        wanted = {name: version for name, version in served.items() if self.wildcard or name in self.wanted}
        assert wanted == self.relevant(served)

    def relevant(self, served: dict[str, str]) -> dict[str, str]:
        """What the client holds and knows to be there."""
        return {name: version for name, version in self.holds.items() if self.wildcard or name in self.wanted}


class _Delta(_Client):
    type_url = CLUSTER

    @initialize(wildcard=st.booleans(), wanted=st.sets(names))
    def start(self, wildcard: bool, wanted: set[str]) -> None:
        self.view = Served(self.type_url)
        self.wildcard, self.wanted = wildcard or not wanted, wanted
        self.connect()

    def connect(self) -> None:
        self.delta = DeltaStream(self.view)
        subscribe = [*(["*"] if self.wildcard else []), *sorted(self.wanted)]
        self.delta.request(*subscribe, initial=self.holds, unsubscribe=[] if subscribe else ["*"])
        if not subscribe:
            self.holds.clear()
            self.delta.subscription.interest.wildcard = False

    @property
    def stream(self) -> DeltaStream:
        return self.delta

    @rule(name=names)
    def subscribe(self, name: str) -> None:
        self.wanted.add(name)
        self.delta.request(name)

    @rule(name=names)
    def unsubscribe(self, name: str) -> None:
        self.wanted.discard(name)
        if not self.wildcard:
            self.holds.pop(name, None)
        self.delta.request(unsubscribe=[name])

    @rule()
    def toggle_wildcard(self) -> None:
        self.wildcard = not self.wildcard
        if self.wildcard:
            self.delta.request("*")
        else:
            self.holds = {name: version for name, version in self.holds.items() if name in self.wanted}
            self.delta.request(unsubscribe=["*"])

    def take(self) -> bool:
        push = self.delta.take()
        if push is not None:
            self.unanswered = push
        return push is not None

    def answer(self) -> None:
        push, self.unanswered = self.unanswered, None
        assert push is not None
        response = discovery_pb2.DeltaDiscoveryResponse.FromString(push.payload)
        if any(one.version.endswith(BAD) for one in response.resources):
            self.delta.request(nonce=push.nonce, error="bad")
            return
        # A response may have crossed an unsubscription: the client keeps only what it wants.
        self.holds.update(
            (one.name, one.version) for one in response.resources if self.wildcard or one.name in self.wanted
        )
        for name in response.removed_resources:
            self.holds.pop(name, None)
        self.delta.request(nonce=push.nonce)


class _Sotw(_Client):
    type_url = CLUSTER

    @initialize(wanted=st.sets(names))
    def start(self, wanted: set[str]) -> None:
        self.view = Served(self.type_url)
        self.named = bool(wanted)
        self.wanted, self.wildcard = wanted, not wanted
        self.version = ""
        self.connect()

    def connect(self) -> None:
        self.sotw = SotwStream(self.view)
        if not self.wanted:
            # Nothing named on this stream yet.
            self.wildcard = True
        self.sotw.request(*self._asked(), version=self.version)

    @property
    def stream(self) -> SotwStream:
        return self.sotw

    @rule(wanted=st.sets(names, min_size=1), wildcard=st.booleans())
    def want(self, wanted: set[str], wildcard: bool) -> None:
        self.wanted, self.wildcard = wanted, wildcard
        if self.unanswered is None:
            self.sotw.request(*self._asked())

    def _asked(self) -> list[str]:
        if self.wildcard and not self.wanted:
            return []
        return [*(["*"] if self.wildcard else []), *sorted(self.wanted)]

    def take(self) -> bool:
        push = self.sotw.take()
        if push is not None:
            self.unanswered = push
        return push is not None

    def answer(self) -> None:
        push, self.unanswered = self.unanswered, None
        assert push is not None
        response = discovery_pb2.DiscoveryResponse.FromString(push.payload)
        received = dict(packed.value.decode().split("@") for packed in response.resources)
        if any(version.endswith(BAD) for version in received.values()):
            self.sotw.request(*self._asked(), error="bad")
            return
        self.version = push.version
        if self.type_url == CLUSTER:
            self.holds = received
        else:
            self.holds.update(received)
        self.sotw.request(*self._asked())

    def relevant(self, served: dict[str, str]) -> dict[str, str]:
        held = super().relevant(served)
        if self.type_url == CLUSTER:
            return held
        # Absence tells nothing here: what is gone may stay at the client.
        return {name: version for name, version in held.items() if name in served}


class _SotwRoutes(_Sotw):
    type_url = ROUTE_CONFIGURATION


TestDelta = _Delta.TestCase
TestSotwFullState = _Sotw.TestCase
TestSotwChangesOnly = _SotwRoutes.TestCase
for case in (TestDelta, TestSotwFullState, TestSotwChangesOnly):
    case.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
