"""RFC 6902."""

import pytest

from control_plane import resource_types
from control_plane.translate import translate
from control_plane.translate.patches import PatchError
from control_plane.translate.rendering import rendered_resource
from tests.unit.control_plane.translate.gateways import gateway


def test_patches_are_applied_in_their_order() -> None:
    """A later patch sees what an earlier one did."""
    snapshot = translate(
        gateway(
            """
envoy_patches:
  - {type: clusters, name: users, op: add, path: /alt_stat_name, value: one}
  - {type: clusters, name: users, op: test, path: /alt_stat_name, value: one}
  - {type: clusters, name: users, op: replace, path: /alt_stat_name, value: two}
"""
        ),
        {},
        {},
    )

    assert "two" == rendered_resource(snapshot.of_type(resource_types.CLUSTER)["users"])["alt_stat_name"]


@pytest.mark.parametrize(
    ("patch", "told"),
    [
        ("{type: clusters, name: nobody, op: remove, path: /x}", "there is no clusters resource 'nobody'"),
        ("{type: clusters, name: users, op: add, path: /nmae, value: x}", "has no field 'nmae'"),
        ("{type: clusters, name: users, op: remove, path: /nmae}", "there is no 'nmae'"),
    ],
)
def test_faulty_patches_are_told(patch: str, told: str) -> None:
    """A patch that does not apply is an error that names the resource and the reason."""
    with pytest.raises(PatchError, match=told):
        translate(gateway(f"envoy_patches: [{patch}]"), {}, {})
