"""The log of purges and changes: what was read, what may have been missed, and purges as text."""

import pytest

from ext_proc.redis_log import Logged, Reader, ban_of, ban_text, logged, position_of
from policy.cache_key import cache_uri
from policy.purge import ByPrefix, ByTag, ByUri, Everything, Purge


@pytest.mark.parametrize(
    ("position", "length", "first", "last", "expected"),
    [
        ((5, 0), 3, (4, 0), (9, 0), False),  # what was read last is still there
        ((5, 0), 3, (6, 0), (9, 0), False),  # a short log was never cut: this is another one, from its beginning
        ((5, 0), 10, (6, 0), (20, 0), True),  # cut behind what was read
        ((5, 0), 0, (0, 0), (0, 0), False),  # emptied
        ((5, 0), 10, (2, 0), (4, 0), False),  # a failover lost the end of it
    ],
)
def test_what_may_have_been_missed(
    position: tuple[int, int], length: int, first: tuple[int, int], last: tuple[int, int], expected: bool
) -> None:
    """Only a log that was cut hides something that others know."""
    reader = Reader(b"log", most=10, position=position, is_begun=True)

    assert expected is reader.begin(length, first, last)
    assert reader.position <= max(last, position)


def test_a_new_reader_has_missed_nothing() -> None:
    """It has nothing in memory that somebody could have forgotten."""
    assert not Reader(b"log", most=10).begin(10, (6, 0), (20, 0))


@pytest.mark.parametrize(
    "what",
    [
        ByTag("t"),
        ByPrefix("https", "h", "/a\nb"),
        ByPrefix("", "", "/a"),
        ByUri(cache_uri("http", "h", "/\u00e9")),
        Everything(),
    ],
)
def test_purges_as_text(what: Purge) -> None:
    """What is written is what is read."""
    kind, value = ban_text(what)

    assert what == ban_of(Logged((1, 0), {b"k": kind.encode(), b"v": value.encode()}))


def test_entries_of_other_versions() -> None:
    """They are passed over."""
    assert ban_of(Logged((1, 0), {b"k": b"header", b"v": b"x"})) is None
    assert ban_of(Logged((1, 0), {})) is None


def test_both_forms_of_a_stream() -> None:
    """As redis-py parses entries, and as they come from a script."""
    assert logged([(b"5-1", {b"k": b"all"})]) == logged([[b"5-1", [b"k", b"all"]]])
    assert ((5, 1), (7, 0)) == (position_of(b"5-1"), position_of(b"7"))
