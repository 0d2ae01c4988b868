"""From objects in the cluster to what Envoys are served."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from prometheus_client import CollectorRegistry

from control_plane.kubernetes.discovery import Discovery
from control_plane.metrics import Metrics
from control_plane.reconciler import Reconciler
from control_plane.resource_types import CLUSTER, CLUSTER_LOAD_ASSIGNMENT, SECRET
from control_plane.snapshot import ResourceMap
from control_plane.xds.store import Store
from tests.kubernetes.certificates import key_pair
from tests.kubernetes.cluster import CORE, SLICES, Namespace, endpoint_slice, service
from tests.kubernetes.store import Object

RESOURCE = "endpointslices"
_SLOW = "/apis/discovery.k8s.io/v1/namespaces/slow/"
CONFIG = """
version: 1
name: meetinity
listeners: [{name: public, port: 10000}]
services:
  users: {kubernetes: {namespace: NAMESPACE, service: users, port: http}}
  fixed: {endpoints: [{address: 10.9.9.9, port: 80}]}
routes:
  - {name: users, match: {path_prefix: /users}, service: users, auth: none}
  - {name: fixed, match: {path_prefix: /fixed}, service: fixed, auth: none}
"""
TLS = "listeners: [{name: public, port: 10000, tls: {kubernetes_secret: NAMESPACE/cert}}]"


class Served:
    """What the store serves, and waiting for it."""

    def __init__(self, store: Store, reconciler: Reconciler, discovery: Discovery, file: Path) -> None:
        self.store = store
        self.reconciler = reconciler
        self.discovery = discovery
        self.file = file

    def of_type(self, type_url: str) -> ResourceMap:
        feed = self.store.feeds.get("meetinity")
        return feed.current.snapshot.of_type(type_url) if feed is not None else {}

    def endpoints(self, cluster: str = "users") -> list[tuple[str, int]] | None:
        resource = self.of_type(CLUSTER_LOAD_ASSIGNMENT).get(cluster)
        if resource is None:
            return None
        assignment = endpoint_pb2.ClusterLoadAssignment.FromString(resource.body)
        addresses = [one.endpoint.address.socket_address for zone in assignment.endpoints for one in zone.lb_endpoints]
        return [(one.address, one.port_value) for one in addresses]

    def cluster(self, name: str = "users") -> cluster_pb2.Cluster:
        return cluster_pb2.Cluster.FromString(self.of_type(CLUSTER)[name].body)

    def certificates(self) -> list[bytes]:
        secrets = [secret_pb2.Secret.FromString(resource.body) for resource in self.of_type(SECRET).values()]
        return [secret.tls_certificate.certificate_chain.inline_bytes for secret in secrets]

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not holds():  # noqa: ASYNC110 - what is waited for has no event of its own
                await asyncio.sleep(0.005)


@asynccontextmanager
async def serving(shop: Namespace, directory: Path, text: str = CONFIG) -> AsyncIterator[Served]:
    """The reconciler on a file and a cluster; it may still wait for the cluster."""
    file = directory / "gateway.yaml"
    file.write_text(text.replace("NAMESPACE", shop.name))
    registry = CollectorRegistry()
    discovery = Discovery(shop.connection, random=random.random, monotonic=time.monotonic, registry=registry)
    store = Store()
    reconciler = Reconciler(path=str(file), environment={}, store=store, metrics=Metrics(registry), discovery=discovery)

    async def reconcile() -> None:
        await reconciler.start()
        await reconciler.run()

    running = [asyncio.create_task(discovery.run()), asyncio.create_task(reconcile())]
    try:
        yield Served(store, reconciler, discovery, file)
    finally:
        for task in running:
            task.cancel()
        await asyncio.wait(running)


@pytest.fixture
async def served(shop: Namespace, tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(shop, tmp_path) as found:
        await found.until(lambda: found.endpoints() is not None)
        yield found


async def test_a_service_without_slices_has_an_empty_assignment(served: Served) -> None:
    """Envoy gets an answer at once and says 503, instead of waiting for endpoints that never come."""
    assert [] == served.endpoints()
    assert [("10.9.9.9", 80)] == served.endpoints("fixed")


async def test_the_first_snapshot_has_the_endpoints(shop: Namespace, tmp_path: Path) -> None:
    """Nothing is served before the cluster was read, so no restart shows Envoy an empty service."""
    await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.1"))
    async with serving(shop, tmp_path) as found:
        await found.until(lambda: found.store.is_open)

        assert [("10.1.0.1", 8080)] == found.endpoints()
        assert 1 == found.store.feeds["meetinity"].current.generation


async def test_a_slice_change_publishes_one_assignment(shop: Namespace, served: Served) -> None:
    """No cluster, route or other assignment is touched, and nothing is translated again."""
    before = served.store.feeds["meetinity"].current
    await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.1"))
    await served.until(lambda: served.endpoints() == [("10.1.0.1", 8080)])
    after = served.store.feeds["meetinity"].current

    assert {CLUSTER_LOAD_ASSIGNMENT: {"users"}} == after.snapshot.changes_since(before.snapshot)
    assert before.generation + 1 == after.generation


async def test_a_change_without_effect_publishes_nothing(shop: Namespace, served: Served) -> None:
    """An endpoint that is not ready, an annotation: no push."""
    created = await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.1"))
    await served.until(lambda: served.endpoints() == [("10.1.0.1", 8080)])
    before = served.store.feeds["meetinity"].current
    unready = endpoint_slice("10.1.0.2", conditions={"ready": False})["endpoints"]
    await shop.replace(SLICES, RESOURCE, {**created, "endpoints": created["endpoints"] + unready})
    await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.3", name="users-b"))
    await served.until(lambda: served.endpoints() == [("10.1.0.1", 8080), ("10.1.0.3", 8080)])

    assert before.generation + 1 == served.store.feeds["meetinity"].current.generation


async def test_an_external_name_becomes_a_dns_service(shop: Namespace, served: Served) -> None:
    """The cluster of the same name changes its kind, without a change of the file."""
    assert "" == served.cluster().cluster_type.name
    spec = {"type": "ExternalName", "externalName": "users.example.com", "ports": [{"name": "http", "port": 8000}]}
    await shop.create(CORE, "services", {"metadata": {"name": "users"}, "spec": spec})

    await served.until(lambda: served.cluster().cluster_type.name == "envoy.clusters.dns")
    address = served.cluster().load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address
    assert ("users.example.com", 8000) == (address.address, address.port_value)


async def test_app_protocol_sets_the_upstream_protocol(shop: Namespace, served: Served) -> None:
    """Where the file says no protocol the Service does."""
    before = served.of_type(CLUSTER)["users"].version
    port = {"name": "http", "port": 80, "appProtocol": "kubernetes.io/h2c"}
    await shop.create(CORE, "services", service(ports=[port]))

    await served.until(lambda: served.of_type(CLUSTER)["users"].version != before)
    (options,) = served.cluster().typed_extension_protocol_options.values()
    chosen = http_protocol_options_pb2.HttpProtocolOptions.FromString(options.value).explicit_http_config
    assert "http2_protocol_options" == chosen.WhichOneof("protocol_config")


async def test_new_services_of_a_changed_file_come_with_their_endpoints(shop: Namespace, served: Served) -> None:
    """The file waits for the cluster's answer, so the new route never sees an empty service."""
    await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.7", name="orders-a", of="orders"))
    text = served.file.read_text().replace(
        "  fixed:", f"  orders: {{kubernetes: {{namespace: {shop.name}, service: orders, port: http}}}}\n  fixed:"
    )
    served.file.write_text(text)

    await served.until(lambda: served.endpoints("orders") is not None)
    assert [("10.1.0.7", 8080)] == served.endpoints("orders")


