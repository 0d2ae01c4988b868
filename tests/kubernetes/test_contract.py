"""What the list/watch client relies on, of any API server: the double is held to it, and so is a real cluster."""

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest

from control_plane.kubernetes.api import Stream
from tests.kubernetes.api_server import ApiServer
from tests.kubernetes.cluster import SLICES, Namespace, endpoint_slice
from tests.kubernetes.store import Object

RESOURCE = "endpointslices"


async def listed(shop: Namespace, **query: str) -> Object:
    answer = await shop.list(SLICES, RESOURCE, query)
    assert answer.status == 200, answer
    found: Object = orjson.loads(answer.body)
    return found


async def events(stream: Stream) -> AsyncIterator[Object]:
    assert stream.status == 200
    async for line in stream.lines():
        yield orjson.loads(line)


def path(shop: Namespace) -> str:
    return f"{SLICES}/namespaces/{shop.name}/{RESOURCE}"


async def test_an_empty_list_has_a_version(shop: Namespace) -> None:
    """A watch can start from a list without items."""
    found = await listed(shop)

    assert not found["items"]
    assert int(found["metadata"]["resourceVersion"]) > 0


async def test_pages_show_one_version(shop: Namespace) -> None:
    """All pages of a list show the state of the first, whatever is written meanwhile."""
    for name in "abc":
        await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.1", name=name))

    first = await listed(shop, limit="2")
    await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.1", name="d"))
    second = await listed(shop, limit="2", **{"continue": first["metadata"]["continue"]})

    assert ["a", "b"] == [one["metadata"]["name"] for one in first["items"]]
    assert ["c"] == [one["metadata"]["name"] for one in second["items"]]
    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]
    assert not second["metadata"].get("continue")


async def test_a_watch_shows_what_happened_after_its_version(shop: Namespace) -> None:
    """Created, changed and deleted objects come in order, each with a new version."""
    before = (await listed(shop))["metadata"]["resourceVersion"]
    created = await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.1"))
    await shop.replace(SLICES, RESOURCE, {**created, "endpoints": []})
    await shop.delete(SLICES, RESOURCE, "users-a")

    seen = []
    async with asyncio.timeout(10), shop.connection.watch(path(shop), {"resourceVersion": before}) as stream:
        async for event in events(stream):
            seen.append((event["type"], event["object"]["metadata"]["resourceVersion"]))
            if event["type"] == "DELETED":
                break

    assert ["ADDED", "MODIFIED", "DELETED"] == [kind for kind, _ in seen]
    assert len({version for _, version in seen}) == 3


async def test_a_watch_ends_at_its_timeout(shop: Namespace) -> None:
    """The server ends the stream; nothing has to be cut."""
    before = (await listed(shop))["metadata"]["resourceVersion"]
    query = {"resourceVersion": before, "timeoutSeconds": "1"}

    async with asyncio.timeout(10), shop.connection.watch(path(shop), query) as stream:
        assert [] == [event async for event in events(stream) if event["type"] != "BOOKMARK"]


async def test_a_version_that_is_too_old_is_gone(shop: Namespace) -> None:
    """410, as the answer or as an ERROR event; both have to be understood.

    A real cluster that is younger than its first compaction still knows version 1: then what happened since comes.
    """
    if shop.server is not None:
        await shop.server.store.compact()
    await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.1"))

    async with asyncio.timeout(30), shop.connection.watch(path(shop), {"resourceVersion": "1"}) as stream:
        if stream.status == 200:
            first = await anext(events(stream))
            outcome = first["object"]["code"] if first["type"] == "ERROR" else first["type"]
        else:
            outcome = stream.status

    assert outcome == 410 or (outcome == "ADDED" and shop.server is None)


async def test_an_open_watch_may_become_too_old(shop: Namespace, double: ApiServer) -> None:
    """An ERROR event with a Status, and the end of the stream."""
    before = (await listed(shop))["metadata"]["resourceVersion"]
    async with asyncio.timeout(10), shop.connection.watch(path(shop), {"resourceVersion": before}) as stream:
        await double.store.compact(cut=True)
        (last,) = [event async for event in events(stream) if event["type"] != "BOOKMARK"]

    assert ("ERROR", 410, "Expired") == (last["type"], last["object"]["code"], last["object"]["reason"])


