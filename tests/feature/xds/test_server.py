"""The xDS server over real gRPC streams: both variants, aggregated and per type."""

import asyncio

import grpc
import pytest
from envoy.config.core.v3 import base_pb2

from control_plane.resource_types import (
    AUTHZ_POLICY,
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    LISTENER,
    ROUTE_CONFIGURATION,
    SECRET,
)
from control_plane.xds.store import PolicyTimings
from tests.feature.xds.probe import channel, delta, node, sotw
from tests.feature.xds.serving import QUICK, Serving, assignment, cluster, listener, policy, routes, serving

_CLUSTERS = "/envoy.service.cluster.v3.ClusterDiscoveryService/"
_ROUTES = "/envoy.service.route.v3.RouteDiscoveryService/"


async def test_rule_01_the_node_comes_only_once(xds: Serving) -> None:
    """Requests after the first need no node."""
    xds.publish(cluster("a"), listener("l"))
    async with channel(xds.address) as opened:
        probe = sotw(opened)
        await probe.subscribe(CLUSTER)
        await probe.receive()
        await probe.subscribe(LISTENER)

        assert LISTENER == (await probe.receive()).type_url


async def test_rule_02_an_aggregated_request_without_type_is_refused(xds: Serving) -> None:
    """INVALID_ARGUMENT says what is missing."""
    xds.publish(cluster("a"))
    async with channel(xds.address) as opened:
        probe = sotw(opened)
        await probe.subscribe("")
        code, details = await probe.status()

    assert grpc.StatusCode.INVALID_ARGUMENT == code
    assert "type_url" in details


async def test_rule_02_the_type_of_a_single_type_service_is_implied(xds: Serving) -> None:
    """The cluster service serves clusters without being asked for a type, and refuses another one."""
    xds.publish(cluster("a"))
    async with channel(xds.address) as opened:
        probe = sotw(opened, method=_CLUSTERS + "StreamClusters")
        await probe.subscribe("")
        assert CLUSTER == (await probe.receive()).type_url
        await probe.subscribe(LISTENER)
        code, _ = await probe.status()

    assert grpc.StatusCode.INVALID_ARGUMENT == code


async def test_unknown_type_is_refused_and_harms_nobody_else(xds: Serving) -> None:
    """Another stream goes on."""
    xds.publish(cluster("a"))
    async with channel(xds.address) as opened, channel(xds.address) as other:
        good = delta(other)
        await good.subscribe(CLUSTER)
        await good.receive()
        await good.ack(CLUSTER)
        probe = delta(opened)
        await probe.subscribe("type.googleapis.com/no.such.Type")
        code, details = await probe.status()
        xds.publish(cluster("a", "2"))
        response = await good.receive()

    assert grpc.StatusCode.INVALID_ARGUMENT == code
    assert "no.such.Type" in details
    assert ["a"] == [one.name for one in response.resources]


async def test_what_is_no_request_is_refused(xds: Serving) -> None:
    """Bytes that are no message end their stream alone."""
    xds.publish(cluster("a"))
    async with channel(xds.address) as opened:
        call: grpc.aio.StreamStreamCall[bytes, bytes] = opened.stream_stream(
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
        )()
        await call.write(b"\xff\xff\xff")

        assert grpc.StatusCode.INVALID_ARGUMENT == await call.code()


async def test_a_missing_node_is_refused(xds: Serving) -> None:
    """Nobody can tell what a client without id and cluster should get."""
    xds.publish(cluster("a"))
    async with channel(xds.address) as opened:
        probe = sotw(opened, base_pb2.Node(user_agent_name="envoy"))
        await probe.subscribe(CLUSTER)
        code, _ = await probe.status()

    assert grpc.StatusCode.INVALID_ARGUMENT == code


async def test_an_unknown_gateway_is_not_found(xds: Serving) -> None:
    """An empty answer would delete a running Envoy's listeners."""
    xds.publish(cluster("a"))
    xds.publish(cluster("a"), gateway="other")
    async with channel(xds.address) as opened:
        probe = delta(opened, node(cluster="meetnity"))
        await probe.subscribe(CLUSTER)
        code, details = await probe.status()

    assert grpc.StatusCode.NOT_FOUND == code
    assert "meetinity, other" in details


async def test_each_gateway_gets_its_own(xds: Serving) -> None:
    """What is not for a node is never sent to it."""
    xds.publish(cluster("a"))
    xds.publish(cluster("b"), gateway="other")
    async with channel(xds.address) as opened:
        probe = delta(opened, node(cluster="other"))
        await probe.subscribe(CLUSTER)

        assert ["b"] == [one.name for one in (await probe.receive()).resources]


