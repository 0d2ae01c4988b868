"""Purges as bans: what was begun before one is covered by it for ever."""

from ext_proc.cache.bans import Bans
from policy.cache_key import cache_uri
from policy.purge import ByPrefix, ByTag, ByUri, Everything

URI = cache_uri("https", "h", "/a/b")


def test_what_a_ban_covers() -> None:
    """Fills that were begun before it, by tag, prefix, URI or all; not those that knew of it."""
    bans = Bans()
    bans.add((3, 0), ByUri(cache_uri("https", "h", "/u")))
    bans.add((5, 0), ByTag("t"))
    bans.add((6, 0), ByPrefix("https", "h", "/a"))

    assert bans.covers(URI, ("t",), (4, 9))
    assert bans.covers(URI, (), (5, 0))
    assert not bans.covers(URI, ("t",), (6, 0))
    assert not bans.covers(cache_uri("https", "h", "/b"), ("u",), (0, 0))
    assert bans.covers(cache_uri("https", "h", "/u"), (), (2, 0))
    assert not bans.covers(cache_uri("https", "h", "/u"), (), (3, 0))
    bans.add((7, 1), Everything())
    assert bans.covers(cache_uri("https", "h", "/b"), (), (7, 0))
    assert not bans.covers(URI, ("t",), (7, 1))


def test_a_ban_that_is_repeated_is_one() -> None:
    """The later position counts, in whatever order they come."""
    bans = Bans()
    for position in (1, 3, 2):
        bans.add((position, 0), ByTag("t"))

    assert 1 == len(bans)
    assert bans.covers(URI, ("t",), (2, 0))


def test_too_many_bans() -> None:
    """The older half becomes one that covers everything: too much is forgotten, never too little."""
    bans = Bans(most=10)
    for number in range(1, 101):
        bans.add((number, 0), ByTag(str(number)))

        assert len(bans) <= 10
        assert bans.covers(URI, (str(number),), (number - 1, 0))
        assert bans.covers(URI, ("1",), (0, 0))
    assert not bans.covers(URI, ("1",), (100, 0))


def test_bans_whose_entries_are_gone() -> None:
    """They are dropped without covering anything else."""
    bans = Bans()
    bans.add((1, 0), ByTag("t"))
    bans.forget((1, 0))

    assert (0, False) == (len(bans), bans.covers(URI, ("t",), (0, 0)))
