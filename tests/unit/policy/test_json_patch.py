"""RFC 6902 and RFC 7396."""

import pytest

from policy.json_patch import Json, merged, operation, operations, patched


def applied(document: Json, op: str, path: str, value: Json, source: str | None = None) -> Json:
    members = {"value": value} | ({"from": source} if source is not None else {})
    return patched(document, [operation(op, path, members)])


@pytest.mark.parametrize(
    ("document", "op", "path", "value", "source", "expected"),
    [
        ({"a": 1}, "add", "/b", 2, None, {"a": 1, "b": 2}),
        ({"a": [1, 3]}, "add", "/a/1", 2, None, {"a": [1, 2, 3]}),
        ({"a": [1]}, "add", "/a/-", 2, None, {"a": [1, 2]}),
        ({"a": 1}, "add", "", {"b": 2}, None, {"b": 2}),
        ({"a": 1}, "replace", "", [1], None, [1]),
        ({"a": 1}, "move", "/a", None, "/a", {"a": 1}),
        ({"": {"": 1}}, "remove", "//", None, None, {"": {}}),
        ({"a": {"b": 1}}, "remove", "/a/b", None, None, {"a": {}}),
        ({"a": [1, 2]}, "remove", "/a/0", None, None, {"a": [2]}),
        ({"a/b": 1, "m~n": 2}, "replace", "/a~1b", 3, None, {"a/b": 3, "m~n": 2}),
        ({"a/b": 1, "m~n": 2}, "remove", "/m~0n", None, None, {"a/b": 1}),
        ({"a": {"b": 1}}, "move", "/c", None, "/a/b", {"a": {}, "c": 1}),
        ({"a": {"b": 1}}, "copy", "/c", None, "/a", {"a": {"b": 1}, "c": {"b": 1}}),
        ({"a": [1, {"b": None}]}, "test", "/a/1", {"b": None}, None, {"a": [1, {"b": None}]}),
    ],
)
def test_operations(document: Json, op: str, path: str, value: Json, source: str | None, expected: Json) -> None:
    """The operations of RFC 6902 section 4."""
    assert expected == applied(document, op, path, value, source)


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
        ("test", "/list/0", True),
        ("replace", "/list/-", 1),
        ("invent", "/list", 1),
    ],
)
def test_what_does_not_apply_is_an_error(op: str, path: str, value: Json) -> None:
    """A path that leads nowhere, an index out of range and a failed test stop the patch."""
    document: Json = {"list": [1, 2]}

    with pytest.raises((LookupError, ValueError)):
        applied(document, op, path, value)


@pytest.mark.parametrize(
    ("patch", "told"),
    [
        ({"op": "add"}, "a list"),
        (["add"], "an object"),
        ([{"op": "insert", "path": "/a"}], "no operation"),
        ([{"op": "add", "path": "/a"}], "value is missing"),
        ([{"op": "move", "path": "/a"}], "from is missing"),
        ([{"op": "remove"}], "path is missing"),
        ([{"op": "remove", "path": "a"}], "begins with /"),
        ([{"op": "remove", "path": "/a~2"}], "~0"),
        ([{"op": "move", "from": "/a", "path": "/a/b"}], "inside"),
    ],
)
def test_what_is_no_patch_is_refused(patch: Json, told: str) -> None:
    """Before any document is there."""
    with pytest.raises(ValueError, match=told):
        operations(patch)


@pytest.mark.parametrize(
    ("document", "patch", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patches(document: Json, patch: Json, expected: Json) -> None:
    """The table of RFC 7396, appendix A."""
    assert expected == merged(document, patch)
