"""Whatever stands in a file, loading it ends with a Gateway or with faults."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.config.loading import load
from tests.unit.control_plane.config.documents import MemoryFiles, document, loaded

_SOUND = document()
_WORDS = st.text("*&<[]{}~$!#|>'\"?%:-, \t\n\x85\x00é01", min_size=1, max_size=3) | st.sampled_from(
    ["null", "none", "${A}", "&a", "*a", "services", "routes", "auth", "match", "hosts", "x-", "- ", ": ", "\n  "]
)


def _check(text: str) -> None:
    result = loaded(text)

    assert (result.gateway is None) == bool(result.faults)
    assert all(fault.message and "\n" not in str(fault) for fault in result.faults)


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    """Arbitrary text never raises."""
    _check(text)


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_any_bytes(content: bytes) -> None:
    """Neither do arbitrary bytes."""
    result = load("f", MemoryFiles({"f": content}), {})

    assert (result.gateway is None) == bool(result.faults)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(_SOUND)), st.lists(_WORDS, min_size=1, max_size=4), st.integers(0, 12))
def test_damaged_documents(place: int, words: list[str], removed: int) -> None:
    """A sound document with something cut out and something else put in never raises."""
    _check(_SOUND[:place] + "".join(words) + _SOUND[place + removed :])


_SCALARS = st.one_of(
    st.sampled_from(["", "none", "true", "1", "-1", "5s", "1KiB", "1/day", "/a", "*", "a", "jwt.main"])
)
_TREES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "path", "key", "a"]), inner),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(
        ["listeners", "services", "auth", "rate_limits", "defaults", "callouts", "stores", "routes", "name"]
    ),
    st.sampled_from(["", "users", "jwt", "cache", "retry", "transform", "match", "auth", "ext_authz", "by"]),
    _TREES,
)
def test_wrong_shapes(section: str, key: str, tree: object) -> None:
    """Any value in the place of any section never raises."""
    value = {key: tree} if key else tree
    _check(document(**{section: f"{section}: {json.dumps(value)}"}))
    _check(document(routes="routes: " + json.dumps([{"name": "r", key or "match": tree, "service": "users"}])))
