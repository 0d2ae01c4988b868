"""Responses assembled from shared bytes say what the protobuf classes would say."""

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2
from hypothesis import given
from hypothesis import strategies as st

from control_plane.resource_types import CLUSTER, SECRET
from control_plane.snapshot import Resource
from control_plane.xds.wire import delta_discovery_response, discovery_response

resources = st.lists(
    st.builds(
        Resource,
        type_url=st.sampled_from([CLUSTER, SECRET]),
        name=st.text(min_size=1, max_size=200),
        body=st.one_of(st.binary(max_size=300), st.integers(16_000, 70_000).map(bytes)),
        version=st.text("0123456789abcdef", min_size=1, max_size=16),
    ),
    max_size=5,
)


@given(resources)
def test_state_of_the_world(served: list[Resource]) -> None:
    """Every field arrives, whatever the lengths."""
    expected = discovery_pb2.DiscoveryResponse(
        version_info="v",
        nonce="7",
        type_url=CLUSTER,
        resources=[any_pb2.Any(type_url=one.type_url, value=one.body) for one in served],
    )

    assert expected == discovery_pb2.DiscoveryResponse.FromString(discovery_response(CLUSTER, "v", "7", served))


@given(resources, st.lists(st.text(min_size=1), max_size=3))
def test_incremental(served: list[Resource], removed: list[str]) -> None:
    """Names, versions and removals too."""
    expected = discovery_pb2.DeltaDiscoveryResponse(
        system_version_info="v",
        nonce="7",
        type_url=CLUSTER,
        resources=[
            discovery_pb2.Resource(
                name=one.name, version=one.version, resource=any_pb2.Any(type_url=one.type_url, value=one.body)
            )
            for one in served
        ],
        removed_resources=removed,
    )
    payload = delta_discovery_response(CLUSTER, "v", "7", served, removed)

    assert expected == discovery_pb2.DeltaDiscoveryResponse.FromString(payload)


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_lengths_at_the_borders_of_varints(length: int) -> None:
    """A length of n bytes of 7 bits each is written in n bytes."""
    one = Resource(CLUSTER, "a", b"x" * length, "1")
    response = discovery_pb2.DiscoveryResponse.FromString(discovery_response(CLUSTER, "v", "7", [one]))

    assert length == len(response.resources[0].value)