async def test_nothing_is_served_before_the_first_snapshot(xds: Serving) -> None:
    """Early streams wait, and are answered when there is something."""
    async with channel(xds.address) as opened:
        probe = sotw(opened)
        await probe.subscribe(CLUSTER)
        answer = asyncio.ensure_future(probe.receive())
        done, _ = await asyncio.wait([answer], timeout=0.2)
        assert set() == done
        xds.publish(cluster("a"))

        assert 1 == len((await answer).resources)


async def test_services_get_policies_and_envoys_do_not(xds: Serving) -> None:
    """Even if an Envoy asks."""
    xds.publish(cluster("a"), policy("authz-1"))
    async with channel(xds.address) as opened, channel(xds.address) as other:
        service = delta(opened, node("authz", "", "meetinity-ext-authz"))
        await service.subscribe(AUTHZ_POLICY)
        envoy = delta(other)
        await envoy.subscribe(AUTHZ_POLICY)
        got, refused = await service.receive(), await envoy.receive()

    assert ["authz-1"] == [one.name for one in got.resources]
    assert [] == list(refused.resources)


async def test_a_client_that_does_not_answer_is_sent_the_newest_after_the_limit(xds: Serving) -> None:
    """An update storm costs it two responses."""
    xds.publish(cluster("a", "0"))
    async with channel(xds.address) as opened:
        probe = delta(opened)
        await probe.subscribe(CLUSTER)
        await probe.receive()
        for number in range(1, 200):
            xds.publish(cluster("a", str(number)))
        response = await probe.receive()

    assert cluster("a", "199").version == response.resources[0].version
    assert 2 == xds.metric("gateway_xds_pushes_total", type="Cluster")


async def test_a_stalled_client_delays_nobody(xds: Serving) -> None:
    """One that reads nothing while much is published costs nothing but its flow-control window."""
    big = [cluster(f"c{number}", "x" * 4096) for number in range(500)]
    xds.publish(*big)
    async with channel(xds.address) as opened, channel(xds.address) as other:
        stalled = sotw(opened)
        await stalled.subscribe(CLUSTER)
        good = delta(other)
        await good.subscribe(CLUSTER)
        await good.receive()
        await good.ack(CLUSTER)
        for number in range(20):
            changed = cluster("c0", str(number))
            xds.publish(changed, *big[1:])
            assert changed.version == (await good.receive()).resources[0].version
            await good.ack(CLUSTER)

    assert xds.metric("gateway_xds_pushes_total", type="Cluster") <= 21 + 3


async def test_a_reconnecting_delta_client_gets_only_what_changed(xds: Serving) -> None:
    """It brings the versions that it has."""
    xds.publish(cluster("a"), cluster("b"))
    async with channel(xds.address) as opened:
        probe = delta(opened)
        await probe.subscribe(CLUSTER)
        versions = {one.name: one.version for one in (await probe.receive()).resources}
    xds.publish(cluster("a"), cluster("b", "2"))
    async with channel(xds.address) as opened:
        probe = delta(opened)
        await probe.subscribe(CLUSTER, initial=versions)

        assert ["b"] == [one.name for one in (await probe.receive()).resources]


async def test_a_nack_is_counted_and_not_repeated(xds: Serving) -> None:
    """The next different version goes out at once."""
    xds.publish(cluster("a", "bad"))
    async with channel(xds.address) as opened:
        probe = sotw(opened)
        await probe.subscribe(CLUSTER)
        await probe.receive()
        await probe.nack(CLUSTER)
        answer = asyncio.ensure_future(probe.receive())
        done, _ = await asyncio.wait([answer], timeout=0.2)
        assert set() == done
        xds.publish(cluster("a", "good"))
        assert 1 == len((await answer).resources)

    assert 1 == xds.metric("gateway_xds_nacks_total", type="Cluster")


async def test_streams_of_single_types_on_one_connection_are_one_client(xds: Serving) -> None:
    """Routes wait until the clusters that they name were acknowledged on another stream."""
    xds.publish(cluster("a"), routes("r", "a"))
    async with channel(xds.address) as opened:
        clusters = delta(opened, method=_CLUSTERS + "DeltaClusters")
        await clusters.subscribe("")
        await clusters.receive()
        await clusters.ack(CLUSTER)
        route = delta(opened, method=_ROUTES + "DeltaRoutes")
        await route.subscribe("", "r")
        await route.receive()
        await route.ack(ROUTE_CONFIGURATION)
        assert 1 == len(xds.store.clients())
        xds.publish(cluster("b"), routes("r", "b"))
        assert ["b"] == [one.name for one in (await clusters.receive()).resources]
        assert 1 == xds.metric("gateway_xds_pushes_total", type="RouteConfiguration")
        await clusters.ack(CLUSTER)

        assert routes("r", "b").version == (await route.receive()).resources[0].version


