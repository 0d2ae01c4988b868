"""The log of what was forgotten: two streams in Redis, read to the end by every process.

`bans` holds purges for as long as an entry may live, `changes` what memories have to drop: invalidated and replaced
URIs. Nothing here decides; `redis_cache.py` does.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ext_proc.cache.bans import START, Position
from policy.purge import ByPrefix, ByTag, ByUri, Everything, Purge

MOST_BANS = 50_000
MOST_CHANGES = 10_000


@dataclass(frozen=True, slots=True)
class Logged:
    """One entry of a stream."""

    position: Position
    fields: Mapping[bytes, bytes]

    def text(self, name: bytes) -> str:
        return self.fields.get(name, b"").decode("utf-8", "replace")


@dataclass(slots=True)
class Reader:
    """How far one stream was read."""

    key: bytes
    most: int
    """It is cut when it is longer."""
    position: Position = START
    is_begun: bool = field(default=False)

    def begin(self, length: int, first: Position, last: Position) -> bool:
        """Compare what a Redis has after it was away with what was read before; whether something may be missing."""
        is_first, self.is_begun = not self.is_begun, True
        if last < self.position:
            # Another Redis, or one that has lost its end; what it had and has lost, nobody can know.
            self.position = START if first == START else last
            return False
        return not is_first and first > self.position and length >= self.most


def position_of(text: bytes) -> Position:
    milliseconds, _, count = text.partition(b"-")
    return int(milliseconds), int(count or 0)


def identifier(position: Position) -> str:
    return f"{position[0]}-{position[1]}"


def logged(entries: Iterable[Any]) -> list[Logged]:
    """From a stream's entries, as redis-py parses them or as a script returns them."""
    found = []
    for name, fields in entries:
        if not isinstance(fields, Mapping):
            fields = dict(zip(fields[::2], fields[1::2], strict=True))
        found.append(Logged(position_of(name), fields))
    return found


def ban_text(what: Purge) -> tuple[str, str]:
    """Kind and value of a purge as they stand in the log."""
    match what:
        case ByTag():
            return "tag", what.tag
        case ByPrefix():
            return "prefix", f"{what.scheme}\n{what.host}\n{what.path}"
        case ByUri():
            return "uri", what.uri
        case Everything():
            return "all", ""


def ban_of(entry: Logged) -> Purge | None:
    """The purge that a log entry stands for; None: written by another version."""
    value = entry.text(b"v")
    match entry.text(b"k"):
        case "tag":
            return ByTag(value)
        case "prefix":
            scheme, host, path = (*value.split("\n", 2), "", "")[:3]
            return ByPrefix(scheme, host, path)
        case "uri":
            return ByUri(value)
        case "all":
            return Everything()
        case _:
            return None