async def test_a_list_token_expires(shop: Namespace, double: ApiServer) -> None:
    """410 and a token with which the rest can be had, of another version."""
    for name in "abc":
        await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.1", name=name))
    first = await listed(shop, limit="2")
    await double.store.compact()

    answer = await shop.list(SLICES, RESOURCE, {"limit": "2", "continue": first["metadata"]["continue"]})
    assert 410 == answer.status
    status = orjson.loads(answer.body)
    assert ("Status", "Expired") == (status["kind"], status["reason"])
    rest = await listed(shop, limit="2", **{"continue": status["metadata"]["continue"]})
    assert ["c"] == [one["metadata"]["name"] for one in rest["items"]]
    assert first["metadata"]["resourceVersion"] != rest["metadata"]["resourceVersion"]


async def test_who_is_too_fast_is_told_when_to_come_again(shop: Namespace, double: ApiServer) -> None:
    """429 with Retry-After, to a list and to a watch."""
    double.throttled = 2
    answer = await shop.list(SLICES, RESOURCE)
    assert (429, "1") == (answer.status, answer.retry_after)
    async with shop.connection.watch(path(shop), {}) as stream:
        assert (429, "1") == (stream.status, stream.retry_after)


async def test_what_rbac_forbids_is_named(shop: Namespace, double: ApiServer) -> None:
    """403 with a Status that names verb, resource, group and namespace."""
    double.forbidden.add((shop.name, RESOURCE))
    answer = await shop.list(SLICES, RESOURCE)
    assert (403, "Forbidden") == (answer.status, orjson.loads(answer.body)["reason"])
    async with shop.connection.watch(path(shop), {}) as stream:
        message = orjson.loads(await stream.body())["message"]

    wanted = f'cannot watch resource "endpointslices" in API group "discovery.k8s.io" in the namespace "{shop.name}"'
    assert message.endswith(wanted)


async def test_a_version_of_the_future_is_refused_to_a_list_and_not_to_a_watch(shop: Namespace) -> None:
    """After a restore from a backup clients know versions that have not happened yet: their watches are silent."""
    answer = await shop.list(SLICES, RESOURCE, {"resourceVersion": "999999999"})
    assert 504 == answer.status
    assert "Too large resource version" in orjson.loads(answer.body)["message"]

    query = {"resourceVersion": "999999999", "timeoutSeconds": "2", "allowWatchBookmarks": "true"}
    async with asyncio.timeout(10), shop.connection.watch(path(shop), query) as stream:
        await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.1"))
        assert [] == [event async for event in events(stream)]


async def test_a_single_object_can_be_selected(shop: Namespace) -> None:
    """The selector that goes with resourceNames in RBAC."""
    for name in "ab":
        await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.1", name=name))

    found = await listed(shop, fieldSelector="metadata.name=b")

    assert ["b"] == [one["metadata"]["name"] for one in found["items"]]


async def test_a_stale_version_cannot_be_written(shop: Namespace) -> None:
    """Optimistic locking, on which leader election rests."""
    created = await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.1"))
    await shop.replace(SLICES, RESOURCE, {**created, "endpoints": []})

    with pytest.raises(AssertionError, match="409"):
        await shop.replace(SLICES, RESOURCE, created)


async def test_loopback_addresses_are_refused(shop: Namespace) -> None:
    """A real API server validates the addresses of a slice, so tests must not rely on 127.0.0.1."""
    with pytest.raises(AssertionError, match="422"):
        await shop.create(SLICES, RESOURCE, endpoint_slice("127.0.0.1"))


async def test_bookmarks_carry_a_version(shop: Namespace) -> None:
    """When one comes, it says how far the watch is. Servers send the first within about a minute, or at the end."""
    before = (await listed(shop))["metadata"]["resourceVersion"]
    query = {"resourceVersion": before, "timeoutSeconds": "3", "allowWatchBookmarks": "true"}

    async with asyncio.timeout(15), shop.connection.watch(path(shop), query) as stream:
        async for event in events(stream):
            assert "BOOKMARK" == event["type"]
            assert int(event["object"]["metadata"]["resourceVersion"]) >= int(before)
            break
