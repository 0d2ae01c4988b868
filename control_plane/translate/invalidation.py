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
    """Routes by their paths and by every path above: comparing all with all would make translation quadratic."""

    def __init__(self, routes: Iterable[EffectiveRoute]) -> None:
        self._all: list[EffectiveRoute] = []
        self._everywhere: list[EffectiveRoute] = []
        self._paths: dict[str, list[EffectiveRoute]] = {}
        self._prefixes: dict[str, list[EffectiveRoute]] = {}
        self._below: dict[str, list[EffectiveRoute]] = {}
        """By a path: every route with a pattern that is it, or stands under it."""
        for route in routes:
            self._all.append(route)
            for kind, text in _patterns(route.match):
                if kind == "path_regex" or not text:
                    self._everywhere.append(route)
                    continue
                named = self._paths if kind == "path" else self._prefixes
                named.setdefault(text, []).append(route)
                for above in _upwards(text):
                    self._below.setdefault(above, []).append(route)

    def overlaps(self, route: EffectiveRoute) -> bool:
        return any(_hosts_meet(route, other) for pattern in _patterns(route.match) for other in self._met_by(pattern))

    def _met_by(self, pattern: _Pattern) -> Iterator[EffectiveRoute]:
        """Routes one of whose paths can match the same as this one; of a regex that is taken for granted."""
        kind, text = pattern
        if kind == "path_regex" or not text:
            yield from self._all
            return
        yield from self._everywhere
        for above in _upwards(text):
            yield from self._prefixes.get(above, ())
        yield from (self._paths if kind == "path" else self._below).get(text, ())


def _upwards(path: str) -> Iterator[str]:
    """`/a/b` -> `/a/b`, `/a`."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def _takes_unsafe(match: Match) -> bool:
    return not match.methods or not SAFE_METHODS.issuperset(match.methods)


def _patterns(match: Match) -> Iterator[_Pattern]:
    if match.path is not None:
        yield from (("path", path) for path in match.path)
    elif match.path_regex is not None:
        yield from (("path_regex", pattern) for pattern in match.path_regex)
    else:
        yield from (("path_prefix", prefix.rstrip("/")) for prefix in match.path_prefix or ("/",))


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
