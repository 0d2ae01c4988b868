"""Purges of what is stored and of what is on its way."""

import pytest

from ext_proc.events import Forward, PassHeaders, Serve
from ext_proc.sinks import PurgeSink
from gateway_runtime.xds_client import Rejected
from policy.cache_key import cache_uri
from policy.purge import ByPrefix, ByTag, ByUri, Everything, Purge
from protos.gateway.policy.v1.cache_purge_pb2 import CachePurge
from tests.unit.ext_proc.test_exchange import FRESH, gateway

EVERY = [
    ByTag("users"),
    ByPrefix("", "", "/a"),
    ByUri(cache_uri("http", "h", "/a")),
    Everything(),
]


@pytest.mark.parametrize("purge", EVERY)
def test_what_is_named_is_gone(purge: Purge) -> None:
    """And nothing else, unless everything is meant."""
    g = gateway()
    g.fetch("/a", FRESH | {"cache-tag": "users, user-7"})
    g.fetch("/b", FRESH | {"surrogate-key": "events"})

    assert (2 if purge == Everything() else 1) == g.cache.purge("purge-1", purge)

    assert isinstance(g.begin("/a").action, Forward)
    assert isinstance(g.begin("/b").action, Forward if purge == Everything() else Serve)


@pytest.mark.parametrize("purge", EVERY)
def test_a_response_that_was_asked_for_before_the_purge_is_not_stored(purge: Purge) -> None:
    """It may be what the purge was for; whoever waited for it asks the service."""
    g = gateway()
    leader = g.begin()
    follower = g.begin()
    leader.responds(FRESH)

    assert 0 == g.cache.purge("purge-1", purge)
    leader.chunk(b"old", end=True)

    assert isinstance(follower.resume(), Forward)
    assert 0 == len(g.store)
    follower.answered(FRESH, b"new")
    assert 1 == len(g.store)


def test_clients_never_see_tags() -> None:
    """Neither on the miss nor on the hit; other services' tags are left alone."""
    g = gateway()
    client = g.begin()
    passed = client.responds(FRESH | {"cache-tag": "a", "surrogate-key": "b c"})
    assert isinstance(passed, PassHeaders)
    assert {"cache-tag", "surrogate-key"} == set(passed.changes.remove)
    client.chunk(b"body", end=True)

    hit = g.begin().action

    assert isinstance(hit, Serve)
    assert ("a", "b", "c") == hit.entry.tags
    assert {"cache-control", "date"} == dict(hit.entry.headers).keys()


def test_tags_stay_when_the_service_validates_without_them() -> None:
    """A 304 that names no tags does not take them away."""
    g = gateway()
    g.fetch(response={"cache-control": "max-age=1", "etag": '"a"', "cache-tag": "users"})
    g.now += 5
    assert isinstance(g.begin().responds({"cache-control": "max-age=60"}, status=304), Serve)

    assert 1 == g.cache.purge("purge-1", ByTag("users"))


def test_tags_of_evicted_entries_are_forgotten() -> None:
    """Or a flood of tags would stay in memory."""
    g = gateway()
    for number in range(300):
        g.fetch(f"/{number}", FRESH | {"cache-tag": f"t{number}"})

    assert len(g.store) == len(g.store._by_tag) == 100


@pytest.mark.parametrize("body", [b"garbage", CachePurge(tag="").SerializeToString()])
def test_a_purge_that_means_nothing_is_refused_whole(body: bytes) -> None:
    """NACK: nothing of the response is done."""
    g = gateway()
    g.fetch()

    with pytest.raises(Rejected):
        PurgeSink(g.cache).apply({"purge-1": CachePurge(all=True).SerializeToString(), "purge-2": body}, ())

    assert 1 == len(g.store)
