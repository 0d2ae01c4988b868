"""What the cache may do with a request: the part of RFC 9111 section 4 that comes before anything is asked of the
origin.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

from ext_proc.cache.entry import Entry
from ext_proc.cache.fields import Headers
from ext_proc.cache.freshness import Wishes, wishes_of
from ext_proc.cache.memory import MemoryStore
from ext_proc.cache.status import Forwarded
from policy.cache_key import cache_uri, entry_key, normalised_value, primary_key
from policy.processing import CacheRules, Processing, Scope, cache_namespace

Bypass = Literal["method", "no-store", "identity", "upgrade", "grpc", "stream", "precondition"]
"""Why a request has nothing to do with the cache; a metric's label."""

_STREAMS = ("text/event-stream", "application/grpc")


def bypass(headers: Headers, rules: CacheRules, identity: str) -> Bypass | None:
    method = headers.get(":method", "")
    if "upgrade" in headers or method == "CONNECT":
        return "upgrade"
    if headers.get("content-type", "").startswith("application/grpc"):
        return "grpc"
    if method not in ("GET", "HEAD"):
        return "method"
    if "text/event-stream" in headers.get("accept", ""):
        return "stream"
    if "if-match" in headers or "if-unmodified-since" in headers:
        return "precondition"
    if rules.scope is Scope.USER and not identity:
        return "identity"
    return None


class Use(Enum):
    """What may be done with a stored response."""

    SERVE = auto()
    SERVE_STALE = auto()
    """The client's max-stale allows it."""
    SERVE_WHILE_REVALIDATING = auto()
    """Only while another request asks the origin."""
    ASK = auto()
    """Not without asking the origin."""


def use_of(stored: Entry, wishes: Wishes, now: float) -> Use:
    """RFC 9111 sections 4.2.4 and 5.2.1, RFC 5861 section 3."""
    if stored.always_revalidate or wishes.no_cache:
        return Use.ASK
    age = stored.age(now)
    remaining = stored.lifetime.fresh_s - age
    if wishes.max_age_s is not None and age > wishes.max_age_s:
        return Use.ASK
    if remaining > 0:
        return Use.SERVE if remaining >= wishes.min_fresh_s else Use.ASK
    if wishes.min_fresh_s:
        return Use.ASK
    if wishes.max_stale_s >= -remaining and not stored.never_stale and wishes.max_stale_s:
        return Use.SERVE_STALE
    if stored.lifetime.stale_while_revalidate_s > -remaining:
        return Use.SERVE_WHILE_REVALIDATING
    return Use.ASK


@dataclass(frozen=True, slots=True)
class CachedRoute:
    """What is the same for every request of one route under one policy."""

    name: str
    cache_name: str
    rules: CacheRules
    namespace: str
    fixed: frozenset[str]
    """Request headers which the service sees with the same value, or not at all, on every request of the route: the
    origin's Vary on them selects nothing."""

    @property
    def is_per_user(self) -> bool:
        return self.rules.scope is Scope.USER


def cached_route(processing: Processing, rules: CacheRules, route: str) -> CachedRoute:
    changes = processing.request
    return CachedRoute(
        name=route,
        cache_name=processing.cache_name,
        rules=rules,
        namespace=cache_namespace(processing, route),
        # What is stored is uncompressed, so the service is always asked for that.
        fixed=frozenset(("accept-encoding", *changes.remove, *(name for name, _ in changes.set))),
    )


_MORE_THAN_PATH = frozenset(
    {
        *("cache-control", "pragma", "range", "if-range", "if-none-match", "if-modified-since", "if-match"),
        *("if-unmodified-since", "upgrade", "content-type"),
    }
)
"""Request headers that make a hit anything else than the whole stored response, or no hit."""


def fresh(store: MemoryStore, route: CachedRoute, headers: Headers, identity: str, now: float) -> Entry | None:
    """The stored response that answers a request without any wishes of its own; most hits are such.

    A shortcut through `bypass`, `look_up` and the rest, which come to the same: None says that they have to be asked.
    """
    if headers.get(":method") != "GET" or not _MORE_THAN_PATH.isdisjoint(headers):
        return None
    if "text/event-stream" in headers.get("accept", "") or (route.is_per_user and not identity):
        return None
    target = target_of(headers, route, identity)
    stored = store.get(key_of(target, store.selecting(target.primary) or route.rules.vary, headers))
    if stored is None or stored.always_revalidate or stored.remaining(now) <= 0:
        return None
    return stored if "authorization" not in headers or stored.shareable or route.is_per_user else None


@dataclass(slots=True)
class Target:
    """Where the response to one request is kept."""

    uri: str
    primary: str
    identity: str


def target_of(headers: Headers, route: CachedRoute, identity: str) -> Target:
    path = headers.get(":path", "/")
    if route.rules.query is not None:
        path = route.rules.query.applied(path)
    uri = cache_uri(headers.get(":scheme", "http"), headers.get(":authority", ""), path)
    return Target(uri, primary_key(route.namespace, uri), identity if route.is_per_user else "")


def key_of(target: Target, selecting: tuple[str, ...], headers: Headers) -> str:
    """The key of the variant that these request headers select."""
    if not selecting:
        return entry_key(target.primary, target.identity, ())
    return entry_key(
        target.primary,
        target.identity,
        [(name, normalised_value(name, headers[name]) if name in headers else None) for name in selecting],
    )


@dataclass(slots=True)
class Found:
    """A request's place in the cache, and what is there."""

    key: str
    selecting: tuple[str, ...]
    """The names of request headers that went into `key`."""
    stored: Entry | None
    use: Use
    wishes: Wishes
    reason: Forwarded
    """What Cache-Status says if the request goes upstream."""


def look_up(store: MemoryStore, target: Target, rules: CacheRules, headers: Headers, now: float) -> Found:
    known = store.selecting(target.primary)
    return look_up_variant(store, target, known or rules.vary, headers, now, is_known=bool(known))


def look_up_variant(
    store: MemoryStore, target: Target, selecting: tuple[str, ...], headers: Headers, now: float, *, is_known: bool
) -> Found:
    """
    Args:
        selecting: the names by which variants differ.
        is_known: from variants that are stored.
    """
    key = key_of(target, selecting, headers)
    found = Found(key, selecting, None, Use.ASK, wishes_of(headers), "vary-miss" if is_known else "uri-miss")
    return found_in(found, store.get(key), target, headers, now)


def found_in(place: Found, stored: Entry | None, target: Target, headers: Headers, now: float) -> Found:
    """The same place, with what is stored there.

    What was not stored for everybody is as good as absent for a request with credentials of its own: the service may
    have another answer for it (RFC 9111 section 3.5).
    """
    if stored is None:
        return place
    if "authorization" in headers and not stored.shareable and not target.identity:
        return Found(place.key, place.selecting, None, Use.ASK, place.wishes, "request")
    use = use_of(stored, place.wishes, now)
    fresh = not stored.always_revalidate and stored.remaining(now) > 0
    return Found(place.key, place.selecting, stored, use, place.wishes, "request" if fresh else "stale")
