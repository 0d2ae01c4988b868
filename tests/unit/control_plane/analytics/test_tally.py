"""Counting between two flushes: exact totals, bounded names."""

from control_plane.analytics.entries import OTHER, Key
from control_plane.analytics.tally import Call, Caller, Place, Sums, Tally
from tests.unit.control_plane.analytics.samples import DEPRECATION, one


def test_requests_are_counted_by_their_key() -> None:
    """With their bytes."""
    tally = Tally(10)
    for status in (200, 200, 404):
        tally.add(one(status=status), 1.0)
    usage = tally.drain().usage

    assert {200: Sums(2, 20), 404: Sums(1, 10)} == {key.status: sums for key, sums in usage.items()}


def test_draining_begins_anew() -> None:
    """What has been taken is not counted twice."""
    tally = Tally(10)
    tally.add(one(), 1.0)

    assert (1, 0) == (tally.drain().entries, tally.drain().entries)


def test_too_many_consumers_are_counted_together() -> None:
    """The frequent one keeps its name, and the sum is exact."""
    tally = Tally(5)
    for number in range(1000):
        tally.add(one(f"user:{number}"), 1.0)
        if number % 3 == 0:
            tally.add(one("user:alice"), 1.0)
    usage = tally.drain().usage

    assert 1334 == sum(sums.requests for sums in usage.values())
    assert 6 >= len(usage)
    assert Sums(334, 3340) == usage[Key("edge", "user:alice", "users", "v1", 200)]
    assert OTHER in {key.consumer for key in usage}


def test_latency_is_kept_by_route_and_version() -> None:
    """Whoever called."""
    tally = Tally(10)
    tally.add(one("user:a"), 1.0)
    tally.add(one("user:b"), 1.0)
    tally.add(one(version="v2"), 1.0)

    assert {Place("edge", "users", "v1"): 2, Place("edge", "users", "v2"): 1} == {
        place: sum(bins.values()) for place, bins in tally.drain().latency.items()
    }


def test_callers_of_what_is_deprecated_are_remembered() -> None:
    """How often and when last; others are not."""
    tally = Tally(10)
    tally.add(one(deprecation=DEPRECATION), 1.0)
    tally.add(one(deprecation=DEPRECATION), 7.0)
    tally.add(one("user:bob", route="new"), 8.0)
    batch = tally.drain()
    place = Place("edge", "users", "v1")

    assert {place: DEPRECATION} == batch.deprecations
    assert {Caller(place, "user:alice"): Call(2, 7.0)} == batch.callers


def test_a_rare_caller_of_what_is_deprecated_is_not_lost_among_others() -> None:
    """It is the one that has to be told before the end; only the oldest of too many are forgotten."""
    tally = Tally(3)
    for number in range(5):
        tally.add(one(f"user:{number}", deprecation=DEPRECATION), float(number))

    assert ["user:2", "user:3", "user:4"] == [caller.consumer for caller in tally.drain().callers]
