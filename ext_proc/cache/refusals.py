"""What the cache answers where it cannot do as the client wishes."""

from ext_proc.cache.entry import Entry
from ext_proc.cache.fields import Headers
from ext_proc.events import Refuse


def range_not_satisfiable(stored: Entry, cache_status: str, request: Headers) -> Refuse:
    """RFC 9110 section 15.5.17."""
    return Refuse(
        416,
        "range-not-satisfiable",
        "Range Not Satisfiable",
        "The range lies outside the resource.",
        (("content-range", f"bytes */{len(stored.body)}"), ("cache-status", cache_status)),
        request.get("x-request-id", ""),
        "hit",
    )


def not_cached(cache_name: str, request: Headers) -> Refuse:
    """To `only-if-cached` (RFC 9111 section 5.2.1.7)."""
    return Refuse(
        504,
        "not-cached",
        "Gateway Timeout",
        "The request asks for a cached response only, and there is none that it may have.",
        (("cache-status", cache_name),),
        request.get("x-request-id", ""),
        "miss",
    )
