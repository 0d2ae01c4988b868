"""Resources with a time to live are kept alive by heartbeats; incremental ones hold no content."""

import pytest
from envoy.service.discovery.v3 import discovery_pb2

from control_plane.resource_types import RUNTIME, NodeKind
from control_plane.snapshot import Resource, Snapshot
from control_plane.xds.delta import DeltaSubscription
from control_plane.xds.session import Node, Session, Timings
from control_plane.xds.sotw import SotwSubscription
from control_plane.xds.subscription import Push

TTL_S = 30.0
BEAT_S = 10.0
"""A third of it."""


def runtime(name: str, content: str = "1", ttl_s: float = TTL_S) -> Resource:
    resource = Resource.of_body(RUNTIME, name, content.encode())
    return resource.with_ttl(ttl_s) if ttl_s else resource


class Stream:
    """A client of one type on one stream, with a clock that tests move."""

    def __init__(self, subscription: SotwSubscription | DeltaSubscription, *names: str) -> None:
        self.now = 0.0
        self.subscription = subscription
        self.names = names
        self.session = Session(Node("1", "a", NodeKind.ENVOY), Timings(answer_s=5.0))
        self.session.subscribe(subscription)
        self._ask("", names)

    @property
    def is_sotw(self) -> bool:
        return isinstance(self.subscription, SotwSubscription)

    def serve(self, *resources: Resource) -> None:
        self.session.advance(Snapshot.of(resources), None, self.now)

    def _ask(self, nonce: str, names: tuple[str, ...] = (), error: str | None = None) -> None:
        if isinstance(self.subscription, SotwSubscription):
            self.subscription.request(version="", nonce=nonce, names=self.names, error=error, now=self.now)
        else:
            self.subscription.request(
                nonce=nonce, subscribe=names, unsubscribe=(), initial_versions={}, error=error, now=self.now
            )

    def only(self) -> discovery_pb2.Resource:
        """The only one of the next response."""
        found = self.take()
        assert found is not None
        assert 1 == len(found)
        return found[0]

    def take(self, *, error: str | None = None) -> list[discovery_pb2.Resource] | None:
        """The wrappers of the next response, which is answered; None if there is none."""
        push = self.session.take({RUNTIME}, self.now)
        if push is None:
            return None
        self._ask(push.nonce, error=error)
        return wrappers(push, sotw=self.is_sotw)


def wrappers(push: Push, *, sotw: bool) -> list[discovery_pb2.Resource]:
    if not sotw:
        return list(discovery_pb2.DeltaDiscoveryResponse.FromString(push.payload).resources)
    found = []
    response = discovery_pb2.DiscoveryResponse.FromString(push.payload)
    for packed in response.resources:
        wrapper = discovery_pb2.Resource()
        assert packed.Unpack(wrapper)
        found.append(wrapper)
    return found


@pytest.fixture(params=[SotwSubscription, DeltaSubscription])
def stream(request: pytest.FixtureRequest) -> Stream:
    """In both variants."""
    return Stream(request.param(RUNTIME, answer_s=5.0), "a", "b")


def test_a_time_to_live_is_sent_and_heartbeats_keep_it(stream: Stream) -> None:
    """Every third of it, and the session says when; a heartbeat has name, version and ttl."""
    stream.serve(runtime("a"))
    first = stream.only()
    assert (b"1", 30) == (first.resource.value, first.ttl.seconds)

    for _ in range(3):
        assert stream.take() is None
        assert stream.now + BEAT_S == stream.session.deadline()
        stream.now += BEAT_S
        beat = stream.only()
        assert ("a", first.version, 30) == (beat.name, beat.version, beat.ttl.seconds)
        assert stream.is_sotw == beat.HasField("resource")


def test_new_content_is_content(stream: Stream) -> None:
    """And the next heartbeat has its version."""
    stream.serve(runtime("a"))
    stream.take()
    stream.take()
    stream.serve(runtime("a", "2"))
    changed = stream.only()
    stream.now += 2 * BEAT_S
    beat = stream.only()

    assert b"2" == changed.resource.value
    assert changed.version == beat.version
    assert stream.is_sotw == beat.HasField("resource")


def test_what_has_none_gets_no_heartbeat(stream: Stream) -> None:
    """Nor what is gone, nor what the client refused."""
    stream.serve(runtime("a"))
    assert stream.take(error="bad")
    stream.serve(runtime("a"), runtime("b"))
    assert ["b"] == [one.name for one in stream.take() or ()]
    stream.take()
    stream.now += BEAT_S
    assert ["b"] == [one.name for one in stream.take() or ()]
    stream.serve(runtime("a"))
    while stream.take() is not None:
        pass
    stream.now += 100 * BEAT_S

    assert stream.take() is None
    assert stream.session.deadline() is None


def test_a_ttl_is_part_of_the_version() -> None:
    """Another one is a change."""
    assert 3 == len({runtime("a", ttl_s=ttl_s).version for ttl_s in (0, 10, 20)})


def test_a_client_that_does_not_answer_a_heartbeat_gets_the_next_one(stream: Stream) -> None:
    """After the time that an answer may take."""
    stream.serve(runtime("a"))
    stream.take()
    stream.take()
    stream.now += BEAT_S
    assert stream.session.take({RUNTIME}, stream.now) is not None
    stream.now += BEAT_S

    assert stream.session.take({RUNTIME}, stream.now) is not None
