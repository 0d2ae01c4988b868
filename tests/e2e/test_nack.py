"""What a real Envoy refuses, or fails to answer: the culprit is withheld alone, and its repair is served at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2

from control_plane.admin.status import status
from control_plane.reconciler import ConfigStatus
from control_plane.resource_types import CLUSTER
from control_plane.snapshot import Resource
from control_plane.translate.bootstrap import API_TYPES, BootstrapSettings, bootstrap
from control_plane.xds.session import Timings
from tests.feature.xds.serving import Serving, serving
from tests.ports import free_port

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(120)]

LIMIT_S = 30.0
ANSWER_S = 2.0
"""Instead of 5: after so long without an answer the newest version is sent all the same."""
VARIANTS = pytest.mark.parametrize("api_type", ["delta-grpc", "grpc"])


def cluster(name: str, *, ring: tuple[int, int] | None = None) -> Resource:
    """One that is ready at once; `ring` is the least and the largest size of its hash ring."""
    endpoint = endpoint_components_pb2.LbEndpoint()
    endpoint.endpoint.address.socket_address.address = "127.0.0.1"
    endpoint.endpoint.address.socket_address.port_value = 1
    message = cluster_pb2.Cluster(name=name, type=cluster_pb2.Cluster.STATIC)
    message.load_assignment.CopyFrom(
        endpoint_pb2.ClusterLoadAssignment(
            cluster_name=name, endpoints=[endpoint_components_pb2.LocalityLbEndpoints(lb_endpoints=[endpoint])]
        )
    )
    message.connect_timeout.seconds = 1
    if ring is not None:
        message.lb_policy = cluster_pb2.Cluster.RING_HASH
        message.ring_hash_lb_config.minimum_ring_size.value = ring[0]
        message.ring_hash_lb_config.maximum_ring_size.value = ring[1]
    return Resource.of(name, message)


def without_source(name: str) -> Resource:
    """Endpoints over EDS, from nowhere: Envoy refuses it by name."""
    return Resource.of(name, cluster_pb2.Cluster(name=name, type=cluster_pb2.Cluster.EDS))


@dataclass
class Stand:
    xds: Serving
    admin: str
    http: httpx.AsyncClient

    async def clusters(self) -> set[str]:
        """That Envoy works with and that came over xDS."""
        answer = await self.http.get(f"{self.admin}/config_dump?resource=dynamic_active_clusters")
        return {one["cluster"]["name"] for one in answer.json().get("configs", ())}

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str) -> None:
        try:
            async with asyncio.timeout(LIMIT_S):
                while not await condition():  # noqa: ASYNC110 - what Envoy does sets no event
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"not within {LIMIT_S} s: {what}; there is {await self.clusters()}") from None

    async def until_clusters(self, *names: str) -> None:
        async def there() -> bool:
            return await self.clusters() == set(names)

        await self.until(there, f"clusters {names}")

    def parked(self) -> set[str]:
        subscriptions = [client.session.subscriptions[CLUSTER] for client in self.xds.store.clients()]
        return {name for subscription in subscriptions for name in subscription.quarantine.parked}

    async def has_nothing_parked(self) -> bool:
        return not self.parked()


@asynccontextmanager
async def connected(binary: str, folder: Path, api_type: str) -> AsyncIterator[Stand]:
    """An Envoy that has got the cluster `old`."""
    async with serving(Timings(answer_s=ANSWER_S, hold_s=ANSWER_S)) as xds, httpx.AsyncClient() as http:
        xds.publish(cluster("old"))
        settings = BootstrapSettings(
            name="meetinity",
            node_id="nack",
            xds_host="127.0.0.1",
            xds_port=int(xds.address.rpartition(":")[2]),
            admin_port=free_port(),
            status_address="127.0.0.1",
            status_port=free_port(),
            api_type=API_TYPES[api_type],
        )
        config = folder / "envoy.pb"
        config.write_bytes(bootstrap(settings).SerializeToString())
        process = await asyncio.create_subprocess_exec(
            *(binary, "-c", str(config), "--concurrency", "1", "--use-dynamic-base-id"),
            *("--log-path", str(folder / "envoy.log")),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        stand = Stand(xds, f"http://127.0.0.1:{settings.admin_port}", http)

        async def ready() -> bool:
            try:
                return (await http.get(f"{stand.admin}/ready")).status_code == 200
            except httpx.TransportError:
                return False

        try:
            async with asyncio.timeout(LIMIT_S):
                while not await ready():  # noqa: ASYNC110 - what Envoy does sets no event
                    await asyncio.sleep(0.05)
            await stand.until_clusters("old")
            yield stand
        finally:
            process.terminate()
            await process.wait()


@VARIANTS
async def test_a_refused_cluster_is_found_and_the_others_are_served(
    envoy_binary: str, tmp_path: Path, api_type: str
) -> None:
    """One bad among eight new ones: seven are live, the bad one is parked with its reason, and its repair goes out."""
    good = [cluster(f"good-{number}") for number in range(7)]
    names = [one.name for one in good]
    async with connected(envoy_binary, tmp_path, api_type) as stand:
        stand.xds.publish(cluster("old"), *good, without_source("culprit"))
        await stand.until_clusters("old", *names)

        async def is_alone() -> bool:
            return stand.parked() == {"culprit"}

        await stand.until(is_alone, "the culprit is parked alone")
        refused = stand.xds.metric("gateway_xds_nacks_total", type="Cluster")
        assert 1 <= refused <= 5  # log2(8) + 1 rounds, and the first

        stand.xds.publish(cluster("old"), *good, cluster("culprit"))
        await stand.until_clusters("old", "culprit", *names)
        await stand.until(stand.has_nothing_parked, "the repair is acknowledged")


@VARIANTS
async def test_a_ring_that_cannot_be_does_not_hold_up_the_rest(
    envoy_binary: str, tmp_path: Path, api_type: str
) -> None:
    """Envoy may answer such a cluster with neither ACK nor NACK until the next push; the fix is served all the same.

    Status shows for how long there has been no answer.
    """
    async with connected(envoy_binary, tmp_path, api_type) as stand:
        stand.xds.publish(cluster("old"), cluster("fresh"), cluster("ring", ring=(2048, 1024)))

        async def is_told() -> bool:
            now = status(ConfigStatus("", True, (), (), 0.0, 0.0, False), stand.xds.store)
            kinds = [one for node in now.nodes for one in node.types if one.type == "Cluster"]
            return any(one.nack is not None or (one.unanswered_s or 0.0) > ANSWER_S / 2 for one in kinds)

        await stand.until(is_told, "a NACK, or no answer for a while, in the status")
        stand.xds.publish(cluster("old"), cluster("fresh"), cluster("ring", ring=(1024, 2048)))
        await stand.until_clusters("old", "fresh", "ring")
        stand.xds.publish(cluster("old"), cluster("fresh"), cluster("later"))
        await stand.until_clusters("old", "fresh", "later")
        await stand.until(stand.has_nothing_parked, "all is acknowledged")
