"""Clients that send nonsense, many at once, or nothing: the right status for them, no harm to anybody else."""

import asyncio
import os

import grpc
import pytest
from envoy.admin.v3 import config_dump_shared_pb2
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.status.v3 import csds_pb2
from google.rpc import status_pb2

from control_plane.admin.status import status
from control_plane.reconciler import ConfigStatus
from control_plane.resource_types import CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER, ROUTE_CONFIGURATION
from control_plane.snapshot import Resource
from control_plane.xds.server import Pacing
from tests.feature.xds.probe import ADS, LIMIT_S, channel, code_of, delta, node, sotw
from tests.feature.xds.serving import QUICK, Serving, assignment, cluster, listener, serving

_METHOD = ADS + "StreamAggregatedResources"
_MIB = 1024 * 1024
_CSDS = "/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus"


async def _still_serves(xds: Serving) -> bool:
    async with channel(xds.address) as opened:
        probe = delta(opened, node(id="bystander"))
        await probe.subscribe(CLUSTER)
        return bool((await probe.receive()).resources)


async def test_a_request_of_10_mib_is_taken(xds: Serving) -> None:
    """Envoy's reconnect with a large configuration is that long."""
    xds.publish(cluster("a"))
    async with channel(xds.address) as opened:
        probe = delta(opened)
        await probe.subscribe(CLUSTER, "*", initial={f"{'x' * 90}{number}": "1" for number in range(100_000)})
        response = await probe.receive()

    assert ["a"] == [one.name for one in response.resources]
    assert await _still_serves(xds)


async def test_a_request_beyond_all_measure_ends_its_stream_alone(xds: Serving) -> None:
    """RESOURCE_EXHAUSTED for 33 MiB."""
    xds.publish(cluster("a"))

    assert grpc.StatusCode.RESOURCE_EXHAUSTED == await code_of(xds.address, _METHOD, b"x" * 33 * _MIB)
    assert await _still_serves(xds)


@pytest.mark.parametrize("variant", ["delta", "sotw"])
async def test_a_hundred_thousand_names_are_answered(xds: Serving, variant: str) -> None:
    """Most do not exist; others are served meanwhile, and the one that exists comes."""
    xds.publish(cluster("a"), assignment("a"))
    names = ["a", *(f"none-{number}" for number in range(100_000))]
    async with channel(xds.address) as opened:
        if variant == "delta":
            asking = delta(opened)
            await asking.subscribe(CLUSTER_LOAD_ASSIGNMENT, *names)
            found = [one.name for one in (await asking.receive()).resources]
        else:
            named = sotw(opened)
            await named.subscribe(CLUSTER_LOAD_ASSIGNMENT, *names)
            found = [one.type_url for one in (await named.receive()).resources]
        assert 1 == len(found)
        assert await _still_serves(xds)


async def test_wrong_nonces_change_nothing(xds: Serving) -> None:
    """Neither ACKs nor NACKs with a nonce that was never sent: the next change comes once."""
    xds.publish(cluster("a"))
    async with channel(xds.address) as opened:
        probe = delta(opened)
        await probe.subscribe(CLUSTER)
        await probe.receive()
        for nonce in ("", "0", "999", "\u00e9" * 100):
            request = discovery_pb2.DeltaDiscoveryRequest(type_url=CLUSTER, response_nonce=nonce)
            await probe.call.write(request)
            request.error_detail.CopyFrom(status_pb2.Status(code=3, message="no"))
            if nonce:
                await probe.call.write(request)
        await probe.ack(CLUSTER)
        xds.publish(cluster("a", "2"))
        await probe.receive()

    assert 0.0 == xds.metric("gateway_xds_nacks_total", type="Cluster")
    assert 2.0 == xds.metric("gateway_xds_pushes_total", type="Cluster")


async def test_random_bytes_end_their_streams_alone(xds: Serving) -> None:
    """INVALID_ARGUMENT, or an answer if the bytes happen to be a request."""
    xds.publish(cluster("a"))
    for size in range(1, 60):
        code = await code_of(xds.address, _METHOD, os.urandom(size))
        assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.OK)

    assert await _still_serves(xds)


