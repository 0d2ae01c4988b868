"""The merge of EndpointSlices into the endpoints of one Service port."""

from dataclasses import replace
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane import endpoints
from control_plane.endpoints import (
    AddressType,
    Condition,
    Endpoint,
    EndpointSlice,
    Health,
    ServicePort,
    ServiceSpec,
    SliceEndpoint,
    SliceMerge,
    SlicePort,
    merge,
    service_port,
    upstream_protocol,
)

HTTP = SlicePort("http", 8080)
SERVICE = ServiceSpec("shop", "users", (ServicePort("http", 80), ServicePort("grpc", 9000, app_protocol="grpc")))


def slice_of(
    *endpoints: SliceEndpoint | str,
    name: str = "users-a",
    ports: tuple[SlicePort, ...] = (HTTP,),
    address_type: AddressType = AddressType.IPV4,
    weight: int = 1,
) -> EndpointSlice:
    entries = tuple(SliceEndpoint(entry) if isinstance(entry, str) else entry for entry in endpoints)
    return EndpointSlice("shop", "users", name, address_type, ports, entries, weight)


def test_all_slices_of_a_service_count() -> None:
    """Endpoints of every slice are joined and sorted by address."""
    slices = [slice_of("10.0.0.3", name="b"), slice_of("10.0.0.1", "10.0.0.2", name="a")]

    assert ("10.0.0.1", "10.0.0.2", "10.0.0.3") == tuple(one.address for one in merge(slices, "http"))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_an_endpoint_in_two_slices_the_ready_one_counts(order: tuple[int, int]) -> None:
    """While a pod moves between slices one copy may be stale; the ready one is believed, whatever the order."""
    copies = (
        slice_of(SliceEndpoint("10.0.0.1", Condition.TERMINATING), "10.0.0.9", name="a"),
        slice_of(SliceEndpoint("10.0.0.1", Condition.READY), name="b"),
    )

    assert (Endpoint("10.0.0.1", 8080), Endpoint("10.0.0.9", 8080)) == merge([copies[i] for i in order], "http")


def test_a_copy_that_is_not_ready_does_not_hide_a_ready_one() -> None:
    """kubernetes#121556: the stale copy may be the one that comes later."""
    slices = [slice_of("10.0.0.1", name="a"), slice_of(SliceEndpoint("10.0.0.1", Condition.NOT_READY), name="b")]

    assert (Endpoint("10.0.0.1", 8080),) == merge(slices, "http")


def test_of_two_equal_copies_the_first_slice_by_name_counts() -> None:
    """Two replicas that got the slices in different order publish the same endpoints."""
    first = slice_of(SliceEndpoint("10.0.0.1", zone="a"), name="a")
    second = slice_of(SliceEndpoint("10.0.0.1", zone="b"), name="b")

    assert merge([first, second], "http") == merge([second, first], "http") == (Endpoint("10.0.0.1", 8080, "a"),)


def test_terminating_endpoints_that_serve_drain() -> None:
    """They finish their requests and get no new ones while a ready endpoint is there."""
    found = merge([slice_of("10.0.0.1", SliceEndpoint("10.0.0.2", Condition.TERMINATING))], "http")

    assert [Health.HEALTHY, Health.DRAINING] == [one.health for one in found]


def test_when_all_endpoints_terminate_they_keep_serving() -> None:
    """Envoy gives a DRAINING endpoint nothing at all, so the last ones that serve are published as healthy."""
    found = merge([slice_of(SliceEndpoint("10.0.0.2", Condition.TERMINATING), "10.0.0.1", weight=0)], "http")
    assert [Health.HEALTHY, Health.HEALTHY] == [one.health for one in found]

    found = merge([slice_of(SliceEndpoint("10.0.0.2", Condition.TERMINATING))], "http")
    assert (Endpoint("10.0.0.2", 8080),) == found


def test_endpoints_that_are_not_ready_are_left_out() -> None:
    """Neither unready pods nor terminating ones that have stopped serving get traffic."""
    unready = SliceEndpoint("10.0.0.2", Condition.NOT_READY)
    stopped = SliceEndpoint("10.0.0.3", Condition.STOPPED)

    assert (Endpoint("10.0.0.1", 8080),) == merge([slice_of("10.0.0.1", unready, stopped)], "http")


def test_a_service_may_publish_endpoints_that_are_not_ready() -> None:
    """publishNotReadyAddresses keeps them; those that terminate still drain."""
    unready = SliceEndpoint("10.0.0.2", Condition.NOT_READY)
    stopped = SliceEndpoint("10.0.0.3", Condition.STOPPED)
    service = replace(SERVICE, publish_not_ready=True)

    found = merge([slice_of(unready, stopped)], "http", service)

    assert (Endpoint("10.0.0.2", 8080), Endpoint("10.0.0.3", 8080, health=Health.DRAINING)) == found


