"""Which snapshots were served, and what differs between any two."""

import random

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from control_plane.history import History, UnknownGenerationError
from control_plane.resource_types import CLUSTER, CLUSTER_LOAD_ASSIGNMENT, SECRET
from control_plane.snapshot import Resource, Snapshot

EMPTY = Snapshot({})


def _snapshot(**contents: str) -> Snapshot:
    return Snapshot.of(_resource(CLUSTER, name, text) for name, text in contents.items())


def _resource(type_url: str, name: str, text: str) -> Resource:
    body = StringValue(value=text).SerializeToString()
    return Resource(type_url, name, body, text, frozenset())


def _history(snapshots: list[Snapshot], **bounds: int) -> History:
    history = History(**bounds)
    before = EMPTY
    for generation, after in enumerate(snapshots, 1):
        history.note(generation, 1000.0 + generation, before, after, after.changes_since(before))
        before = after
    return history


def test_any_two_can_be_compared() -> None:
    """What came and went in between is no difference."""
    history = _history([_snapshot(a="1", b="1"), _snapshot(a="2", b="1", c="1"), _snapshot(a="1", b="2")])

    assert {"b": "changed"} == {name: one.kind for (_, name), one in history.difference(1, 3).items()}
    assert {"a": "changed", "c": "added"} == {name: one.kind for (_, name), one in history.difference(1, 2).items()}
    assert {"a": "added", "b": "added"} == {name: one.kind for (_, name), one in history.difference(0, 1).items()}
    assert {} == history.difference(2, 2)
    with pytest.raises(UnknownGenerationError):
        history.difference(1, 9)


def test_differences_are_those_of_the_snapshots() -> None:
    """For random histories, against comparing the snapshots themselves."""
    chance = random.Random(7)
    snapshots = [
        _snapshot(**{name: chance.choice("123") for name in "abcde" if chance.random() < 0.7}) for _ in range(30)
    ]
    history = _history(snapshots)
    for older in range(30):
        for newer in range(older, 30):
            expected = snapshots[newer].changes_since(snapshots[older]).get(CLUSTER, frozenset())
            assert expected == {name for _, name in history.difference(older + 1, newer + 1)}


def test_endpoints_do_not_push_a_configuration_out() -> None:
    """Runs of them are joined when there is no room; differences across them stay right."""
    base = _snapshot(a="1")
    snapshots = [base]
    for number in range(50):
        snapshots.append(snapshots[-1].with_resource(_resource(CLUSTER_LOAD_ASSIGNMENT, f"e{number % 3}", str(number))))
    history = _history(snapshots, most_entries=10)
    entries = history.entries()

    assert (True, 1, 51) == (len(entries) <= 10, entries[-1].generation, entries[0].generation)
    assert (2, True) == (entries[-2].first_generation, entries[-2].is_minor)
    assert {"e0", "e1", "e2"} == {name for _, name in history.difference(1, 51)}


def test_bytes_are_bounded() -> None:
    """However few entries there are; the newest always stays."""
    history = _history([_snapshot(a=str(number) * 10_000) for number in range(20)], most_bytes=100_000)

    assert 1 < len(history.entries()) < 10
    assert 20 == history.entries()[0].generation


def test_secrets_are_not_kept() -> None:
    """Only that they changed."""
    one, other = (Snapshot.of([_resource(SECRET, "key", text)]) for text in ("first secret", "second secret"))
    history = _history([one, other])
    (change,) = history.difference(1, 2).values()

    assert "changed" == change.kind
    assert b"" == (change.before.body if change.before else None) == (change.after.body if change.after else None)