async def test_endpoints_do_not_wait_for_a_file_that_waits_for_the_cluster(
    shop: Namespace, served: Served, double: object
) -> None:
    """A new namespace that does not answer delays the new file, not the removal of a dead endpoint."""
    server = shop.server
    assert server is not None
    await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.1"))
    await served.until(lambda: served.endpoints() == [("10.1.0.1", 8080)])
    server.hanging.add("slow")
    served.file.write_text(
        served.file.read_text().replace(
            "  fixed:", "  slow: {kubernetes: {namespace: slow, service: slow, port: http}}\n  fixed:"
        )
    )
    await served.until(lambda: any(query_path.startswith(_SLOW) for _, query_path, _ in server.requests))

    await shop.delete(SLICES, RESOURCE, "users-a")
    await served.until(lambda: served.endpoints() == [])
    assert served.endpoints("slow") is None
    server.hanging.clear()
    await served.until(lambda: served.endpoints("slow") == [])


async def test_the_cluster_may_come_later(shop: Namespace, tmp_path: Path, double: object) -> None:
    """Started without an API server the gateway waits, serves nothing wrong, and goes on when it is there."""
    server = shop.server
    assert server is not None
    await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.1"))
    await server.stop()
    async with serving(shop, tmp_path) as found:
        await found.until(lambda: any(one.error for one in found.discovery.status()))
        assert not found.store.is_open
        await server.start()
        await found.until(lambda: found.store.is_open)

        assert [("10.1.0.1", 8080)] == found.endpoints()