async def test_an_unknown_gateway_that_comes_back_is_slowed_and_told(xds: Serving) -> None:
    """The first refusal is at once, the third is held back; status has one line with a count."""
    xds.publish(cluster("a"))
    loop = asyncio.get_running_loop()
    waited = []
    async with channel(xds.address) as opened:
        for _ in range(3):
            began = loop.time()
            probe = delta(opened, node(cluster="nowhere"))
            await probe.subscribe(CLUSTER)
            code, text = await probe.status()
            waited.append(loop.time() - began)
            assert grpc.StatusCode.NOT_FOUND == code
            assert "meetinity" in text

    told = status(ConfigStatus("", True, (), (), 0.0, 0.0, False), xds.store).refused
    assert waited[2] >= 0.4
    assert [("nowhere", 3)] == [(one.cluster, one.count) for one in told]


async def test_a_storm_of_reconnects_is_paced() -> None:
    """Two at once, then twenty a second: six clients take a fifth of a second, and all are served."""
    async with serving(QUICK, pacing=Pacing(first_pushes_per_s=20, burst=2)) as xds:
        xds.publish(cluster("a"))
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def connect(number: int) -> str:
            async with channel(xds.address) as opened:
                probe = delta(opened, node(id=f"envoy-{number}"))
                await probe.subscribe(CLUSTER)
                return (await probe.receive()).resources[0].name

        async with asyncio.TaskGroup() as tasks:
            served = [tasks.create_task(connect(number)) for number in range(6)]

        assert ["a"] * 6 == [task.result() for task in served]
        assert loop.time() - began >= 0.19
        assert 4.0 == xds.metric("gateway_xds_paced_streams_total")


async def test_csds_tells_what_each_client_has_and_refuses(xds: Serving) -> None:
    """ACKed, refused with its reason, and asked for without existing."""
    xds.publish(cluster("a"), listener("l"))
    async with channel(xds.address) as opened:
        probe = delta(opened)
        await probe.subscribe(CLUSTER, "*")
        await probe.receive()
        await probe.ack(CLUSTER)
        await probe.subscribe(LISTENER, "l")
        await probe.receive()
        await probe.nack(LISTENER, "no such filter")
        await probe.subscribe(CLUSTER_LOAD_ASSIGNMENT, "missing")
        await probe.receive()
        await probe.ack(CLUSTER_LOAD_ASSIGNMENT)
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = opened.unary_unary(_CSDS)
        request = csds_pb2.ClientStatusRequest()
        request.node_matchers.add().node_id.exact = "probe"
        # An answer to a later response of the stream: all before it has been read.
        await probe.subscribe(ROUTE_CONFIGURATION, "*")
        await probe.receive()
        async with asyncio.timeout(LIMIT_S):
            answer = csds_pb2.ClientStatusResponse.FromString(await call(request.SerializeToString()))
        listed = [(one.name, one) for one in answer.config[0].generic_xds_configs]
        found = dict(listed)

    statuses = config_dump_shared_pb2.ClientResourceStatus
    expected = {"a": statuses.ACKED, "l": statuses.NACKED, "missing": statuses.DOES_NOT_EXIST}
    assert expected == {name: one.client_status for name, one in listed}
    assert len(expected) == len(listed)
    assert cluster("a").body == found["a"].xds_config.value
    assert "no such filter" == found["l"].error_state.details


async def test_a_stalled_client_holds_one_response_whatever_happens(xds: Serving) -> None:
    """It never reads; after two hundred changes of a megabyte each the server holds what it held after the first."""

    def big(version: int) -> Resource:
        return Resource(CLUSTER, "a", os.urandom(_MIB), str(version))

    def resident() -> int:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    xds.publish(big(0))
    async with channel(xds.address) as opened, channel(xds.address) as other:
        stalled = delta(opened, node(id="stalled"))
        await stalled.subscribe(CLUSTER)
        reading = delta(other, node(id="reading"))
        await reading.subscribe(CLUSTER)
        await reading.receive()
        await reading.ack(CLUSTER)
        sizes = []
        for version in range(1, 201):
            xds.publish(big(version))
            await reading.receive()
            await reading.ack(CLUSTER)
            sizes.append(resident())

    assert max(sizes[100:]) - max(sizes[:100]) < 16 * _MIB
