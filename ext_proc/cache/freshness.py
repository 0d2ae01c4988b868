"""How long a response may be reused (RFC 9111 sections 4.2 and 5.2), as numbers of seconds."""

from dataclasses import dataclass

from ext_proc.cache.fields import (
    LONGEST_S,
    Headers,
    age_value,
    delta_seconds,
    directives,
    http_date,
    structured_directives,
)
from policy.processing import CacheRules

TARGETED = "cdn-cache-control"
_HEURISTIC = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
"""Statuses that are heuristically cacheable (RFC 9110 section 15.1), 206 left out."""
_TTL = frozenset({200, 203, 301, 308, 404, 410})
"""Statuses to which a route's `ttl` applies."""
_HEURISTIC_MAX_S = 86_400.0
_NEVER_STALE = ("must-revalidate", "proxy-revalidate", "s-maxage", "no-cache")
_NO_DIRECTIVES: dict[str, str | None] = {}


@dataclass(frozen=True, slots=True)
class Control:
    """What the origin says about caching one response."""

    directives: dict[str, str | None]
    targeted: bool
    """From CDN-Cache-Control, which then replaces Cache-Control and Expires (RFC 9213 section 2.2)."""

    def has(self, name: str) -> bool:
        return name in self.directives

    def unqualified(self, name: str) -> bool:
        """Whether the directive is there and means the whole response, not some fields of it."""
        return name in self.directives and not self.directives[name]

    def fields(self, name: str) -> frozenset[str]:
        """The lower-case field names of `private="..."` or `no-cache="..."`."""
        argument = self.directives.get(name)
        if not argument:
            return frozenset()
        return frozenset(field for part in argument.split(",") if (field := part.strip().lower()))

    def seconds(self, name: str) -> float | None:
        """A directive's delta-seconds; None if it is absent, 0 if it cannot be read (section 4.2.1: stale)."""
        if name not in self.directives:
            return None
        return delta_seconds(self.directives[name]) or 0

    @property
    def must_revalidate(self) -> bool:
        """Whether a shared cache may never serve it stale (sections 5.2.2.2, 5.2.2.8 and 5.2.2.10)."""
        return not self.directives.keys().isdisjoint(_NEVER_STALE)


def control_of(headers: Headers) -> Control:
    if TARGETED in headers:
        targeted = structured_directives(headers[TARGETED])
        if targeted is not None:
            return Control(targeted, True)
    value = headers.get("cache-control")
    return Control(directives(value) if value is not None else _NO_DIRECTIVES, False)


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a response is fresh and how it may be used afterwards; seconds."""

    fresh_s: float
    explicit: bool
    """The origin gave it; else it is the route's ttl or a heuristic."""
    stale_while_revalidate_s: float
    stale_if_error_s: float


def lifetime(status: int, headers: Headers, control: Control, rules: CacheRules, now: float) -> Lifetime:
    """
    Args:
        headers: of the origin's response.
        now: when it was received, seconds since 1970.
    """
    fresh_s = _explicit(headers, control, now)
    explicit = fresh_s is not None
    if fresh_s is None:
        fresh_s = _implied(status, headers, control, rules, now)
    if control.unqualified("no-cache"):
        fresh_s = 0.0
    return Lifetime(
        fresh_s,
        explicit,
        _stale("stale-while-revalidate", control, rules.stale_while_revalidate_s),
        _stale("stale-if-error", control, rules.stale_if_error_s),
    )


def _stale(name: str, control: Control, from_route: float) -> float:
    """A window of RFC 5861. s-maxage forbids what the origin does not allow in the same breath; must-revalidate,
    proxy-revalidate and no-cache forbid it altogether.
    """
    if not control.directives.keys().isdisjoint(("must-revalidate", "proxy-revalidate", "no-cache")):
        return 0.0
    said = control.seconds(name)
    if said is not None:
        return said
    return 0.0 if control.has("s-maxage") else from_route


def _explicit(headers: Headers, control: Control, now: float) -> float | None:
    """s-maxage, else max-age, else Expires minus Date (section 4.2.1); None if the origin gives none of them."""
    for name in ("s-maxage", "max-age"):
        seconds = control.seconds(name)
        if seconds is not None:
            return seconds
    if control.targeted or "expires" not in headers:
        return None
    expires = http_date(headers["expires"])
    if expires is None:
        return 0.0
    return min(max(0.0, expires - _date(headers, now)), LONGEST_S)


def _implied(status: int, headers: Headers, control: Control, rules: CacheRules, now: float) -> float:
    """Freshness where the origin says nothing: the route's ttl, else a tenth of the time since Last-Modified."""
    if rules.ttl_s is not None and status in _TTL:
        return rules.ttl_s
    if status in _HEURISTIC or control.has("public"):
        modified = http_date(headers.get("last-modified", ""))
        if modified is not None:
            return min(max(0.0, (_date(headers, now) - modified) / 10), _HEURISTIC_MAX_S)
    return 0.0


def _date(headers: Headers, now: float) -> float:
    date = http_date(headers.get("date", ""))
    return now if date is None else date


def initial_age(headers: Headers, *, requested_at: float, received_at: float) -> float:
    """The corrected initial age (section 4.2.3): never negative, whatever the clocks say."""
    apparent = max(0.0, received_at - _date(headers, received_at))
    corrected = age_value(headers) + max(0.0, received_at - requested_at)
    return max(apparent, corrected)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a request's Cache-Control asks for (section 5.2.1)."""

    no_store: bool = False
    no_cache: bool = False
    only_if_cached: bool = False
    max_age_s: float | None = None
    min_fresh_s: float = 0.0
    max_stale_s: float = 0.0


NO_WISHES = Wishes()


def wishes_of(headers: Headers) -> Wishes:
    value = headers.get("cache-control")
    if value is None:
        if "no-cache" in headers.get("pragma", "").lower():
            return Wishes(no_cache=True)
        return NO_WISHES
    found = directives(value)
    max_stale = 0.0
    if "max-stale" in found:
        argument = found["max-stale"]
        max_stale = LONGEST_S if argument is None else delta_seconds(argument) or 0.0
    return Wishes(
        no_store="no-store" in found,
        no_cache="no-cache" in found,
        only_if_cached="only-if-cached" in found,
        max_age_s=(delta_seconds(found["max-age"]) or 0) if "max-age" in found else None,
        min_fresh_s=delta_seconds(found.get("min-fresh")) or 0.0,
        max_stale_s=max_stale,
    )