async def test_loss_of_the_api_server_changes_nothing(shop: Namespace, served: Served, double: object) -> None:
    """Endpoints stay, and a changed file is served all the same."""
    server = shop.server
    assert server is not None
    await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.1"))
    await served.until(lambda: served.endpoints() == [("10.1.0.1", 8080)])
    await server.stop()
    await served.until(lambda: all(one.error for one in served.discovery.status()))

    served.file.write_text(served.file.read_text().replace("10.9.9.9", "10.9.9.8"))
    await served.until(lambda: served.endpoints("fixed") == [("10.9.9.8", 80)])

    assert [("10.1.0.1", 8080)] == served.endpoints()
    assert served.reconciler.status.valid


def secret(name: str, content: Mapping[str, str]) -> Object:
    return {"metadata": {"name": name}, "type": "kubernetes.io/tls", "data": dict(content)}


async def test_a_tls_secret_is_served_and_renewed(shop: Namespace, tmp_path: Path) -> None:
    """A new pair is served at once; one that does not fit keeps the old pair and is reported; so does a deletion."""
    first, second = key_pair("a.example.com"), key_pair("b.example.com")
    await shop.create(CORE, "secrets", secret("cert", first.data))
    text = CONFIG.replace("listeners: [{name: public, port: 10000}]", TLS)
    async with serving(shop, tmp_path, text) as found:
        await found.until(lambda: found.certificates() == [first.certificate])

        await shop.patch(CORE, "secrets", "cert", {"data": second.data})
        await found.until(lambda: second.certificate in found.certificates())

        await shop.patch(CORE, "secrets", "cert", {"data": {"tls.key": first.data["tls.key"]}})
        gateway = found.reconciler.gateway
        assert gateway is not None
        await found.until(lambda: bool(found.discovery.cluster.problems(gateway).get(f"{shop.name}/cert")))
        problem = found.discovery.cluster.problems(gateway)[f"{shop.name}/cert"]
        assert "does not belong to its certificate; its last good pair is served" in problem
        assert second.certificate in found.certificates()

        await shop.delete(CORE, "secrets", "cert")
        await found.until(
            lambda: "does not exist" in found.discovery.cluster.problems(gateway).get(f"{shop.name}/cert", "")
        )
        assert second.certificate in found.certificates()
