"""Which routes without a cache can make another route's stored responses invalid (RFC 9111 section 4.4).

A cache has to forget a URI when an unsafe request to it succeeds, and on most gateways reads and writes of one resource
are two routes. Only the unsafe requests of such a route pay for a callout (routes.py).
"""

from collections.abc import Iterable, Iterator

from control_plane.config.effective import EffectiveRoute
from control_plane.config.model.routes import Match

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

_Pattern = tuple[str, str]
"""Kind (path, path_prefix, path_regex) and text of one path of a match; a prefix has no final slash."""


def invalidating(routes: Iterable[EffectiveRoute]) -> frozenset[str]:
    """Names of the routes without cache that take unsafe requests to URIs that a cached route may have stored."""
    every = tuple(routes)
    cached = _Index(route for route in every if route.cache is not None)
    return frozenset(
        route.name
        for route in every
        if route.cache is None and route.kind == "proxy" and _takes_unsafe(route.match) and cached.overlaps(route)
    )


class _Index:
    """Routes by the first segment of their paths: comparing all with all would make translation quadratic."""

    def __init__(self, routes: Iterable[EffectiveRoute]) -> None:
        self._everywhere: list[tuple[EffectiveRoute, _Pattern]] = []
        self._by_segment: dict[str, list[tuple[EffectiveRoute, _Pattern]]] = {}
        for route in routes:
            for pattern in _patterns(route.match):
                segment = _first_segment(pattern)
                if segment is None:
                    self._everywhere.append((route, pattern))
                else:
                    self._by_segment.setdefault(segment, []).append((route, pattern))

    def overlaps(self, route: EffectiveRoute) -> bool:
        return any(
            _paths_meet(pattern, known) and _hosts_meet(route, other)
            for pattern in _patterns(route.match)
            for other, known in self._near(_first_segment(pattern))
        )

    def _near(self, segment: str | None) -> Iterator[tuple[EffectiveRoute, _Pattern]]:
        yield from self._everywhere
        if segment is not None:
            yield from self._by_segment.get(segment, ())
            return
        for known in self._by_segment.values():
            yield from known


def _takes_unsafe(match: Match) -> bool:
    return not match.methods or not SAFE_METHODS.issuperset(match.methods)


def _patterns(match: Match) -> Iterator[_Pattern]:
    if match.path is not None:
        yield from (("path", path) for path in match.path)
    elif match.path_regex is not None:
        yield from (("path_regex", pattern) for pattern in match.path_regex)
    else:
        yield from (("path_prefix", prefix.rstrip("/")) for prefix in match.path_prefix or ("/",))


def _first_segment(pattern: _Pattern) -> str | None:
    """None: the pattern may match paths with any first segment."""
    kind, text = pattern
    if kind == "path_regex" or not text:
        return None
    return text.split("/", 2)[1]


def _paths_meet(one: _Pattern, other: _Pattern) -> bool:
    """Whether a path can match both; of a regex that is taken for granted."""
    if "path_regex" in (one[0], other[0]):
        return True
    if one[0] == other[0] == "path":
        return one[1] == other[1]
    return (one[0] == "path_prefix" and _is_under(other[1], one[1])) or (
        other[0] == "path_prefix" and _is_under(one[1], other[1])
    )


def _is_under(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}/")


def _hosts_meet(one: EffectiveRoute, other: EffectiveRoute) -> bool:
    if not set(one.listeners) & set(other.listeners):
        return False
    return any(_host_meets(a.lower(), b.lower()) for a in one.hosts for b in other.hosts)


def _host_meets(one: str, other: str) -> bool:
    if one == other or "*" in (one, other):
        return True
    return (one.startswith("*.") and other.removeprefix("*").endswith(one[1:])) or (
        other.startswith("*.") and one.removeprefix("*").endswith(other[1:])
    )
