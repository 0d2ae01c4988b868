"""Reading reports of Envoy's statistics."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.resource_types import NodeKind
from control_plane.traffic.report import (
    BOUNDS_MS,
    BUCKETS,
    HTTP_WIDTH,
    LISTENER,
    RETRIES,
    SERVICE,
    BadReportError,
    EndpointsSeen,
    Reader,
    quantile_ms,
)
from control_plane.traffic.service import sender_of
from gateway_runtime.report_names import NODE_CLUSTER, NODE_ID
from tests.reports import envoy_report


def test_numbers_of_one_service_come_together() -> None:
    """Envoy sends a metric for each; names of services may hold dots."""
    body = envoy_report(
        "e1",
        "shop",
        counters={
            "cluster.users.v2.upstream_rq_2xx": 7,
            "cluster.users.v2.upstream_rq_5xx": 2,
            "cluster.users.v2.upstream_rq_retry": 3,
            "http.public.downstream_rq_4xx": 5,
        },
        latencies_ms={"cluster.users.v2.upstream_rq_time": [0.4, 3, 3]},
    )

    report = Reader().read(body)

    users, public = report.counters[SERVICE, "users.v2"], report.counters[LISTENER, "public"]
    assert ("e1", "shop", NodeKind.ENVOY) == (report.node, report.cluster, report.kind)
    assert (HTTP_WIDTH, 0, 7, 2, 3) == (len(users), users[0], users[1], users[4], users[RETRIES])
    assert (1, 0, 2) == users[BUCKETS : BUCKETS + 3]
    assert 5 == public[3]


def test_endpoints_are_healthy_or_not() -> None:
    """By the address as it stands in names of statistics."""
    body = envoy_report(
        "e1",
        "shop",
        gauges={
            "cluster.users.endpoint.10.0.0.1_8080.healthy": 1,
            "cluster.users.endpoint.10.0.0.2_8080.healthy": 0,
            "cluster.users.membership_total": 2,
            "cluster.users.membership_healthy": 1,
            "cluster.users.outlier_detection.ejections_active": 1,
        },
    )

    report = Reader().read(body)

    assert {"users": EndpointsSeen(frozenset({"10.0.0.1_8080"}), frozenset({"10.0.0.2_8080"}))} == report.endpoints
    assert {
        ("membership_total", "users"): 2,
        ("membership_healthy", "users"): 1,
        ("ejections_active", "users"): 1,
    } == report.gauges


@pytest.mark.parametrize("body", [b"", b"\x0a", b"\x0a\x04abcd", b"nonsense", envoy_report("", "shop")])
def test_nobodys_bytes_are_refused(body: bytes) -> None:
    """And end nothing but their call."""
    with pytest.raises(BadReportError):
        Reader().read(body)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_report_or_refused(body: bytes) -> None:
    """The sender is looked for before the rest is read."""
    with suppress(BadReportError):
        assert isinstance(sender_of(body), dict)


def test_the_sender_is_found_without_reading_the_rest() -> None:
    """Who has no turn costs nothing more."""
    body = envoy_report("e1", "shop", counters={f"cluster.s{n}.upstream_rq_2xx": n for n in range(1, 500)})

    assert {NODE_ID: "e1", NODE_CLUSTER: "shop"} == sender_of(body)
    assert {NODE_ID: "e1", NODE_CLUSTER: "shop"} == sender_of(body[: len(body) // 2])


def test_quantiles_lie_within_the_bucket_that_holds_them() -> None:
    """As Prometheus' histogram_quantile."""
    buckets = [0.0] * (len(BOUNDS_MS) + 1)
    assert quantile_ms(buckets, 0.5) is None

    buckets[3] = 100  # all between 5 and 10 ms
    assert 7.5 == quantile_ms(buckets, 0.5)
    assert 9.5 == quantile_ms(buckets, 0.9)

    buckets[-1] = 900  # longer than an hour
    assert BOUNDS_MS[-1] == quantile_ms(buckets, 0.99)


@given(st.lists(st.floats(0, 1e6), min_size=20, max_size=20), st.floats(0.01, 0.99))
def test_a_higher_quantile_is_never_lower(buckets: list[float], q: float) -> None:
    """For whatever counts."""
    lower, higher = quantile_ms(buckets, q / 2), quantile_ms(buckets, q)

    assert (lower is None) == (higher is None)
    if lower is not None and higher is not None:
        assert lower <= higher + 1e-6
