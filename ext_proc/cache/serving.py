"""A stored response as the answer to one request: whole, a part of it, or only that it is not modified."""

from ext_proc.cache import status, validation
from ext_proc.cache.entry import Entry
from ext_proc.cache.fields import Headers
from ext_proc.cache.ranges import Part, Unsatisfiable, wanted_part
from ext_proc.cache.refusals import range_not_satisfiable
from ext_proc.events import Outcome, Refuse, Serve


def served(
    stored: Entry, headers: Headers, cache_name: str, outcome: Outcome, line: str | None, now: float
) -> Serve | Refuse:
    """
    Args:
        headers: of the request.
        line: Cache-Status; None: that of a plain hit.
    """
    age = int(stored.age(now))
    if line is None:
        line = status.hit(cache_name, int(stored.lifetime.fresh_s) - age)
    not_modified = validation.is_not_modified(headers, stored)
    part: Part | None = None
    if "range" in headers and not not_modified and headers[":method"] == "GET":
        wanted = wanted_part(headers, stored)
        if isinstance(wanted, Unsatisfiable):
            return range_not_satisfiable(stored, line, headers)
        part = wanted
    return Serve(stored, age, line, outcome, not_modified, part, headers[":method"] == "HEAD")
