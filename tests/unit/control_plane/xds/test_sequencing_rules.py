"""The rules about several types together, for both variants; the numbers are those of docs/xds.md."""

import pytest

from control_plane.resource_types import CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER, ROUTE_CONFIGURATION
from control_plane.xds.session import Gate
from tests.unit.control_plane.xds.envoys import FakeEnvoy, told

both_variants = pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])


def running(*, delta: bool, gate: list[Gate] | None = None) -> FakeEnvoy:
    """An Envoy that has cluster a with its endpoints, and a listener whose routes name it."""
    gates = gate if gate is not None else [Gate(True)]
    envoy = FakeEnvoy(delta=delta, gatekeeper=lambda: gates[0])
    envoy.serve("c/a", "e/a", "l/a", "r/a@a")
    envoy.subscribe_all("a", "b")
    envoy.settle()
    return envoy


@both_variants
def test_rule_30_additions_come_in_order(delta: bool) -> None:
    """Clusters and assignments go out at once, listeners and routes when the clusters were acknowledged."""
    envoy = running(delta=delta)
    envoy.serve("c/a", "c/b", "e/a", "e/b", "l/a@2", "r/a@b")
    first = envoy.take()
    assert ["Cluster +b", "ClusterLoadAssignment +b"] == told(first)
    for push in first:
        envoy.answer(push)

    assert ["Listener +a", "RouteConfiguration +a"] == told(envoy.take())


@both_variants
def test_rule_30_what_waits_for_a_cluster_waits_5_s_at_most(delta: bool) -> None:
    """Envoy may withhold the ACK of clusters while one warms."""
    envoy = running(delta=delta)
    envoy.serve("c/a", "c/b", "e/a", "e/b", "l/a@2", "r/a@b")
    envoy.take()
    envoy.now = 4.9
    assert [] == envoy.take()
    assert envoy.session.deadline() == 5.0
    envoy.now = 5.0

    assert ["Listener +a", "RouteConfiguration +a"] == told(envoy.take())


@both_variants
def test_rule_30_a_cluster_stays_until_no_route_names_it(delta: bool) -> None:
    """A route moved from a to b with a deleted in the same edit: a goes last, when the routes were acknowledged."""
    envoy = running(delta=delta)
    envoy.serve("c/b", "e/b", "l/a", "r/a@b")
    assert ["Cluster +b", "ClusterLoadAssignment +b", "RouteConfiguration +a"] == told(envoy.settle())
    envoy.now = 1.9
    assert [] == envoy.take()
    envoy.now = 2.0
    expected = ["Cluster -a", "ClusterLoadAssignment -a"] if delta else ["Cluster -a"]

    assert expected == told(envoy.settle())


@both_variants
def test_rule_30_a_client_that_never_acknowledges_routes_loses_the_cluster_after_a_grace(delta: bool) -> None:
    """Nothing waits for an ACK without a limit."""
    envoy = running(delta=delta)
    envoy.serve("c/b", "e/b", "l/a", "r/a@b")
    for push in envoy.take():
        envoy.answer(push)
    assert ["RouteConfiguration +a"] == told(envoy.take())
    envoy.now = 9.9
    assert [] == envoy.take()
    envoy.now = 10.0

    assert "Cluster -a" in told(envoy.take())


@both_variants
def test_rule_30_refused_routes_keep_the_clusters_of_the_last_good_ones(delta: bool) -> None:
    """An Envoy that stays at its old routes keeps what they name, however long."""
    envoy = running(delta=delta)
    envoy.serve("c/b", "e/b", "l/a", "r/a@b")
    for push in envoy.take():
        envoy.answer(push)
    for push in envoy.take():
        envoy.answer(push, error="bad route")
    envoy.now = 1000.0
    assert [] == envoy.take()
    envoy.serve("c/b", "e/b", "l/a", "r/a@fixed")
    assert ["RouteConfiguration +a"] == told(envoy.settle())
    envoy.now = 1002.0

    assert "Cluster -a" in told(envoy.take())


@both_variants
def test_rule_30_a_cluster_that_comes_back_is_not_removed(delta: bool) -> None:
    """An edit that is taken back within the grace leaves no trace."""
    envoy = running(delta=delta)
    envoy.serve("l/a", "r/a@none")
    envoy.settle()
    envoy.serve("c/a", "e/a", "l/a", "r/a@a")
    assert ["RouteConfiguration +a"] == told(envoy.settle())
    envoy.now = 1000.0

    assert [] == envoy.take()


def test_rule_30_clusters_brought_from_an_earlier_stream_stay_until_routes_moved_on() -> None:
    """A reconnecting delta client is told that a cluster is gone only after it has the new routes."""
    envoy = FakeEnvoy(delta=True)
    envoy.serve("c/b", "e/b", "l/a", "r/a@b")
    envoy.subscribe(CLUSTER, initial=["a"])
    envoy.subscribe(CLUSTER_LOAD_ASSIGNMENT, "a", initial=["a"])
    envoy.subscribe(LISTENER, initial=["a"])
    envoy.subscribe(ROUTE_CONFIGURATION, "a", initial=["a"])
    assert "-a" not in " ".join(told(envoy.settle()))
    envoy.now = 2.0

    assert "Cluster -a" in told(envoy.take())


