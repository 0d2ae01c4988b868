"""Discovery against an API server: a real cluster's or the double's."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from kubernetes.aio.client.configuration import Configuration
from prometheus_client import CollectorRegistry

from control_plane.config.model.services import KubernetesService
from control_plane.endpoints import Endpoint, Health
from control_plane.kubernetes.connection import Connection
from control_plane.kubernetes.discovery import Discovery
from control_plane.kubernetes.watched import Kind, Watched
from tests.kubernetes.api_server import ApiServer
from tests.kubernetes.cluster import CORE, SLICES, Namespace, credentials_of, endpoint_slice, service

RESOURCE = "endpointslices"
DEADLINE_S = 20


class Observer:
    """Discovery of one namespace, and waiting for what it shows."""

    def __init__(self, discovery: Discovery, namespace: str) -> None:
        self.discovery = discovery
        self.users = KubernetesService(namespace=namespace, service="users", port="http")
        self.watched = frozenset(Watched(namespace, kind) for kind in (Kind.SERVICES, Kind.ENDPOINT_SLICES))

    def addresses(self) -> list[str]:
        return [one.address for one in self.discovery.cluster.endpoints(self.users)]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until it holds; told of every change and of every turn of a watch."""
        async with asyncio.timeout(DEADLINE_S):
            while not holds():  # noqa: ASYNC110 - what is waited for has no event of its own
                await asyncio.sleep(0.005)


@asynccontextmanager
async def observed(shop: Namespace) -> AsyncIterator[Observer]:
    discovery = Discovery(
        shop.connection, random=random.Random(1).random, monotonic=time.monotonic, registry=CollectorRegistry()
    )
    observer = Observer(discovery, shop.name)
    discovery.want(observer.watched)
    running = asyncio.create_task(discovery.run())
    try:
        yield observer
    finally:
        running.cancel()
        await asyncio.wait([running])


@pytest.fixture
async def observer(shop: Namespace) -> AsyncIterator[Observer]:
    async with observed(shop) as found:
        await found.until(lambda: found.discovery.answered(found.watched))
        yield found


async def test_a_service_is_created_scaled_and_deleted(shop: Namespace, observer: Observer) -> None:
    """Endpoints follow every step; a deleted Service has none."""
    await shop.create(CORE, "services", service())
    created = await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.1"))
    await observer.until(lambda: observer.addresses() == ["10.1.0.1"])

    await shop.replace(SLICES, RESOURCE, {**created, "endpoints": endpoint_slice("10.1.0.1", "10.1.0.2")["endpoints"]})
    await observer.until(lambda: observer.addresses() == ["10.1.0.1", "10.1.0.2"])

    await shop.delete(SLICES, RESOURCE, "users-a")
    await observer.until(lambda: observer.addresses() == [])


async def test_slices_are_split_and_merged(shop: Namespace, observer: Observer) -> None:
    """An endpoint that moves to another slice is there all the time, also while both have it."""
    first = await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.1", "10.1.0.2", name="users-a"))
    await observer.until(lambda: observer.addresses() == ["10.1.0.1", "10.1.0.2"])
    await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.2", "10.1.0.3", name="users-b"))
    await observer.until(lambda: observer.addresses() == ["10.1.0.1", "10.1.0.2", "10.1.0.3"])
    await shop.replace(SLICES, RESOURCE, {**first, "endpoints": first["endpoints"][:1]})
    await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.4", name="users-c"))
    await observer.until(lambda: len(observer.addresses()) == 4)
    await shop.delete(SLICES, RESOURCE, "users-a")

    await observer.until(lambda: observer.addresses() == ["10.1.0.2", "10.1.0.3", "10.1.0.4"])


async def test_a_terminating_pod_drains(shop: Namespace, observer: Observer) -> None:
    """Conditions arrive as Envoy's health states."""
    terminating = {"ready": False, "serving": True, "terminating": True}
    await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.1", name="users-a"))
    await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.2", name="users-b", conditions=terminating))
    expected = (Endpoint("10.1.0.1", 8080), Endpoint("10.1.0.2", 8080, health=Health.DRAINING))

    await observer.until(lambda: observer.discovery.cluster.endpoints(observer.users) == expected)


async def test_a_secret_is_watched_by_name(shop: Namespace, observer: Observer) -> None:
    """Only the named one is read; new content replaces the old."""
    watched = Watched(shop.name, Kind.SECRETS, "cert")
    observer.discovery.want(observer.watched | {watched})
    for name in ("cert", "other"):
        await shop.create(CORE, "secrets", {"metadata": {"name": name}, "stringData": {}, "data": {"tls.crt": "YQ=="}})
    cluster = observer.discovery.cluster

    def content() -> bytes:
        found = cluster.content(watched)
        return found.content["tls.crt"] if found is not None else b""

    await observer.until(lambda: content() == b"a")
    await shop.patch(CORE, "secrets", "cert", {"data": {"tls.crt": "Yg=="}})
    await observer.until(lambda: content() == b"b")
    await shop.delete(CORE, "secrets", "cert")
    await observer.until(lambda: content() == b"")


