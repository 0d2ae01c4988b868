"""The fast way to a ClusterLoadAssignment equals the plain one."""

import pytest
from envoy.config.endpoint.v3 import endpoint_pb2
from hypothesis import given
from hypothesis import strategies as st

from control_plane.endpoints import Endpoint, Health
from control_plane.snapshot import Resource
from control_plane.translate.endpoints import cluster_load_assignment, lb_endpoint, load_assignment

endpoints = st.builds(
    Endpoint,
    st.one_of(
        st.sampled_from(["10.0.0.1", "10.0.0.2", "fd00::1", "10.0.0.20"]),
        # Around the lengths at which a length takes another byte, of whatever is around the address.
        st.integers(90, 135).map("x".__mul__),
        st.text(min_size=1).filter(lambda text: not text.startswith("/")),
    ),
    st.sampled_from([1, 80, 120, 127, 128, 8080, 65535]),
    st.sampled_from(["", "a"]),
    st.sampled_from([0, 1, 2, 120, 128, 65535]),
    st.sampled_from(Health),
)
sockets = st.builds(
    Endpoint, st.one_of(st.sampled_from(["/", "/run/a.sock"]), st.text(min_size=1).map("/run/{}".format)), st.just(0)
)


@given(st.lists(st.one_of(endpoints, sockets), unique_by=lambda one: (one.address, one.port)))
def test_every_endpoint_is_written_as_if_it_were_alone(found: list[Endpoint]) -> None:
    """Bytes put together are the bytes of a message that is built field by field."""
    expected = endpoint_pb2.ClusterLoadAssignment(cluster_name="users")
    for zone in sorted({one.zone for one in found if one.weight}):
        of_zone = [one for one in found if one.weight and one.zone == zone]
        locality = expected.endpoints.add(lb_endpoints=[lb_endpoint(one) for one in of_zone])
        locality.load_balancing_weight.value = sum(one.weight for one in of_zone)
        if zone:
            locality.locality.zone = zone

    assert expected == cluster_load_assignment("users", found)
    assert Resource.of("users", expected) == load_assignment("users", found)


@pytest.mark.parametrize("endpoint", [Endpoint("", 80), Endpoint("10.0.0.1", 65_536), Endpoint("10.0.0.1", -1)])
def test_what_envoy_would_refuse_is_refused_here(endpoint: Endpoint) -> None:
    """One bad endpoint would keep Envoy from every change of the service."""
    with pytest.raises(ValueError, match="an endpoint with an address"):
        load_assignment("users", [endpoint])
