"""Paths, queries and headers that a request fills in, and nothing that breaks out of its place."""

from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.transform.facts import Facts
from ext_proc.transform.head import changed_query, filled, renames, target
from ext_proc.transform.headers import applied, merged
from ext_proc.transform.problems import UnusableError
from policy.path_template import path_template
from policy.processing import HeaderChanges
from policy.templates import template
from policy.transforms import Rules, Values


def facts(path: str = "/users/7?a=1", claims: dict[str, str] | None = None, **headers: str) -> Facts:
    fields = {":path": path, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return Facts(fields, claims or {}, "users", path_template("/users/{id}"))


def values(**kinds: Any) -> Values:
    templated = {
        kind: tuple((name, template(text)) for name, text in kinds[kind].items())
        for kind in kinds.keys() & {"set", "add"}
    }
    return Values(
        rename=tuple(kinds.get("rename", {}).items()),
        remove=tuple(kinds.get("remove", ())),
        **templated,
    )


@pytest.mark.parametrize(
    ("query", "rules", "expected"),
    [
        ("a=1&b=2", {"remove": ["a"]}, "b=2"),
        ("a=1&b=2&a=3", {"set": {"a": "x y&z"}}, "b=2&a=x+y%26z"),
        ("a=1", {"add": {"a": "2"}}, "a=1&a=2"),
        ("b=%20x&a", {"rename": {"a": "ü", "b": "c"}}, "c=%20x&%C3%BC"),
        ("%61=1&b=2", {"remove": ["a"]}, "b=2"),
        ("", {"set": {"id": "{path:id}"}}, "id=7"),
        ("id=mallory", {"set": {"id": "{claim:none}"}}, ""),
        ("a=1&&b", {"remove": ["c"]}, "a=1&&b"),
    ],
)
def test_queries(query: str, rules: dict[str, Any], expected: str) -> None:
    """Decoded names match; what no rule names keeps its spelling."""
    assert expected == changed_query(values(**rules), query, facts())


@given(st.text(st.characters(codec="utf-8")))
def test_a_value_is_one_parameter_and_one_segment(value: str) -> None:
    """Whatever a claim holds."""
    of = facts(claims={"c": value})
    query = changed_query(values(set={"c": "{claim:c}"}), "a=1", of)
    assert [("a", "1"), ("c", value)] == parse_qsl(query, keep_blank_values=True)
    try:
        path = target(Rules(path=template("/x/{claim:c}/y")), of)
    except UnusableError:
        assert value in ("", ".", "..")
        return
    assert path is not None
    assert ["", "x", value, "y"] == [unquote(segment) for segment in path.partition("?")[0].split("/")]
    assert path.endswith("?a=1")


def test_a_path_without_its_values_is_refused() -> None:
    """A claim that is not there must not leave a hole."""
    with pytest.raises(UnusableError, match="no claim tenant"):
        target(Rules(path=template("/x/{claim:tenant}")), facts())
    with pytest.raises(UnusableError, match="no path id"):
        target(Rules(path=template("/x/{path:id}")), facts("/other"))


def test_headers_are_renamed_then_set() -> None:
    """A field that has no value is removed, also where the client sent it; what would break the line is refused."""
    of = facts(claims={"sub": "Ü"}, x_old="1", x_tenant="forged", accept="a")
    rules = values(
        rename={"x-old": "x-new", "x-none": "x-none-new"},
        set={"x-sub": "{claim:sub}", "x-tenant": "{claim:tenant}", "x-a": "{header:accept}"},
        add={"x-old": "{route}", "x-gone": "{claim:tenant}"},
    )
    changes = merged(renames(rules, of.headers), filled(rules, of))

    assert {
        ":path": "/users/7?a=1",
        "x-new": "1",
        "x-sub": "Ã\x9c",
        "x-a": "a",
        "accept": "a",
        "x-old": "users",
    } == applied(changes, of.headers)
    with pytest.raises(UnusableError, match="control character"):
        filled(values(set={"x-a": "{query:a}"}), facts("/?a=%0d%0ax-b:1"))


def test_a_constant_removal_wins_over_a_rename() -> None:
    """rename, remove, set, add."""
    renamed = renames(values(rename={"x-a": "x-b"}), {"x-a": "1"})

    assert {} == applied(merged(renamed, HeaderChanges(remove=("x-b",))), {"x-a": "1"})
    assert {"x-a": "2", "x-b": "1"} == applied(merged(renamed, HeaderChanges(set=(("x-a", "2"),))), {"x-a": "1"})


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("/a/{b}", "/a/x", {"b": "x"}),
        ("/a/{b}", "/a/x/y", None),
        ("/a/{b}", "/a/", None),
        ("/a/{b*}", "/a/", {"b": ""}),
        ("/a/{b*}", "/a/x/y", {"b": "x/y"}),
        ("/{a}.{b}", "/x.y", {"a": "x", "b": "y"}),
        ("/{a}.{b}", "/x.y.z", {"a": "x", "b": "y.z"}),
        ("/{a}-{b}]{c}", "/1-2]3", {"a": "1", "b": "2", "c": "3"}),
        ("/{a}-{b}-{c}x", "/" + "-" * 100_000, None),
        ("/a.c/{b}", "/abc/x", None),
        ("/{a}", "/%C3%BC%2B", {"a": "ü+"}),
        ("/{a}", "/%ff", {"a": "\ufffd"}),
    ],
)
def test_path_templates(text: str, path: str, expected: dict[str, str] | None) -> None:
    """The whole path, segment by segment."""
    assert expected == path_template(text).match(path)
