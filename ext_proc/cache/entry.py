"""A stored response."""

from collections.abc import Iterable
from dataclasses import dataclass

from ext_proc.cache.fields import EntityTag, Headers, entity_tags, http_date
from ext_proc.cache.freshness import Lifetime

_OVERHEAD_BYTES = 750
"""Of the objects around an entry's own octets, measured with tracemalloc on CPython 3.11."""


@dataclass(slots=True, eq=False)
class Entry:
    """One response as clients get it, and what the origin said about it. Only `memo` ever changes.

    Header fields are kept as one text (`packed`): as objects they would take half of the memory of a small entry, and
    a hit needs them only once.
    """

    status: int
    fields: str
    """Packed header fields, after the route's transforms; without Age and Cache-Status, which each answer gets anew."""
    body: bytes
    origin_fields: str
    """Packed caching fields of the origin, before the transforms: freshness and validation go by these."""
    lifetime: Lifetime
    initial_age_s: float
    received_at: float
    """Seconds since 1970."""
    always_revalidate: bool
    """`no-cache`: not even a fresh one is served without asking."""
    never_stale: bool
    """A client's max-stale does not count (must-revalidate and its like)."""
    shareable: bool
    """It may answer requests with Authorization under a key that names nobody (RFC 9111 section 3.5)."""
    tags: tuple[str, ...] = ()
    """By which it can be purged."""
    memo: object = None
    """Where the message layer keeps what it made of the entry."""

    @property
    def size(self) -> int:
        """Bytes of memory, roughly."""
        # The fields twice: what the message layer makes of them is as long.
        return _OVERHEAD_BYTES + 2 * len(self.fields) + len(self.origin_fields) + len(self.body) + 150 * len(self.tags)

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        return unpacked(self.fields)

    @property
    def origin(self) -> Headers:
        return dict(unpacked(self.origin_fields))

    @property
    def has_validator(self) -> bool:
        origin = self.origin
        return "etag" in origin or "last-modified" in origin

    @property
    def etag(self) -> EntityTag | None:
        """As clients got it; None if there is none that is well formed."""
        tags = entity_tags(dict(self.headers).get("etag", ""))
        return tags[0] if len(tags) == 1 else None

    @property
    def last_modified(self) -> float | None:
        """As clients got it, in seconds since 1970."""
        return http_date(dict(self.headers).get("last-modified", ""))

    def age(self, now: float) -> float:
        """RFC 9111 section 4.2.3; a clock that went back does not make it younger than it came."""
        return self.initial_age_s + max(0.0, now - self.received_at)

    def remaining(self, now: float) -> float:
        """Seconds of freshness left; negative: seconds since it went stale."""
        return self.lifetime.fresh_s - self.age(now)


def packed(headers: Iterable[tuple[str, str]]) -> str:
    """Header fields as one text: names and values by turns, one a line. No field holds a line feed."""
    return "\n".join([part for pair in headers for part in pair])


def unpacked(fields: str) -> tuple[tuple[str, str], ...]:
    """The opposite of `packed`."""
    if not fields:
        return ()
    parts = fields.split("\n")
    return tuple(zip(parts[::2], parts[1::2], strict=True))
