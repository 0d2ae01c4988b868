"""A stored response."""

from dataclasses import dataclass

from ext_proc.cache.fields import EntityTag, Headers
from ext_proc.cache.freshness import Lifetime

_OVERHEAD_BYTES = 1200
"""Of the objects around an entry's own octets, measured with tracemalloc on CPython 3.11."""


@dataclass(slots=True, eq=False)
class Entry:
    """One response as clients get it, and what the origin said about it. Only `memo` ever changes."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """After the route's transforms; without Age and Cache-Status, which each answer gets anew."""
    body: bytes
    origin: Headers
    """The origin's own caching fields, before the transforms: freshness and validation go by these."""
    lifetime: Lifetime
    initial_age_s: float
    received_at: float
    """Seconds since 1970."""
    etag: EntityTag | None
    last_modified: float | None
    always_revalidate: bool
    """`no-cache`: not even a fresh one is served without asking."""
    never_stale: bool
    """A client's max-stale does not count (must-revalidate and its like)."""
    memo: object = None
    """Where the message layer keeps what it made of the entry."""

    @property
    def size(self) -> int:
        """Bytes of memory, roughly."""
        text = sum(len(name) + len(value) for name, value in self.headers)
        return _OVERHEAD_BYTES + text + sum(map(len, self.origin.values())) + len(self.body)

    @property
    def has_validator(self) -> bool:
        return "etag" in self.origin or "last-modified" in self.origin

    def age(self, now: float) -> float:
        """RFC 9111 section 4.2.3; a clock that went back does not make it younger than it came."""
        return self.initial_age_s + max(0.0, now - self.received_at)

    def remaining(self, now: float) -> float:
        """Seconds of freshness left; negative: seconds since it went stale."""
        return self.lifetime.fresh_s - self.age(now)