def test_a_service_scaled_to_zero_has_no_endpoints() -> None:
    """The result is empty, not absent: Envoy gets an empty assignment and answers 503 at once."""
    assert merge([slice_of()], "http", SERVICE) == merge([], "http", SERVICE) == ()


@pytest.mark.parametrize("port", ["http", "80"])
def test_a_port_is_named_or_numbered_as_in_the_service(port: str) -> None:
    """A number is the Service's port, not the container's."""
    assert (Endpoint("10.0.0.1", 8080),) == merge([slice_of("10.0.0.1")], port, SERVICE)


def test_the_target_port_may_differ_by_slice() -> None:
    """During a rollout that renumbers a named container port each slice carries its own number."""
    old = slice_of("10.0.0.1", name="old", ports=(SlicePort("http", 8080),))
    new = slice_of("10.0.0.2", name="new", ports=(SlicePort("http", 9090),))

    assert (Endpoint("10.0.0.1", 8080), Endpoint("10.0.0.2", 9090)) == merge([old, new], "80", SERVICE)


@pytest.mark.parametrize("port", ["metrics", "8080", "81"])
def test_a_port_that_the_service_does_not_have_gives_nothing(port: str) -> None:
    """Also not the container's number: the file names ports as the Service does."""
    assert () == merge([slice_of("10.0.0.1")], port, SERVICE)


def test_a_headless_service_without_ports_is_reached_at_the_number_asked_for() -> None:
    """Such slices list no ports, or a port without number: every port of the pod can be meant."""
    service = ServiceSpec("shop", "users")
    bare = slice_of("10.0.0.1", name="a", ports=())
    unnumbered = slice_of("10.0.0.2", name="b", ports=(SlicePort("", None),))

    assert (Endpoint("10.0.0.1", 5432), Endpoint("10.0.0.2", 5432)) == merge([bare, unnumbered], "5432", service)
    assert () == merge([bare], "http", service)


def test_slices_without_a_readable_service_are_taken_at_their_own_ports() -> None:
    """Hand-written slices name and number their ports themselves."""
    assert (Endpoint("10.0.0.1", 8080),) == merge([slice_of("10.0.0.1")], "8080")
    assert () == merge([slice_of("10.0.0.1")], "80")


def test_a_slice_port_without_number_takes_the_target_port() -> None:
    """The Service's numeric targetPort, else its own number, stands in."""
    service = ServiceSpec("shop", "users", (ServicePort("http", 80, target=3000),))
    assert (Endpoint("10.0.0.1", 3000),) == merge(
        [slice_of("10.0.0.1", ports=(SlicePort("http", None),))], "80", service
    )


def test_ipv6_endpoints_are_endpoints() -> None:
    """A single-stack IPv6 Service works like any other."""
    found = merge([slice_of("fd00::1", address_type=AddressType.IPV6)], "http")

    assert (Endpoint("fd00::1", 8080),) == found


def test_a_dual_stack_pod_counts_once() -> None:
    """It is reached at its address of the Service's first family; a pod with the other family only is kept."""
    four = slice_of(SliceEndpoint("10.0.0.1", target="pod-1"), name="four")
    six = slice_of(
        SliceEndpoint("fd00::1", target="pod-1"),
        SliceEndpoint("fd00::2", target="pod-2"),
        name="six",
        address_type=AddressType.IPV6,
    )

    assert (Endpoint("10.0.0.1", 8080), Endpoint("fd00::2", 8080)) == merge([four, six], "http")
    six_first = replace(SERVICE, families=(AddressType.IPV6, AddressType.IPV4))
    assert (Endpoint("fd00::1", 8080), Endpoint("fd00::2", 8080)) == merge([four, six], "http", six_first)


def test_a_pod_whose_preferred_address_is_not_ready_is_not_covered_by_it() -> None:
    """Only usable endpoints of the preferred family stand for their pod."""
    four = slice_of(SliceEndpoint("10.0.0.1", Condition.NOT_READY, target="pod-1"), name="four")
    six = slice_of(SliceEndpoint("fd00::1", target="pod-1"), name="six", address_type=AddressType.IPV6)

    assert (Endpoint("fd00::1", 8080),) == merge([four, six], "http")


