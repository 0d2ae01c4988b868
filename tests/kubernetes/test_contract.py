"""What the list/watch client relies on, of any API server: the double is held to it, and so is a real cluster."""

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest

from control_plane.kubernetes.api import Stream
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
    """410, as the answer or as an ERROR event; both have to be understood."""
    if shop.server is not None:
        await shop.server.store.compact()

    query = {"resourceVersion": "1", "timeoutSeconds": "5"}
    async with asyncio.timeout(30), shop.connection.watch(path(shop), query) as stream:
        if stream.status == 200:
            async for event in events(stream):
                assert ("ERROR", 410) == (event["type"], event["object"]["code"])
                break
        else:
            assert 410 == stream.status


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