async def test_what_is_no_longer_wanted_is_forgotten(shop: Namespace, observer: Observer) -> None:
    """A namespace that the configuration does not name any more is neither watched nor remembered."""
    await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.1"))
    await observer.until(lambda: observer.addresses() == ["10.1.0.1"])

    observer.discovery.want(frozenset())

    await observer.until(lambda: observer.addresses() == [] and observer.discovery.status() == ())


async def test_changes_made_while_the_api_server_is_away_arrive(
    shop: Namespace, observer: Observer, double: object
) -> None:
    """Traffic keeps its endpoints meanwhile; afterwards additions and deletions of the gap are there."""
    server = shop.server
    assert server is not None
    for name in ("users-a", "users-b"):
        await shop.create(SLICES, RESOURCE, endpoint_slice(f"10.1.0.{ord(name[-1])}", name=name))
    await observer.until(lambda: len(observer.addresses()) == 2)
    before = observer.addresses()

    await server.stop()
    await observer.until(lambda: all(one.error for one in observer.discovery.status()))
    assert before == observer.addresses()
    assert all(one.synced for one in observer.discovery.status())
    collection = next(known for known in server.store.objects if known.resource == RESOURCE)
    await server.store.delete(collection, "users-a")
    await server.start()

    await observer.until(lambda: observer.addresses() == ["10.1.0.98"])
    await observer.until(lambda: not any(one.error for one in observer.discovery.status()))


async def test_a_compacted_version_is_followed_by_a_list_that_finds_deletions(
    shop: Namespace, observer: Observer, double: object
) -> None:
    """What was deleted in a gap that no watch can show is not kept."""
    server = shop.server
    assert server is not None
    for name in ("users-a", "users-b"):
        await shop.create(SLICES, RESOURCE, endpoint_slice(f"10.1.0.{ord(name[-1])}", name=name))
    await observer.until(lambda: len(observer.addresses()) == 2)
    lists = observer.discovery.counts()[Watched(shop.name, Kind.ENDPOINT_SLICES)][0]

    await server.stop()
    collection = next(known for known in server.store.objects if known.resource == RESOURCE)
    await server.store.delete(collection, "users-a")
    await server.store.compact()
    await server.start()

    await observer.until(lambda: observer.addresses() == ["10.1.0.98"])
    assert lists + 1 == observer.discovery.counts()[Watched(shop.name, Kind.ENDPOINT_SLICES)][0]


async def test_a_watch_that_becomes_too_old_is_followed_by_a_list(
    shop: Namespace, observer: Observer, double: ApiServer
) -> None:
    """410 in the middle of a watch."""
    await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.1"))
    await observer.until(lambda: observer.addresses() == ["10.1.0.1"])
    watched = Watched(shop.name, Kind.ENDPOINT_SLICES)
    lists = observer.discovery.counts()[watched][0]

    await double.store.compact(cut=True)
    await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.2", name="users-b"))

    await observer.until(lambda: observer.addresses() == ["10.1.0.1", "10.1.0.2"])
    await observer.until(lambda: not any(one.error for one in observer.discovery.status()))
    assert lists + 1 == observer.discovery.counts()[watched][0]


async def test_a_list_whose_pages_expire_is_read_in_one_piece(shop: Namespace, double: ApiServer) -> None:
    """Nothing of the incomplete list counts, and no object is missing from the second one."""
    for number in range(250):
        await shop.create(SLICES, RESOURCE, endpoint_slice(f"10.1.1.{number}", name=f"users-{number:03}"))
    double.expiring = 1
    async with observed(shop) as observer:
        await observer.until(lambda: len(observer.addresses()) == 250)

    lists = [query for method, path, query in double.requests if method == "GET" and path.endswith(RESOURCE)]
    reads = [(query.get("limit"), "continue" in query) for query in lists if "watch" not in query]
    assert [("100", False), ("100", True), (None, False)] == reads


async def test_a_forbidden_namespace_does_not_hold_up_the_others(
    shop: Namespace, observer: Observer, double: object
) -> None:
    """One error that names the verbs and the resource; it works as soon as RBAC is mended."""
    server = shop.server
    assert server is not None
    server.forbidden.add(("payroll", RESOURCE))
    refused = Watched("payroll", Kind.ENDPOINT_SLICES)
    observer.discovery.want(observer.watched | {refused})
    async with asyncio.timeout(DEADLINE_S):
        await observer.discovery.wait_for(observer.watched | {refused})

    errors = {one.watched: one.error for one in observer.discovery.status()}
    assert "grant the verbs list and watch on endpointslices (API group discovery.k8s.io)" in errors[refused]
    assert {""} == {errors[one] for one in observer.watched}
    await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.1"))
    await observer.until(lambda: observer.addresses() == ["10.1.0.1"])

    server.forbidden.clear()
    await observer.until(lambda: not any(one.error for one in observer.discovery.status()))


