"""A file that is read again after an edit gives what reading all of it gives."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.config.reading import read_document
from control_plane.config.rereading import Documents
from control_plane.config.tree import Items, Keys, Node, locate, texts

TEXT = """\
version: 1
name: shop

# services
services:
  users: {endpoints: [{address: 10.0.0.1, port: 80}]}
  events:
    endpoints:
      - address: 10.0.0.2
        port: 80

  orders:
    dns: {host: orders, port: 80}
defaults: {auth: none}
routes:
  - name: one
    match: {path_prefix: /one}
    direct_response:
      body: |+
        text

  - {name: two, match: {path: /two}, service: users}
  # a comment
  - name: three
    match:
      path: "/three
        and more"
    service: events
rate_limits:
  few: {rate: 10/minute, key: [client_ip]}
"""
LINES = [
    *TEXT.split("\n"),
    *("routes:", "services:", "- x", "  - name: new", "    more: 1", "'", '"', "  - [", "  ]", "  new: {a: 1}", "---"),
    *(
        "  - |",
        "      text",
        "   odd: 1",
        "\t- tab",
        "  - *a",
        "  - &a b",
        "  <<: {a: 1}",
        "...",
        "  -",
        "- ",
        "  users: 1",
    ),
]


def positions(root: Node) -> dict[object, object]:
    """Where every value and its key stand, as faults and warnings tell it."""
    found: dict[object, object] = {}
    for path, text in texts(root):
        for length in range(len(path) + 1):
            place = locate(root, path[:length])
            found[path[:length]] = (place.at, place.key_at)
        found["text", path] = text.text
    return found


def same(documents: Documents, text: str) -> None:
    read, whole = documents.read("f", text.encode()), read_document("f", text.encode())
    assert whole.faults == read.faults
    assert (whole.root is None) == (read.root is None)
    if whole.root is not None and read.root is not None:
        assert positions(whole.root) == positions(read.root)


def section(documents: Documents, text: str, key: str) -> Node:
    root = documents.read("f", text.encode()).root
    assert root is not None
    return root.entries[key].value


def test_entries_that_have_not_changed_are_the_same_nodes() -> None:
    """Before and behind the edit, and in other sections, though they have moved."""
    documents = Documents()
    routes, services = (section(documents, TEXT, key) for key in ("routes", "services"))
    edited = TEXT.replace("dns: {host: orders, port: 80}", "dns:\n      host: other\n      port: 80")

    again, others = (section(documents, edited, key) for key in ("routes", "services"))

    assert isinstance(routes, Items)
    assert isinstance(again, Items)
    assert all(one is other for one, other in zip(routes.items, again.items, strict=True))
    assert isinstance(services, Keys)
    assert isinstance(others, Keys)
    unchanged = [name for name in services.entries if services.entries[name].value is others.entries[name].value]
    assert ["users", "events"] == unchanged
    same(documents, edited)


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        ("name: two", "name: second", [0, None, 2]),
        ("  - name: three", "  - {name: new}\n  - name: three", [0, 1, None, None]),
        ("  - {name: two, match: {path: /two}, service: users}\n", "", [None, 2]),
        ("    service: events\n", "    service: events\n    timeout: 1s\n", [0, 1, None]),
        ("  - name: one\n", "  - {name: first}\n  - name: one\n", [None, None, 1, 2]),
        # The edit begins inside an entry and makes it another one; what is not sure is read as a whole.
        ("    direct_response:", "  - direct_response:", [None, None, 1, 2]),
    ],
)
def test_only_edited_entries_are_read_again(old: str, new: str, kept: list[int | None]) -> None:
    """By the place that a node had before."""
    documents = Documents()
    before = section(documents, TEXT, "routes")
    after = section(documents, TEXT.replace(old, new), "routes")

    assert isinstance(before, Items)
    assert isinstance(after, Items)
    known = {id(node): place for place, node in enumerate(before.items)}
    places = [known.get(id(node)) for node in after.items]
    assert [place for place in kept if place is not None] == [place for place in places if place is not None]
    same(documents, TEXT.replace(old, new))


edits = st.lists(
    st.tuples(st.integers(0, len(LINES)), st.integers(0, 3), st.lists(st.sampled_from(LINES), max_size=3)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(edits)
def test_any_edits_give_what_reading_the_whole_gives(edits: list[tuple[int, int, list[str]]]) -> None:
    """Values, places of values and faults, one edit after the other, also of a file that has become faulty."""
    documents, lines = Documents(), TEXT.split("\n")
    same(documents, TEXT)
    for place, removed, added in edits:
        lines[place : place + removed] = added
        same(documents, "\n".join(lines))
        if not documents.read("f", "\n".join(lines).encode()).root:
            lines = TEXT.split("\n")
