"""What a stream shares with others instead of keeping its own copy: it has to behave like a plain dict and set."""

from hypothesis import given
from hypothesis import strategies as st

from control_plane.overlaid import Overlaid, with_values
from control_plane.resource_types import CLUSTER
from control_plane.snapshot import Resource, Snapshot
from control_plane.xds import known
from control_plane.xds.known import Known, Names

NAMES = st.sampled_from([f"n{number}" for number in range(8)])
VERSIONS = st.sampled_from("123")
CONTENT = st.dictionaries(NAMES, VERSIONS)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), NAMES, VERSIONS),
        st.tuples(st.just("discard"), NAMES, st.just("")),
        st.tuples(st.just("settle"), CONTENT, st.just("")),
        st.tuples(st.just("replace"), CONTENT, st.just("")),
    ),
    max_size=30,
)


def _of(content: dict[str, str]) -> dict[str, Resource]:
    return {name: Resource(CLUSTER, name, b"", version) for name, version in content.items()}


@given(STEPS)
def test_known_is_a_dict(steps: list[tuple[str, object, str]]) -> None:
    """Whatever base it settles on, in whatever order."""
    tested, expected = Known(), {}
    for step, what, version in steps:
        if isinstance(what, str):
            if step == "set":
                tested[what] = Resource(CLUSTER, what, b"", version)
                expected[what] = version
            else:
                tested.discard(what)
                expected.pop(what, None)
        elif isinstance(what, dict):
            if step == "settle":
                tested._look_at = 0
                tested.settle_on(_of(what))
            else:
                tested.replace(_of(what).values())
                expected = dict(what)

    actual = {name: resource.version for name in tested if (resource := tested.get(name)) is not None}
    assert expected == actual
    assert len(expected) == len(tested)
    assert all((f"n{number}" in expected) == (f"n{number}" in tested) for number in range(9))


@given(STEPS)
def test_names_is_a_set(steps: list[tuple[str, object, str]]) -> None:
    """Whatever base it settles on, in whatever order."""
    tested = Names()
    expected: set[str] = set()
    for step, what, _ in steps:
        if isinstance(what, str):
            (tested.add if step == "set" else tested.discard)(what)
            (expected.add if step == "set" else expected.discard)(what)
        elif isinstance(what, dict):
            tested._look_at = 0
            tested.settle_on(_of(what))

    assert expected == set(tested)
    assert len(expected) == len(tested)
    assert all((f"n{number}" in expected) == (f"n{number}" in tested) for number in range(9))


def test_a_client_that_has_everything_keeps_nothing_of_its_own() -> None:
    """Ten thousand names and versions are those of the snapshot."""
    served = _of({f"n{number:05}": "1" for number in range(10_000)})
    held, wanted = Known(), Names(served)
    for resource in served.values():
        held[resource.name] = resource
    held.settle_on(served)
    wanted.settle_on(served)

    assert {} == held._over
    assert (set(), set()) == (wanted._extra, wanted._missing)


def test_settling_looks_at_everything_only_now_and_then() -> None:
    """One look for a part of everything that has changed."""
    served = _of({f"n{number:05}": "1" for number in range(6_400)})
    held = Known()
    held.replace(served.values())
    held.settle_on(served)
    looks = 0
    for number, (name, resource) in enumerate(list(served.items())[:1_000]):
        newer = Resource(CLUSTER, name, b"", "2")
        served = dict(served) if number % 100 == 0 else served
        served[name] = held[name] = newer
        before = held._over
        held.settle_on(served)
        looks += held._over is not before
        assert resource.version == "1"

    assert looks <= 1_000 // (6_400 // 32)


@given(CONTENT, st.lists(CONTENT, max_size=5))
def test_an_overlaid_mapping_is_a_dict(first: dict[str, str], others: list[dict[str, str]]) -> None:
    """Keys keep their places, new ones come last, values are the newest."""
    actual, expected = with_values(first, {}), dict(first)
    for values in others:
        actual = with_values(actual, values)
        expected.update(values)

    assert list(expected.items()) == list(actual.items())


def test_a_large_snapshot_with_one_change_shares_the_rest() -> None:
    """The change is all that is made, and all that is looked at to find it."""
    snapshot = Snapshot.of([Resource(CLUSTER, f"n{number:05}", b"", "1") for number in range(1_000)])
    first = snapshot.with_resource(Resource(CLUSTER, "n00007", b"", "2"))
    second = first.with_resource(Resource(CLUSTER, "n00008", b"", "2"))

    named = second.of_type(CLUSTER)
    assert isinstance(named, Overlaid)
    assert snapshot.of_type(CLUSTER) is named.base
    assert {CLUSTER: frozenset({"n00008"})} == second.changes_since(first)
    assert {CLUSTER: frozenset({"n00007", "n00008"})} == second.changes_since(snapshot)
    assert list(snapshot.of_type(CLUSTER)) == list(named)


def test_few_names_are_not_looked_at() -> None:
    """A stream of a small gateway keeps its own."""
    held = Known()
    served = _of({"a": "1"})
    held["a"] = served["a"]
    held.settle_on(served)

    assert known._FEW > 1
    assert served == held._over