def test_hints_decide_the_zone_when_every_endpoint_has_one() -> None:
    """Topology hints lend endpoints to zones that have too few; one zone only, the own one if it is among them."""
    lent = SliceEndpoint("10.0.0.1", zone="a", hints=("b",))
    own = SliceEndpoint("10.0.0.2", zone="a", hints=("b", "a"))

    assert ["b", "a"] == [one.zone for one in merge([slice_of(lent, own)], "http")]


def test_hints_are_ignored_when_one_endpoint_has_none() -> None:
    """kube-proxy's rule: a partial set of hints could leave a zone without endpoints."""
    lent = SliceEndpoint("10.0.0.1", zone="a", hints=("b",))
    unhinted = SliceEndpoint("10.0.0.2", zone="c")

    found = merge([slice_of(lent, name="a"), slice_of(unhinted, name="b")], "http")

    assert ["a", "c"] == [one.zone for one in found]


def test_the_weight_of_a_slice_is_that_of_its_endpoints() -> None:
    """Two hand-written slices can share traffic unevenly."""
    found = merge([slice_of("10.0.0.1", name="a", weight=9), slice_of("10.0.0.2", name="b")], "http")

    assert [9, 1] == [one.weight for one in found]


def test_app_protocol_comes_from_the_service_or_its_slices() -> None:
    """Kubernetes' name for HTTP/2 without TLS and the common names; others say nothing."""
    h2c = slice_of(ports=(SlicePort("http", 8080, "kubernetes.io/h2c"),))

    assert "http2" == upstream_protocol([h2c], "http", None)
    assert "http2" == upstream_protocol([h2c], "80", SERVICE)
    assert "grpc" == upstream_protocol([], "9000", SERVICE)
    assert upstream_protocol([slice_of(ports=(SlicePort("http", 80, "kubernetes.io/ws"),))], "http", None) is None


def test_a_port_may_be_named_like_a_number_only_by_its_number() -> None:
    """Name first, then number."""
    assert SERVICE.ports[0] == service_port(SERVICE, "80")
    assert SERVICE.ports[1] == service_port(SERVICE, "grpc")
    assert service_port(SERVICE, "nope") is None


entries = st.builds(
    SliceEndpoint,
    st.sampled_from([f"10.0.0.{i}" for i in range(6)]),
    st.sampled_from(Condition),
    st.sampled_from(["", "a", "b"]),
    st.sampled_from([(), ("a",), ("b",), ("a", "b")]),
    st.sampled_from(["", "pod-1", "pod-2"]),
)
slices = st.builds(
    lambda name, found, port, family: slice_of(
        *found, name=name, ports=(SlicePort("http", port),), address_type=family
    ),
    st.sampled_from("abcd"),
    st.lists(entries, max_size=5),
    st.sampled_from([8080, 9090]),
    st.sampled_from([AddressType.IPV4, AddressType.IPV6]),
)


@given(changes=st.lists(st.tuples(slices, st.booleans()), max_size=16))
@pytest.mark.parametrize("few", [0, 2, 256])
def test_what_is_merged_step_by_step_equals_what_is_merged_at_once(
    few: int, changes: list[tuple[EndpointSlice, bool]]
) -> None:
    """The remembered parts never show: after every change the result is that of a fresh merge, sorted and unique."""
    with patch.object(endpoints, "_FEW", few):
        check_steps(changes)


def check_steps(changes: list[tuple[EndpointSlice, bool]]) -> None:
    known: dict[str, EndpointSlice] = {}
    remembering = SliceMerge("http")
    for change, is_deleted in changes:
        known[change.name] = change
        if is_deleted:
            del known[change.name]
        found = remembering.merge(known, None)

        assert merge(reversed(known.values()), "http") == found
        keys = [(one.address, one.port) for one in found]
        assert sorted(set(keys)) == keys


def test_of_an_endpoint_twice_in_one_slice_the_ready_one_counts() -> None:
    """Whichever stands first."""
    ready, draining = SliceEndpoint("10.0.0.1"), SliceEndpoint("10.0.0.1", Condition.TERMINATING)
    other = SliceEndpoint("10.0.0.2")

    for entries_in_order in ((ready, draining, other), (draining, ready, other)):
        assert {Health.HEALTHY} == {one.health for one in merge([slice_of(*entries_in_order)], "http")}


def test_what_envoy_would_refuse_is_no_endpoint() -> None:
    """It would keep Envoy from every other change of the service."""
    assert () == merge([slice_of("10.0.0.1", ports=(SlicePort("http", 70_000),))], "http")
    assert ["10.0.0.1"] == [one.address for one in merge([slice_of("", "10.0.0.1")], "http")]
