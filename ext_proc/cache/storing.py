"""May a response be stored, and under which conditions (RFC 9111 section 3)?"""

import re
from dataclasses import dataclass
from typing import Literal

from ext_proc.cache.entry import Entry, packed
from ext_proc.cache.fields import Headers, format_http_date, members
from ext_proc.cache.freshness import TARGETED, Control, Lifetime, control_of, initial_age, lifetime
from policy.processing import CacheRules, Scope

Reason = Literal[
    "local-reply",
    "status",
    "no-store",
    "private",
    "set-cookie",
    "vary",
    "authorization",
    "stream",
    "too-large",
    "expired",
]
"""Why not; a metric's label."""

_UNDERSTOOD = frozenset({200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 405, 410, 414, 501})
"""Final statuses whose caching rules are known here; `must-understand` asks for that (section 5.2.2.3)."""
_SERVABLE = frozenset(
    {*range(200, 209), 226, *range(300, 306), 307, 308, *range(400, 418), *range(421, 425), 426, 428, 429, 431}
    | {*range(500, 509), 510, 511}
)
"""Statuses that Envoy lets an ImmediateResponse have (envoy.type.v3.StatusCode); 451 is none of them."""
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
TAGS = ("cache-tag", "surrogate-key")
"""Response headers by which a service tags what may be purged together; clients never see them."""
_ANEW = frozenset({"age", "cache-status", "content-length", "set-cookie", *TAGS})
"""Each answer gets its own, if any."""
_CACHING = ("cache-control", TARGETED, "expires", "date", "age", "last-modified", "etag", "vary", *TAGS)
_KEPT_FOR_VALIDATION_S = 600.0
"""How long a stale response with a validator is kept: a 304 then saves its transfer."""
_MOST_VARY_NAMES = 16
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""One of these, and Envoy 1.40 silently drops this header of a reply and all that follow."""


@dataclass(frozen=True, slots=True)
class Storable:
    """A response that is worth keeping."""

    control: Control
    lifetime: Lifetime
    vary: tuple[str, ...]
    """The origin's selecting header names, lower case, sorted."""


def judge(
    request: Headers, status: int, response: Headers, rules: CacheRules, *, from_upstream: bool, now: float
) -> Storable | Reason:
    """
    Args:
        request: header fields of the GET.
        response: header fields as the origin sent them.
        from_upstream: the response came from the service, not from Envoy itself.
        now: seconds since 1970.
    """
    if not from_upstream:
        return "local-reply"
    control = control_of(response)
    forbidden = _forbidden(status, response, control, rules)
    if forbidden:
        return forbidden
    if "authorization" in request and not _shareable(control, rules):
        return "authorization"
    names = vary_names(response)
    if names is None:
        return "vary"
    if response.get("content-type", "").lower().startswith(("text/event-stream", "application/grpc")):
        return "stream"
    length = response.get("content-length", "")
    if length.isdigit() and int(length) > rules.max_body_bytes:
        return "too-large"
    found = lifetime(status, response, control, rules, now)
    if status >= 500 and not found.explicit:
        return "status"
    if not _useful(found, control, response):
        return "expired"
    return Storable(control, found, names)


def _forbidden(status: int, response: Headers, control: Control, rules: CacheRules) -> Reason | None:
    if status in (206, 304) or status not in _SERVABLE:
        return "status"
    understood = control.has("must-understand")
    if understood and status not in _UNDERSTOOD:
        return "status"
    if control.has("no-store") and not understood and not rules.ignore_no_store:
        return "no-store"
    if control.unqualified("private") and not rules.ignore_private:
        return "private"
    if "set-cookie" in response and not rules.ignore_set_cookie:
        return "set-cookie"
    return None


def _shareable(control: Control, rules: CacheRules) -> bool:
    """Section 3.5, or the key holds the proven identity."""
    return rules.scope is Scope.USER or _says_shareable(control)


def _says_shareable(control: Control) -> bool:
    return any(map(control.has, ("public", "s-maxage", "must-revalidate")))


def _useful(found: Lifetime, control: Control, response: Headers) -> bool:
    """Fresh or stale it can be served, or at least spare a transfer; the origin has to have said something."""
    if max(found.fresh_s, found.stale_while_revalidate_s, found.stale_if_error_s) > 0:
        return True
    validator = "etag" in response or "last-modified" in response
    return validator and (found.explicit or control.has("no-cache"))


def vary_names(response: Headers) -> tuple[str, ...] | None:
    """The origin's Vary, lower case and sorted; None if nothing but the origin can tell (`*`, or absurdly many)."""
    value = response.get("vary")
    if not value:
        return ()
    names = set(members(value))
    if "*" in names or len(names) > _MOST_VARY_NAMES:
        return None
    return tuple(sorted(names))


def entry(
    storable: Storable,
    *,
    status: int,
    origin: Headers,
    shown: Headers,
    body: bytes,
    requested_at: float,
    received_at: float,
) -> Entry:
    """What to store of a response.

    Args:
        origin: header fields as the origin sent them.
        shown: header fields as the client gets them, after the route's transforms.
    """
    control = storable.control
    dropped = _dropped_names(origin) | control.fields("private") | control.fields("no-cache")
    headers = {
        name: value
        for name, value in shown.items()
        if name not in dropped and not name.startswith((":", "x-envoy-")) and not _CONTROL.search(value)
    }
    if "date" not in headers:
        headers["date"] = format_http_date(int(received_at))
    caching = [(name, origin[name]) for name in _CACHING if name in origin and not _CONTROL.search(origin[name])]
    return Entry(
        status=status,
        fields=packed(headers.items()),
        body=body,
        origin_fields=packed(caching),
        lifetime=storable.lifetime,
        initial_age_s=initial_age(origin, requested_at=requested_at, received_at=received_at),
        received_at=received_at,
        always_revalidate=control.unqualified("no-cache"),
        never_stale=control.must_revalidate,
        shareable=_says_shareable(control),
        tags=tags_of(origin),
    )


def tags_of(origin: Headers) -> tuple[str, ...]:
    """The tags of Cache-Tag (separated by commas) and Surrogate-Key (separated by spaces); both may have either."""
    text = ",".join([origin[name] for name in TAGS if name in origin])
    return tuple(dict.fromkeys(text.replace(",", " ").split())) if text else ()


def _dropped_names(origin: Headers) -> frozenset[str]:
    """What belongs to one connection or one answer (section 3.1)."""
    named = origin.get("connection")
    return _HOP_BY_HOP | _ANEW | (frozenset(members(named)) if named else frozenset())


def kept_s(stored: Entry) -> float:
    """How long from its receipt an entry can be of any use."""
    life = stored.lifetime
    stale = max(life.stale_while_revalidate_s, life.stale_if_error_s)
    if stored.has_validator:
        stale = max(stale, _KEPT_FOR_VALIDATION_S)
    return max(0.0, life.fresh_s - stored.initial_age_s) + stale
