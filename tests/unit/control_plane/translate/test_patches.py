"""RFC 6902."""

import pytest

from control_plane import resource_types
from control_plane.translate import translate
from control_plane.translate.patches import PatchError, apply
from control_plane.translate.plain import Plain
from control_plane.translate.rendering import rendered_resource
from tests.unit.control_plane.translate.gateways import gateway


@pytest.mark.parametrize(
    ("document", "op", "path", "value", "source", "expected"),
    [
        ({"a": 1}, "add", "/b", 2, None, {"a": 1, "b": 2}),
        ({"a": [1, 3]}, "add", "/a/1", 2, None, {"a": [1, 2, 3]}),
        ({"a": [1]}, "add", "/a/-", 2, None, {"a": [1, 2]}),
        ({"a": 1}, "add", "", {"b": 2}, None, {"b": 2}),
        ({"a": {"b": 1}}, "remove", "/a/b", None, None, {"a": {}}),
        ({"a": [1, 2]}, "remove", "/a/0", None, None, {"a": [2]}),
        ({"a/b": 1, "m~n": 2}, "replace", "/a~1b", 3, None, {"a/b": 3, "m~n": 2}),
        ({"a/b": 1, "m~n": 2}, "remove", "/m~0n", None, None, {"a/b": 1}),
        ({"a": {"b": 1}}, "move", "/c", None, "/a/b", {"a": {}, "c": 1}),
        ({"a": {"b": 1}}, "copy", "/c", None, "/a", {"a": {"b": 1}, "c": {"b": 1}}),
        ({"a": [1, {"b": None}]}, "test", "/a/1", {"b": None}, None, {"a": [1, {"b": None}]}),
    ],
)
def test_operations(document: Plain, op: str, path: str, value: Plain, source: str | None, expected: Plain) -> None:
    """The operations of RFC 6902 section 4."""
    assert expected == apply(document, op, path, value, source)


@pytest.mark.parametrize(
    ("op", "path", "value"),
    [
        ("remove", "/none", None),
        ("replace", "/none", 1),
        ("add", "/list/3", 1),
        ("add", "/list/01", 1),
        ("add", "/none/deeper", 1),
        ("add", "no-slash", 1),
        ("test", "/list/0", 2),
        ("invent", "/list", 1),
    ],
)
def test_what_does_not_apply_is_an_error(op: str, path: str, value: Plain) -> None:
    """A path that leads nowhere, an index out of range and a failed test stop the patch; nothing is changed."""
    document: Plain = {"list": [1, 2]}

    with pytest.raises((LookupError, ValueError)):
        apply(document, op, path, value)
    assert {"list": [1, 2]} == document


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