async def test_an_expired_token_is_read_again(shop: Namespace, double: object) -> None:
    """Credentials come from where they came from first; nobody has to restart anything."""
    server = shop.server
    assert server is not None
    server.tokens = {"first", "good"}
    current = ["first"]

    async def credentials() -> Configuration:
        return await credentials_of(server, current[0])()

    async with Connection(credentials) as connection, observed(replace(shop, connection=connection)) as observer:
        await observer.until(lambda: server.watching == 2)
        await server.stop()
        server.tokens, current[0] = {"second", "good"}, "second"
        await server.start()

        await observer.until(lambda: server.watching == 2)
        await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.1"))
        await observer.until(lambda: observer.addresses() == ["10.1.0.1"])


async def test_a_throttled_list_waits_as_long_as_it_is_told(shop: Namespace, double: object) -> None:
    """429 with Retry-After: 1: the next request comes a second later."""
    server = shop.server
    assert server is not None
    server.throttled = 2
    before = time.monotonic()
    async with observed(shop) as observer:
        await observer.until(lambda: observer.discovery.answered(observer.watched))

    assert time.monotonic() - before >= 1


async def test_lists_are_read_in_pages(shop: Namespace, double: object) -> None:
    """250 slices come in three pages."""
    server = shop.server
    assert server is not None
    for number in range(250):
        await shop.create(SLICES, RESOURCE, endpoint_slice(f"10.1.1.{number}", name=f"users-{number:03}"))
    async with observed(shop) as observer:
        await observer.until(lambda: len(observer.addresses()) == 250)

    pages = [query for method, path, query in server.requests if method == "GET" and path.endswith(RESOURCE)]
    assert ["100", "100", "100"] == [query["limit"] for query in pages if "limit" in query]


async def test_a_half_open_connection_is_noticed(
    shop: Namespace, double: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watch without events and bookmarks is renewed; what was missed meanwhile arrives."""
    server = shop.server
    assert server is not None
    monkeypatch.setattr("control_plane.kubernetes.connection.SILENCE_S", 0.2)
    async with observed(shop) as observer:
        await observer.until(lambda: server.watching == 2)
        server.loud.clear()
        await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.1"))
        watches = len([query for _, _, query in server.requests if "watch" in query])
        await observer.until(lambda: len([query for _, _, query in server.requests if "watch" in query]) > watches + 1)
        server.loud.set()

        await observer.until(lambda: observer.addresses() == ["10.1.0.1"])


async def test_a_cluster_restored_from_a_backup_is_read_anew(
    shop: Namespace, double: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows older versions than we do, and would accept our watch and say nothing."""
    monkeypatch.setattr("control_plane.kubernetes.connection.SILENCE_S", 0.2)
    await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.1"))
    async with observed(shop) as observer:
        await observer.until(lambda: double.watching == 2 and observer.addresses() == ["10.1.0.1"])
        await double.stop()
        collection = next(known for known in double.store.objects if known.resource == RESOURCE)
        await double.store.delete(collection, "users-a")
        await double.store.restore(20)
        await double.start()

        await observer.until(lambda: observer.addresses() == [])
        await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.2"))
        await observer.until(lambda: observer.addresses() == ["10.1.0.2"])


async def test_metrics_show_each_watch(shop: Namespace) -> None:
    """Up and synced, by namespace and resource."""
    registry = CollectorRegistry()
    discovery = Discovery(shop.connection, random=random.random, monotonic=time.monotonic, registry=registry)
    observer = Observer(discovery, shop.name)
    discovery.want(observer.watched)
    running = asyncio.create_task(discovery.run())
    labels = {"namespace": shop.name, "resource": "services"}

    await observer.until(lambda: registry.get_sample_value("gateway_kubernetes_synced", labels) == 1)
    await observer.until(lambda: registry.get_sample_value("gateway_kubernetes_watch_up", labels) == 1)
    running.cancel()
    await asyncio.wait([running])


async def test_fifty_thousand_endpoints(shop: Namespace) -> None:
    """500 slices of 100: listed in pages, complete, and one change still arrives."""
    for first in range(0, 500, 20):
        async with asyncio.TaskGroup() as tasks:
            for number in range(first, first + 20):
                addresses = [f"10.{100 + number // 256}.{number % 256}.{place}" for place in range(100)]
                wanted = endpoint_slice(*addresses, name=f"users-{number:03}")
                tasks.create_task(shop.create(SLICES, RESOURCE, wanted))
    async with observed(shop) as observer:
        await observer.until(lambda: observer.discovery.answered(observer.watched))
        assert 50_000 == len(observer.addresses())
        await shop.delete(SLICES, RESOURCE, "users-007")

        await observer.until(lambda: len(observer.addresses()) == 49_900)
