"""Range requests answered from a full stored response (RFC 9110 section 14)."""

import re
from dataclasses import dataclass

from ext_proc.cache.entry import Entry
from ext_proc.cache.fields import Headers, entity_tags, http_date

_ONE_RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """Octets first to last, both included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """416."""


WHOLE = None
"""The Range is ignored: the full 200 is always a right answer."""


def wanted_part(request: Headers, stored: Entry) -> Part | Unsatisfiable | None:
    """Which part of a stored response the request asks for; several ranges get the whole."""
    value = request.get("range")
    if value is None or stored.status != 200 or not _if_range_holds(request, stored):
        return WHOLE
    match = _ONE_RANGE.fullmatch(value)
    if not match or not (match[1] or match[2]):
        return WHOLE
    size = len(stored.body)
    if not match[1]:
        suffix = int(match[2])
        return Part(max(0, size - suffix), size - 1) if suffix and size else Unsatisfiable()
    first = int(match[1])
    last = int(match[2]) if match[2] else size - 1
    if match[2] and last < first:
        return WHOLE
    return Part(first, min(last, size - 1)) if first < size else Unsatisfiable()


def _if_range_holds(request: Headers, stored: Entry) -> bool:
    """Strong comparison, or exactly the stored Last-Modified (section 13.1.5)."""
    condition = request.get("if-range")
    if condition is None:
        return True
    tags = entity_tags(condition)
    if tags:
        return stored.etag is not None and tags[0].matches_strongly(stored.etag)
    date = http_date(condition)
    return date is not None and date == stored.last_modified
