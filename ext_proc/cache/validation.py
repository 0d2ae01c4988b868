"""Conditional requests: the client's against a stored response, and ours to the origin (RFC 9111 section 4.3)."""

from collections.abc import Mapping

from ext_proc.cache import storing
from ext_proc.cache.entry import Entry
from ext_proc.cache.fields import Headers, entity_tags, http_date
from ext_proc.cache.freshness import control_of, lifetime
from policy.processing import CacheRules

CONDITIONS = ("if-none-match", "if-modified-since")
"""Conditions that a stored response can answer."""
_NOT_UPDATED = frozenset({"content-length", "content-encoding", "content-type", "content-range", "cache-status"})
"""Of the stored body, not of the 304 (RFC 9111 section 3.2)."""
_IN_304 = ("cache-control", "content-location", "date", "etag", "expires", "vary", "cdn-cache-control")
"""What a 304 has to repeat (RFC 9110 section 15.4.5); Last-Modified comes only where there is no ETag."""


def is_not_modified(request: Headers, stored: Entry) -> bool:
    """Whether the client's own conditions make the answer a 304 (RFC 9111 section 4.3.2, RFC 9110 section 13.2.2).

    If-None-Match counts alone where it is present. Without Last-Modified, Date stands in for it.
    """
    wanted = request.get("if-none-match")
    if not 200 <= stored.status < 300:
        return False
    if wanted is not None:
        if wanted.strip() == "*":
            return True
        tag = stored.etag
        return tag is not None and any(tag.matches_weakly(other) for other in entity_tags(wanted))
    if "if-modified-since" not in request:
        return False
    since = http_date(request["if-modified-since"])
    if since is None:
        return False
    modified = stored.last_modified
    if modified is None:
        modified = http_date(stored.origin.get("date", ""))
    return (stored.received_at if modified is None else modified) <= since


def headers_of_304(stored: Entry) -> tuple[tuple[str, str], ...]:
    headers = dict(stored.headers)
    kept = [(name, headers[name]) for name in _IN_304 if name in headers]
    if "etag" not in headers and "last-modified" in headers:
        kept.append(("last-modified", headers["last-modified"]))
    return tuple(kept)


def conditions(stored: Entry) -> tuple[tuple[str, str], ...]:
    """Request headers that let the origin answer 304 (section 4.3.1)."""
    found = []
    if "etag" in stored.origin:
        found.append(("if-none-match", stored.origin["etag"]))
    if "last-modified" in stored.origin:
        found.append(("if-modified-since", stored.origin["last-modified"]))
    return tuple(found)


def freshened(
    stored: Entry,
    request: Headers,
    answer: Headers,
    shown: Mapping[str, str],
    rules: CacheRules,
    *,
    requested_at: float,
    now: float,
) -> tuple[Entry, bool]:
    """The stored response after a 304 (sections 3.2 and 4.3.4), and whether it may still be kept.

    Args:
        answer: header fields of the 304 as the origin sent them.
        shown: the same after the route's transforms.
    """
    # What tells the age is of one transfer: a 304 without Date or Age does not inherit that of the first one.
    kept = {name: value for name, value in stored.origin.items() if name not in ("age", "date")}
    origin = kept | {name: value for name, value in answer.items() if name not in _NOT_UPDATED}
    headers = dict(stored.headers) | {name: value for name, value in shown.items() if name not in _NOT_UPDATED}
    if "date" not in answer:
        headers.pop("date", None)
    judged = storing.judge(request, stored.status, origin, rules, from_upstream=True, now=now)
    may_keep = isinstance(judged, storing.Storable)
    if not isinstance(judged, storing.Storable):
        control = control_of(origin)
        judged = storing.Storable(control, lifetime(stored.status, origin, control, rules, now), ())
    updated = storing.entry(
        judged,
        status=stored.status,
        origin=origin,
        shown=headers,
        body=stored.body,
        requested_at=requested_at,
        received_at=now,
    )
    return updated, may_keep
