"""The fast way to a ClusterLoadAssignment equals the plain one."""

from envoy.config.endpoint.v3 import endpoint_pb2
from hypothesis import given
from hypothesis import strategies as st

from control_plane.endpoints import Endpoint, Health
from control_plane.translate.endpoints import cluster_load_assignment, lb_endpoint, sorted_by_address

endpoints = st.builds(
    Endpoint,
    st.sampled_from(["10.0.0.1", "10.0.0.2", "fd00::1", "10.0.0.20"]),
    st.sampled_from([80, 8080]),
    st.sampled_from(["", "a"]),
    st.integers(0, 2),
    st.sampled_from(Health),
)
sockets = st.builds(Endpoint, st.sampled_from(["/run/a.sock", "/run/b.sock"]), st.just(0))


@given(st.lists(st.one_of(endpoints, sockets), unique_by=lambda one: (one.address, one.port)))
def test_every_endpoint_is_written_as_if_it_were_alone(found: list[Endpoint]) -> None:
    """A message that is used again for the next endpoint leaves no trace of the one before."""
    expected = endpoint_pb2.ClusterLoadAssignment(cluster_name="users")
    for zone in sorted({one.zone for one in found if one.weight}):
        of_zone = sorted_by_address(one for one in found if one.weight and one.zone == zone)
        locality = expected.endpoints.add(lb_endpoints=[lb_endpoint(one) for one in of_zone])
        locality.load_balancing_weight.value = sum(one.weight for one in of_zone)
        if zone:
            locality.locality.zone = zone

    assert expected == cluster_load_assignment("users", found)
