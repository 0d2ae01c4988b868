"""Versions are hashes of content: replicas with equal input serve equal versions."""

from envoy.config.core.v3 import base_pb2
from hypothesis import given
from hypothesis import strategies as st

from control_plane.snapshot import Resource, Snapshot
from control_plane.xds.sotw import set_version
from tests.unit.control_plane.xds.served import resource


@given(st.permutations(["a", "b", "c", "d"]))
def test_rule_34_the_order_of_input_does_not_matter(names: list[str]) -> None:
    """A snapshot's resources, and the version of them all, are the same in whatever order they were made."""
    snapshot, usual = Snapshot.of(resource(name) for name in names), Snapshot.of(resource(name) for name in "abcd")
    (type_url,) = {one.type_url for one in map(resource, names)}

    assert list(usual.of_type(type_url)) == list(snapshot.of_type(type_url))
    assert set_version(usual.of_type(type_url).values()) == set_version(snapshot.of_type(type_url).values())


@given(st.permutations([f"key{number}" for number in range(20)]))
def test_rule_34_maps_are_serialised_in_one_order(keys: list[str]) -> None:
    """Protobuf's maps have none of their own."""
    made = base_pb2.Metadata()
    for key in keys:
        made.filter_metadata[key].fields["x"].string_value = key
    usual = base_pb2.Metadata()
    for key in sorted(keys):
        usual.filter_metadata[key].fields["x"].string_value = key

    assert Resource.of("m", usual).version == Resource.of("m", made).version