@both_variants
def test_rule_31_routes_never_go_before_the_clusters_that_they_name(delta: bool) -> None:
    """Also when the clusters cannot go yet because an earlier response of theirs is unanswered."""
    envoy = running(delta=delta)
    envoy.serve("c/a@2", "e/a", "l/a", "r/a@a")
    first = envoy.take()
    assert ["Cluster +a", "ClusterLoadAssignment +a"] == told(first)
    envoy.serve("c/a@2", "c/b", "e/a", "e/b", "l/a", "r/a@b")
    envoy.now = 1.0
    assert "RouteConfiguration +a" not in told(envoy.take())
    envoy.now = 5.0
    late = told(envoy.take())
    assert "Cluster +b" in late
    assert "RouteConfiguration +a" not in late
    envoy.now = 6.0

    assert "RouteConfiguration +a" in told(envoy.take())


@both_variants
def test_rule_32_assignments_are_sent_again_after_their_cluster(delta: bool) -> None:
    """A changed cluster warms until its endpoints come, equal or not."""
    envoy = running(delta=delta)
    envoy.serve("c/a@2", "e/a", "l/a", "r/a@a")

    assert ["Cluster +a", "ClusterLoadAssignment +a"] == told(envoy.take())


@both_variants
def test_rule_32_routes_are_sent_again_after_their_listener(delta: bool) -> None:
    """A changed listener may have opened a new subscription inside Envoy, which asks for nothing."""
    envoy = running(delta=delta)
    envoy.serve("c/a", "e/a", "l/a@2", "r/a@a")

    assert ["Listener +a", "RouteConfiguration +a"] == told(envoy.settle())


@both_variants
def test_rule_33_a_refused_cluster_does_not_hold_the_endpoints_of_others(delta: bool) -> None:
    """Nor listeners and routes."""
    envoy = running(delta=delta)
    envoy.serve("c/a", "c/b", "e/a", "e/b", "l/a", "r/a@a")
    for push in envoy.take():
        envoy.answer(push, error="bad b" if push.type_url == CLUSTER else None)
    envoy.serve("c/a", "c/b", "e/a@2", "e/b", "l/a", "r/a@2")

    assert ["ClusterLoadAssignment +a", "RouteConfiguration +a"] == told(envoy.take())


@both_variants
def test_rule_19_a_cluster_without_assignment_gets_an_empty_one(delta: bool) -> None:
    """Silence would leave it warming; a name that is no cluster gets nothing of the kind."""
    envoy = FakeEnvoy(delta=delta)
    envoy.serve("c/a")
    envoy.subscribe(CLUSTER)
    envoy.settle()
    envoy.subscribe(CLUSTER_LOAD_ASSIGNMENT, "a", "unknown")
    (push,) = envoy.take()

    assert ("a",) == push.changed


@both_variants
def test_endpoints_wait_for_nothing(delta: bool) -> None:
    """A cluster warms on its endpoints: they go out while its ACK is outstanding."""
    envoy = running(delta=delta)
    envoy.serve("c/a@2", "e/a", "l/a", "r/a@a")
    for push in envoy.take():
        if push.type_url == CLUSTER_LOAD_ASSIGNMENT:
            envoy.answer(push)
    envoy.serve("c/a@2", "e/a@2", "l/a", "r/a@a")

    assert ["ClusterLoadAssignment +a"] == told(envoy.take())


@both_variants
def test_routes_wait_for_the_services_to_take_the_policies(delta: bool) -> None:
    """But no longer than the gate says; nothing else waits."""
    gate = [Gate(True)]
    envoy = running(delta=delta, gate=gate)
    gate[0] = Gate(False, 2.0)
    envoy.serve("c/a@2", "e/a", "l/a", "r/a@policy")
    assert ["Cluster +a", "ClusterLoadAssignment +a"] == told(envoy.settle())
    envoy.now = 2.0

    assert ["RouteConfiguration +a"] == told(envoy.take())


@both_variants
def test_a_client_without_routes_gets_them_whatever_the_gate_says(delta: bool) -> None:
    """Its routes that need an unknown policy deny, the others work."""
    envoy = FakeEnvoy(delta=delta, gatekeeper=lambda: Gate(False))
    envoy.serve("c/a", "e/a", "l/a", "r/a")
    envoy.subscribe_all("a")

    assert "RouteConfiguration +a" in told(envoy.settle())


@both_variants
def test_streams_of_one_type_each_keep_the_order(delta: bool) -> None:
    """A route stream is not served before the cluster stream of the same client has been."""
    envoy = running(delta=delta)
    envoy.serve("c/a", "c/b", "e/a", "e/b", "l/a", "r/a@b")
    assert [] == envoy.take([ROUTE_CONFIGURATION])
    clusters = envoy.take([CLUSTER])
    assert ["Cluster +b"] == told(clusters)
    assert [] == envoy.take([ROUTE_CONFIGURATION])
    envoy.answer(clusters[0])
    assert ["RouteConfiguration +a"] == told(envoy.take([ROUTE_CONFIGURATION]))
