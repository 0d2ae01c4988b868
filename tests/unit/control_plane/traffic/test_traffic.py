"""Live numbers of gateways."""

from control_plane.resource_types import NodeKind
from control_plane.traffic.report import CACHE, DECISIONS, Key, Numbers, Reader, Report
from control_plane.traffic.traffic import NO_NAMES, Names, Traffic
from tests.reports import envoy_report

NAMES = Names(frozenset({"public"}), frozenset({"users", "events"}), frozenset({"list-users"}))


def _traffic() -> Traffic:
    return Traffic(lambda name: NAMES if name == "shop" else NO_NAMES)


def _take(traffic: Traffic, at: float, node: str = "e1", **said: dict[str, int]) -> None:
    traffic.take(Reader().read(envoy_report(node, "shop", **said)), at)  # type: ignore[arg-type]


def test_requests_of_all_envoys_are_added() -> None:
    """Of listeners for the gateway, of clusters for a service."""
    traffic = _traffic()
    for node in ("e1", "e2"):
        _take(traffic, 0.0, node)
        _take(
            traffic,
            10.0,
            node,
            counters={
                "http.public.downstream_rq_2xx": 90,
                "http.public.downstream_rq_5xx": 10,
                "http.admin.downstream_rq_2xx": 1000,
                "cluster.users.upstream_rq_5xx": 10,
            },
        )

    assert (20.0, 0.1) == (traffic.total("shop").requests, traffic.total("shop").error_ratio)
    assert 2.0 == traffic.service("shop", "users").server_errors
    assert 0.0 == traffic.service("shop", "events").requests


def test_what_the_configuration_does_not_hold_is_left_aside() -> None:
    """Memory is bounded by it, not by what somebody reports."""
    traffic = _traffic()
    _take(traffic, 0.0)
    _take(
        traffic,
        5.0,
        counters={f"cluster.made-up-{n}.upstream_rq_2xx": 5 for n in range(100)},
        gauges={"cluster.made-up.membership_total": 1, "cluster.made-up.endpoint.1.2.3.4_1.healthy": 1},
    )

    assert 0.0 == traffic.service("shop", "made-up-1").requests
    assert ({}, ()) == (dict(traffic.memberships("shop")), traffic.endpoints("shop", "made-up"))


def test_the_envoy_that_sees_the_fewest_healthy_endpoints_counts() -> None:
    """Some clients get errors, however well others fare."""
    traffic = _traffic()
    total = {"cluster.users.membership_total": 3, "cluster.events.membership_total": 1}
    _take(
        traffic,
        0.0,
        "e1",
        gauges={**total, "cluster.users.membership_healthy": 3, "cluster.events.membership_healthy": 1},
    )
    _take(
        traffic,
        0.0,
        "e2",
        gauges={
            **total,
            "cluster.users.membership_healthy": 1,
            "cluster.users.outlier_detection.ejections_active": 2,
            "cluster.events.membership_healthy": 1,
        },
    )
    members = traffic.memberships("shop")

    assert (1, 3, 2) == (members["users"].healthy, members["users"].total, members["users"].ejected)
    assert (1, 1) == (members["events"].healthy, members["events"].total)


def test_an_endpoint_is_counted_by_how_many_see_it_so() -> None:
    """Health is each Envoy's own opinion."""
    traffic = _traffic()
    for node, healthy in (("e1", 1), ("e2", 0), ("e3", 1)):
        _take(traffic, 0.0, node, gauges={"cluster.users.endpoint.10.0.0.1_80.healthy": healthy})
    (view,) = traffic.endpoints("shop", "users")

    assert ("10.0.0.1_80", 2, 1) == (view.address, view.healthy_on, view.unhealthy_on)


def test_a_silent_node_does_not_count_any_more() -> None:
    """Unless it only waits for its turn."""
    traffic = _traffic()
    _take(traffic, 0.0)
    _take(traffic, 5.0, counters={"http.public.downstream_rq_2xx": 50})

    assert [] == traffic.expire(36.0, round_s=20.0)
    assert 10.0 == traffic.total("shop").requests
    assert ["e1"] == traffic.expire(36.0, round_s=1.0)
    assert (0.0, {}) == (traffic.total("shop").requests, dict(traffic.memberships("shop")))


def test_histories_are_sampled_and_end() -> None:
    """Half an hour of a gateway; of a service five minutes, and nothing once it has had none."""
    traffic = _traffic()
    _take(traffic, 0.0)
    _take(traffic, 5.0, counters={"http.public.downstream_rq_2xx": 50, "cluster.users.upstream_rq_2xx": 10})
    traffic.sample(1000.0)
    assert ([10.0], 2.0) == (
        [one.requests for one in traffic.history("shop")],
        traffic.service_history("shop", "users")[-1][0],
    )

    traffic.expire(1e6, round_s=0.0)
    for moment in range(400):
        traffic.sample(1005.0 + moment)
    assert (360, ()) == (len(traffic.history("shop")), traffic.service_history("shop", "users"))


def test_callouts_tell_hits_and_denials() -> None:
    """By route; a limit is not just any denial."""
    traffic = _traffic()
    before: dict[Key, Numbers] = {(DECISIONS, "list-users", "ok"): (0.0,)}
    after: dict[Key, Numbers] = {
        (DECISIONS, "list-users", "ok"): (80.0,),
        (DECISIONS, "list-users", "rate_limit"): (15.0,),
        (DECISIONS, "list-users", "expired"): (5.0,),
        (DECISIONS, "unknown", "ok"): (1000.0,),
        (CACHE, "list-users", "hit"): (30.0,),
        (CACHE, "list-users", "miss"): (10.0,),
        (CACHE, "list-users", "bypass"): (60.0,),
    }
    for at, counters in ((0.0, before), (10.0, after)):
        traffic.take(Report("a1", "shop", NodeKind.EXT_AUTHZ, counters), at)
    callouts = traffic.callouts("shop")

    assert (1.5, 0.5, 0.75) == (callouts.limited, callouts.denied, callouts.hit_ratio)
    assert ["list-users"] == list(traffic.callouts_by_route("shop"))
