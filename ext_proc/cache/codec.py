"""A stored response as octets for a store outside of this process, and back.

    magic  4   "MGC" and the version of the format
    until 10   decimal digits, when it stops being fresh in seconds since 1970; 0: never without asking. Text, so that
               a script in Redis can read it
    lead   6   decimal digits, the octets from the beginning to the end of the tags: what a purge goes by
    crc    4   CRC-32 of everything behind it
    head       numbers (_HEAD), then the parts: URI, tags, header fields, the origin's caching fields, body

Never pickle, nothing that can call anything: what cannot be read, or was written by another version, is garbage and
counts as absent.
"""

import re
import struct
import zlib
from dataclasses import dataclass

from ext_proc.cache.bans import Position
from ext_proc.cache.entry import Entry, unpacked
from ext_proc.cache.freshness import Lifetime

MAGIC = b"MGC\x02"
UNTIL = slice(4, 14)
BEGINNING = slice(24)
"""Octets of an entry that tell it from the one that replaced it: they hold its checksum."""
_CRC = slice(20, 24)
_HEAD = struct.Struct("<BHdddddQQIIIIII")
_START = 24 + _HEAD.size
_COMPRESSED, _EXPLICIT, _ALWAYS_REVALIDATE, _NEVER_STALE, _SHAREABLE = 1, 2, 4, 8, 16
_WORTH_BYTES = 512
"""Smaller bodies are not compressed."""
_LARGEST_BODY = 64 << 20
_LATEST = 9_999_999_999
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class GarbageError(ValueError):
    """Octets that are no entry of this version."""


@dataclass(frozen=True, slots=True)
class Lead:
    """What a purge goes by."""

    uri: str
    tags: tuple[str, ...]
    position: Position
    """How far the log of purges was known when the fill began."""


def encoded(entry: Entry, position: Position, uri: str) -> bytes:
    """
    Args:
        position: how far the log of purges was known when the fill began.
    """
    body, flags = _compressed(entry.body)
    flags |= _EXPLICIT if entry.lifetime.explicit else 0
    flags |= _ALWAYS_REVALIDATE if entry.always_revalidate else 0
    flags |= _NEVER_STALE if entry.never_stale else 0
    flags |= _SHAREABLE if entry.shareable else 0
    parts = (
        uri.encode("utf-8", "surrogateescape"),
        "\n".join(entry.tags).encode("latin-1"),
        entry.fields.encode("latin-1"),
        entry.origin_fields.encode("latin-1"),
    )
    life = entry.lifetime
    head = _HEAD.pack(
        flags, entry.status, life.fresh_s, life.stale_while_revalidate_s, life.stale_if_error_s,
        entry.initial_age_s, entry.received_at, *position, *map(len, parts), len(body), len(entry.body),
    )  # fmt: skip
    rest = b"".join((head, *parts, body))
    until = 0 if entry.always_revalidate else entry.received_at + life.fresh_s - entry.initial_age_s
    lead = _START + len(parts[0]) + len(parts[1])
    crc = zlib.crc32(rest).to_bytes(4, "little")
    return b"%b%010d%06d%b%b" % (MAGIC, min(max(0, int(until)), _LATEST), lead, crc, rest)


def lead(data: bytes) -> Lead:
    """
    Args:
        data: the beginning of an entry, as long as it says.

    Raises:
        GarbageError: it is no entry of this version; damage is not noticed.
    """
    if data[:4] != MAGIC or len(data) < _START:
        raise GarbageError("no entry of this version")
    numbers = _HEAD.unpack_from(data, _CRC.stop)
    uri, tags = numbers[9:11]
    if len(data) < _START + uri + tags:
        raise GarbageError("lengths do not add up")
    return Lead(
        data[_START : _START + uri].decode("utf-8", "surrogateescape"),
        _tags(data[_START + uri : _START + uri + tags]),
        (numbers[7], numbers[8]),
    )


def _compressed(body: bytes) -> tuple[bytes, int]:
    if len(body) >= _WORTH_BYTES:
        smaller = zlib.compress(body, 1)
        if len(smaller) < len(body) * 9 // 10:
            return smaller, _COMPRESSED
    return body, 0


def decoded(data: bytes) -> tuple[Entry, Position]:
    """
    Raises:
        GarbageError: it is no entry of this version, or damaged.
    """
    if (
        data[:4] != MAGIC
        or len(data) < _START
        or zlib.crc32(memoryview(data)[_CRC.stop :]) != int.from_bytes(data[_CRC], "little")
    ):
        raise GarbageError("no entry of this version")
    numbers = _HEAD.unpack_from(data, _CRC.stop)
    flags, status, fresh_s, while_s, error_s, initial_age_s, received_at, milliseconds, count = numbers[:9]
    *lengths, raw_length = numbers[9:]
    parts = _parts(data, lengths)
    fields, origin_fields = (part.decode("latin-1") for part in parts[2:4])
    _check(status, fields, origin_fields)
    entry = Entry(
        status=status,
        fields=fields,
        body=_raw(parts[4], raw_length, is_compressed=bool(flags & _COMPRESSED)),
        origin_fields=origin_fields,
        lifetime=Lifetime(fresh_s, bool(flags & _EXPLICIT), while_s, error_s),
        initial_age_s=initial_age_s,
        received_at=received_at,
        always_revalidate=bool(flags & _ALWAYS_REVALIDATE),
        never_stale=bool(flags & _NEVER_STALE),
        shareable=bool(flags & _SHAREABLE),
        tags=_tags(parts[1]),
    )
    return entry, (milliseconds, count)


def _tags(part: bytes) -> tuple[str, ...]:
    return tuple(part.decode("latin-1").split("\n")) if part else ()


def _parts(data: bytes, lengths: list[int]) -> list[bytes]:
    if _START + sum(lengths) != len(data):
        raise GarbageError("lengths do not add up")
    parts, start = [], _START
    for length in lengths:
        parts.append(data[start : start + length])
        start += length
    return parts


def _raw(body: bytes, length: int, *, is_compressed: bool) -> bytes:
    if not is_compressed:
        if len(body) != length:
            raise GarbageError("the body has another length")
        return body
    if length > _LARGEST_BODY:
        raise GarbageError("the body is too large")
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(body, length + 1)
    except zlib.error:
        raise GarbageError("the body is not compressed as it says") from None
    if len(raw) != length or not inflater.eof:
        raise GarbageError("the body has another length")
    return raw


def _check(status: int, *packed: str) -> None:
    """Whatever is in the store, no header of a reply is lost for a control character, and none is a pseudo-header."""
    if not 200 <= status <= 599:
        raise GarbageError("no status of a response")
    for fields in packed:
        try:
            names = [name for name, _ in unpacked(fields)]
        except ValueError:
            raise GarbageError("a header without value") from None
        if _FORBIDDEN.search(fields) or any(name.startswith(":") for name in names):
            raise GarbageError("header fields that are none")