@pytest.mark.parametrize("taken", [True, False], ids=["acknowledged", "silent"])
async def test_routes_wait_until_services_have_the_policies(taken: bool) -> None:
    """At the latest for as long as is configured."""
    async with serving(QUICK, PolicyTimings(acknowledged_s=60.0 if taken else 0.3)) as xds:
        xds.publish(routes("r", "1"), policy("authz-1"))
        async with channel(xds.address) as opened, channel(xds.address) as other:
            service = delta(opened, node("authz", "", "meetinity-ext-authz"))
            await service.subscribe(SECRET)
            await service.receive()
            await service.ack(SECRET)
            await service.subscribe(AUTHZ_POLICY)
            await service.receive()
            await service.ack(AUTHZ_POLICY)
            envoy = delta(other)
            await envoy.subscribe(ROUTE_CONFIGURATION, "r")
            await envoy.receive()
            await envoy.ack(ROUTE_CONFIGURATION)
            xds.publish(routes("r", "2"), policy("authz-2"))
            await service.receive()
            assert 1 == xds.metric("gateway_xds_pushes_total", type="RouteConfiguration")
            if taken:
                await service.ack(AUTHZ_POLICY)

            assert routes("r", "2").version == (await envoy.receive()).resources[0].version


async def test_a_refused_policy_is_not_referred_to() -> None:
    """The routes of an Envoy that has some stay as they are until the policy changes."""
    async with serving(QUICK, PolicyTimings(acknowledged_s=0.1)) as xds:
        xds.publish(routes("r", "1"))
        async with channel(xds.address) as opened, channel(xds.address) as other:
            service = delta(opened, node("authz", "", "meetinity-ext-authz"))
            await service.subscribe(AUTHZ_POLICY)
            await service.receive()
            await service.ack(AUTHZ_POLICY)
            envoy = delta(other)
            await envoy.subscribe(ROUTE_CONFIGURATION, "r")
            await envoy.receive()
            await envoy.ack(ROUTE_CONFIGURATION)
            xds.publish(routes("r", "2"), policy("authz-bad"))
            await service.receive()
            await service.nack(AUTHZ_POLICY, "a rule that nobody can keep")
            answer = asyncio.ensure_future(envoy.receive())
            done, _ = await asyncio.wait([answer], timeout=0.4)
            assert set() == done
            assert ("authz-bad",) == xds.store.feeds["meetinity"].refused_policies()
            xds.publish(routes("r", "3"), policy("authz-good"))
            await service.receive()
            await service.ack(AUTHZ_POLICY)

            assert routes("r", "3").version == (await answer).resources[0].version


async def test_an_old_policy_stays_for_a_while() -> None:
    """An Envoy of another replica may still name it."""
    async with serving(QUICK, PolicyTimings(retained_s=0.3)) as xds:
        xds.publish(policy("authz-1"))
        async with channel(xds.address) as opened:
            service = delta(opened, node("authz", "", "meetinity-ext-authz"))
            await service.subscribe(AUTHZ_POLICY)
            await service.receive()
            await service.ack(AUTHZ_POLICY)
            xds.publish(policy("authz-2"))
            added = await service.receive()
            await service.ack(AUTHZ_POLICY)
            expiry = asyncio.create_task(xds.store.run())
            removed = await service.receive()
            expiry.cancel()

    assert (["authz-2"], []) == ([one.name for one in added.resources], list(added.removed_resources))
    assert ["authz-1"] == list(removed.removed_resources)


async def test_shutting_down_ends_streams_with_unavailable(xds: Serving) -> None:
    """They would never end by themselves."""
    xds.publish(cluster("a"))
    async with channel(xds.address) as opened:
        probe = sotw(opened)
        await probe.subscribe(CLUSTER)
        await probe.receive()
        xds.server.close()
        code, _ = await probe.status()

    assert grpc.StatusCode.UNAVAILABLE == code


async def test_a_client_that_leaves_is_forgotten(xds: Serving) -> None:
    """No state of it is kept."""
    xds.publish(cluster("a"), assignment("a"))
    async with channel(xds.address) as opened:
        probe = sotw(opened)
        await probe.subscribe(CLUSTER)
        await probe.receive()
        await probe.subscribe(CLUSTER_LOAD_ASSIGNMENT, "a")
        await probe.receive()
        assert 1 == len(xds.store.clients())
    async with asyncio.timeout(5):
        while xds.store.clients():  # noqa: ASYNC110 - the store tells nobody that a client has left
            await asyncio.sleep(0.01)

    assert 0 == xds.metric("gateway_xds_streams", kind="envoy", variant="sotw")
