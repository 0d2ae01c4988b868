"""Purges that one process holds: everything they name until their place in the log is known, then what is older."""

import pytest

from ext_proc.redis_purges import HeldPurges
from policy.cache_key import cache_uri
from policy.purge import ByPrefix, ByTag, ByUri, Everything, Purge

URI = cache_uri("https", "h", "/a")


@pytest.mark.parametrize("what", [ByTag("t"), ByPrefix("", "", "/a"), ByUri(URI), Everything()])
def test_a_purge_that_redis_has_not_taken(what: Purge) -> None:
    """It covers all that it names, however new."""
    purges = HeldPurges(10)
    purges.hold("p", what)

    assert purges.covers(URI, ("t",), (99, 0))
    assert not purges.is_settled


def test_what_is_begun_once_its_place_is_known() -> None:
    """It is not what was purged, though the log was not read so far."""
    purges = HeldPurges(10)
    purges.hold("p", ByTag("t"))
    begun_before = purges.known
    purges.place("p", ByTag("t"), (5, 0), read_to=(4, 0))

    assert (5, 0) == purges.known
    assert purges.covers(URI, ("t",), begun_before)
    assert not purges.covers(URI, ("t",), purges.known)


def test_memory_forgets_once() -> None:
    """Not again when the log brings what this process was told of, in whatever order; at once what others did."""
    purges = HeldPurges(10)
    purges.hold("placed", ByTag("t"))
    purges.place("placed", ByTag("t"), (5, 0), read_to=(4, 0))
    purges.hold("read first", ByTag("u"))

    assert not purges.read("placed", ByTag("t"), (5, 0))
    assert not purges.read("read first", ByTag("u"), (6, 0))
    assert purges.read("another's", ByTag("v"), (7, 0))
    assert not purges.covers(URI, ("u",), (6, 0))
    assert purges.is_settled


def test_one_that_was_done_long_ago() -> None:
    """The log will not bring it again, so nothing is kept of it."""
    purges = HeldPurges(10)
    purges.hold("p", Everything())
    purges.place("p", Everything(), (5, 0), read_to=(9, 0))

    assert purges.is_settled
    assert not purges.covers(URI, (), (5, 0))


def test_another_log() -> None:
    """What is begun then is only as new as that one: too much is forgotten, never too little."""
    purges = HeldPurges(10)
    purges.place("p", ByTag("t"), (50, 0), read_to=(4, 0))
    purges.begin((3, 0))
    purges.read("q", ByTag("u"), (4, 0))

    assert (4, 0) == purges.known
    assert purges.covers(URI, ("u",), (3, 0))
    assert purges.is_settled
