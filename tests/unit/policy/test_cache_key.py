"""Two requests share a key exactly if they may share a response."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.cache_key import QueryRules, cache_uri, entry_key, normalised_value, primary_key, sorted_query

PARTS = st.text(alphabet="a:1&=,-?/", max_size=6)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("http", "EXAMPLE.com", "/a"), ("http", "example.com", "/a")),
        (("http", "example.com:80", "/a"), ("http", "example.com", "/a")),
        (("https", "example.com:443", "/a"), ("https", "example.com", "/a")),
        (("http", "h", "/a?b=1&a=2"), ("http", "h", "/a?a=2&b=1")),
    ],
)
def test_equal_uris_share_a_key(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    """Case of the host, its default port and the order of parameters make no difference."""
    assert cache_uri(*one) == cache_uri(*other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("http", "h", "/a"), ("https", "h", "/a")),
        (("http", "h:443", "/a"), ("http", "h", "/a")),
        (("http", "h", "/a"), ("http", "h", "/A")),
        (("http", "h", "/a"), ("http", "h", "/a?")),
        (("http", "h", "/a?x=1%26y=2"), ("http", "h", "/a?x=1&y=2")),
        (("http", "h", "/a?x=1&x=2"), ("http", "h", "/a?x=2&x=1")),
        (("http", "h", "/a?x"), ("http", "h", "/a?x=")),
    ],
)
def test_different_uris_do_not_share_a_key(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    """Nothing is decoded, and the order of equal names counts."""
    assert cache_uri(*one) != cache_uri(*other)


def test_parameters_are_sorted_by_undecoded_name_and_stably() -> None:
    """Values never decide the order."""
    assert "a=9&a=1&b&b=0&c=" == sorted_query("c=&b&a=9&b=0&a=1")


@given(st.tuples(PARTS, PARTS, PARTS), st.tuples(PARTS, PARTS, PARTS))
def test_separators_inside_values_cannot_make_keys_collide(
    one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    """Parts are length-prefixed: equal keys have equal parts."""
    namespace, identity, value = one
    uri = cache_uri("http", "h", "/")
    first = entry_key(primary_key(namespace, uri), identity, [("accept", value)])
    namespace, identity, value = other
    second = entry_key(primary_key(namespace, uri), identity, [("accept", value)])

    assert (one == other) == (first == second)


def test_an_absent_header_is_not_an_empty_one() -> None:
    """Both select variants of their own."""
    assert entry_key("p", "", [("accept", None)]) != entry_key("p", "", [("accept", "")])


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("accept-language", "de ,  EN", "de,en"),
        ("x-tenant", " A , b ", "A,b"),
        ("x-tenant", " Acme ", "Acme"),
    ],
)
def test_values_are_normalised(name: str, value: str, expected: str) -> None:
    """Spaces around commas never count, letter case only where the field's grammar says so."""
    assert expected == normalised_value(name, value)


@pytest.mark.parametrize(
    ("rules", "path", "expected"),
    [
        (QueryRules(False, ("utm_*", "fbclid")), "/a?utm_source=x&page=2&fbclid=1", "/a?page=2"),
        (QueryRules(False, ("utm_*",)), "/a?utm_source=x", "/a"),
        (QueryRules(False, ("utm_*",)), "/a?xutm_a=1&UTM_a=1&utm%5Fa=1", "/a?xutm_a=1&UTM_a=1&utm%5Fa=1"),
        (QueryRules(True, ("page",)), "/a?page=2&x=1&page=3&page", "/a?page=2&page=3&page"),
        (QueryRules(True, ()), "/a?page=2", "/a"),
        (QueryRules(True, ("*",)), "/a?b&c=", "/a?b&c="),
        (QueryRules(True, ("page",)), "/a", "/a"),
    ],
)
def test_parameters_that_are_part_of_the_key(rules: QueryRules, path: str, expected: str) -> None:
    """Exact names and those with a final star; nothing is decoded, and order stays."""
    assert expected == rules.applied(path)


@given(st.booleans(), st.lists(PARTS, max_size=4))
def test_what_does_not_count_changes_nothing_else(allow: bool, parameters: list[str]) -> None:
    """The counted parameters stay as they are and in order; applied again, nothing changes."""
    parameters = [each.replace("&", "").replace("?", "") or "a" for each in parameters]
    rules = QueryRules(allow, ("a", "1*"))
    path = rules.applied("/p?" + "&".join(parameters))

    assert path.partition("?")[2].split("&") == ([each for each in parameters if rules.keeps(each)] or [""])
    assert path == rules.applied(path)
