"""Places of JSONPaths: what the library finds, found by steps that were compiled once."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonpath import JSONPathEnvironment

from policy.json_path import Query

_names = st.sampled_from(["a", "b", "c"])
_scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=2)
_documents = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3),
    max_leaves=12,
)
_segments = st.sampled_from(
    [".a", ".b", "['c']", "[0]", "[-1]", "[2]", "[*]", ".*", "..a", "..[0]", "..*", "[0:2]", "[?@.a]", "['a','b']"]
)


@given(_documents, st.lists(_segments, min_size=1, max_size=3))
def test_places_are_those_of_the_library(document: Any, segments: list[str]) -> None:
    """In the same order; RFC 9535 leaves no choice but the order of an object's members."""
    text = "$" + "".join(segments)
    found = JSONPathEnvironment(strict=True).compile(text).finditer(document)

    expected = [(id(each.parent.obj), each.parts[-1]) for each in found if each.parent is not None]

    assert expected == [(id(parent), key) for parent, key in Query(text).places(document)]


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("$.a['b'][0][-1]", ("a", "b", 0, -1)),
        ("$.a[*]", None),
        ("$..a", None),
        ("$['a','b']", None),
        ("$[0:1]", None),
        ("$[?@.a]", None),
    ],
)
def test_one_member_only(text: str, steps: tuple[str | int, ...] | None) -> None:
    """Only a path of names and indices says which members may have to be made."""
    assert steps == Query(text).steps


def test_depth() -> None:
    """A document as deep as the parser takes costs no recursion."""
    document: Any = {"a": 1}
    for _ in range(5_000):
        document = [document]

    (place,) = Query("$..a").places(document)

    assert ({"a": 1}, "a") == place


@pytest.mark.parametrize(
    ("text", "reason"),
    [("$", "the whole document"), ("$.a[", "is not a JSONPath"), ("$.a | $.b", "is not a JSONPath")],
)
def test_refused(text: str, reason: str) -> None:
    """At load time, with an example."""
    with pytest.raises(ValueError, match=reason):
        Query(text)
