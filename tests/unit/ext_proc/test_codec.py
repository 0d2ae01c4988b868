"""Entries as octets: what comes back is what went in, and nothing else ever comes back."""

import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.cache.codec import BEGINNING, MAGIC, UNTIL, GarbageError, decoded, encoded, lead
from ext_proc.cache.entry import Entry
from ext_proc.cache.freshness import Lifetime
from policy.cache_key import cache_uri
from tests.unit.ext_proc.rules import NOW, stored

URI = cache_uri("http", "h", "/a")
LEAD = slice(14, 20)
SECONDS = st.floats(0, 2**31)
VALUES = st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=20)
FIELDS = st.lists(st.tuples(st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True), VALUES), max_size=5)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    def fields() -> str:
        return "\n".join([part for pair in draw(FIELDS) for part in pair])

    return Entry(
        status=draw(st.integers(200, 599)),
        fields=fields(),
        body=draw(st.binary(max_size=100)) * draw(st.sampled_from([1, 50])),
        origin_fields=fields(),
        lifetime=Lifetime(draw(SECONDS), draw(st.booleans()), draw(SECONDS), draw(SECONDS)),
        initial_age_s=draw(SECONDS),
        received_at=draw(SECONDS),
        always_revalidate=draw(st.booleans()),
        never_stale=draw(st.booleans()),
        shareable=draw(st.booleans()),
        tags=tuple(draw(st.lists(st.from_regex(r"[!-~]{1,8}", fullmatch=True), max_size=3))),
    )


@given(entries(), st.integers(0, 2**63), st.integers(0, 2**63))
def test_round_trip(entry: Entry, milliseconds: int, count: int) -> None:
    """Every field, and the position."""
    uri = cache_uri("http", "h", "/caf\u00e9")
    octets = encoded(entry, (milliseconds, count), uri)
    found, position = decoded(octets)
    told = lead(octets[: int(octets[LEAD])])

    names = [name for name in Entry.__slots__ if name != "memo"]
    assert [getattr(entry, name) for name in names] == [getattr(found, name) for name in names]
    assert (milliseconds, count) == position == told.position
    assert (uri, entry.tags) == (told.uri, told.tags)


@given(st.binary(max_size=300))
def test_any_octets(octets: bytes) -> None:
    """They are garbage, and nothing else happens; also with a right magic and checksum."""
    rest = octets
    crc = zlib.crc32(rest).to_bytes(4, "little")
    for data in (octets, MAGIC + octets, MAGIC + b"9999999999" + b"000024" + crc + rest):
        with pytest.raises(GarbageError):
            decoded(data)
        with suppress(GarbageError):
            lead(data)


@given(st.data())
def test_damage(data: st.DataObject) -> None:
    """One octet that changed, or some that are missing, are noticed."""
    good = encoded(stored({"cache-control": "max-age=60"}, body=b"x" * 2000), (1, 2), URI)
    place = data.draw(st.integers(BEGINNING.stop, len(good) - 1))
    damaged = bytearray(good)
    damaged[place] ^= data.draw(st.integers(1, 255))
    for each in (bytes(damaged), good[:place]):
        with pytest.raises(GarbageError):
            decoded(each)


@pytest.mark.parametrize("fields", ["x-a\nb\x00", "x-a\nb\rc", ":status\n200", "x-a", "x-a\nb\n:path\n/"])
def test_fields_that_would_harm_a_reply(fields: str) -> None:
    """Whoever wrote them: control characters, pseudo-headers and halves are garbage."""
    entry = stored({"cache-control": "max-age=60"})
    entry.fields = fields

    with pytest.raises(GarbageError):
        decoded(encoded(entry, (0, 0), URI))


def test_until_when_it_is_fresh() -> None:
    """Readable by a script in Redis: seconds since 1970 in ten digits, 0 for what is never served unasked."""
    fresh = encoded(stored({"cache-control": "max-age=60", "age": "10"}), (0, 0), URI)
    never = encoded(stored({"cache-control": "no-cache", "etag": '"1"'}), (0, 0), URI)

    assert (int(NOW) + 50, 0) == (int(fresh[UNTIL]), int(never[UNTIL]))


def test_what_is_compressible_is_compressed() -> None:
    """A body that expands to something else than it says is garbage."""
    octets = encoded(stored({"cache-control": "max-age=60"}, body=b"x" * 900), (0, 0), URI)

    assert len(octets) < 400
