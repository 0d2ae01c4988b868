"""Routes that no request reaches, because an earlier one takes everything that they match.

Only one earlier route is held against a later one, never several together: what this reports is certain, and it stays
cheap. Earlier routes are found by host and path, so that a thousand tenants with a route each cost no more than a
thousand look-ups.
"""

from collections.abc import Iterator, Mapping

from control_plane.config.effective import EffectiveRoute
from control_plane.config.model.routes import Match, StringMatch
from control_plane.config.rules.forms import regex_fault, regex_matches
from control_plane.config.rules.report import Check

_MAX_CANDIDATES = 64
"""Earlier routes of the same host and path that one route is compared with."""

_Bucket = tuple[str, str, str]
"""Host pattern, kind of path, path."""


def warn_shadowed_routes(check: Check) -> None:
    """Warn of every route that an earlier one covers."""
    seen: dict[_Bucket, list[int]] = {}
    routes = check.routes
    for place, route in enumerate(routes):
        for earlier in _candidates(seen, route):
            if covers(routes[earlier], route):
                line = check.report.line(("routes", earlier))
                message = f"route {route.name!r} is never reached: {routes[earlier].name!r} ({line}) takes all of it"
                check.report.warn(("routes", place), message)
                break
        for host in route.hosts:
            for kind, path in paths_of(route.match):
                seen.setdefault((host, kind, path), []).append(place)
                if kind == "regex":
                    seen.setdefault((host, "any regex", ""), []).append(place)


def paths_of(match: Match) -> tuple[tuple[str, str], ...]:
    """(kind, path) of everything that a match takes; prefixes without their final slash, "" takes all."""
    if match.path is not None:
        return tuple(("path", path) for path in match.path)
    if match.path_regex is not None:
        every = (".*", "/.*")
        return tuple(("prefix", "") if regex in every else ("regex", regex) for regex in match.path_regex)
    return tuple(("prefix", prefix.rstrip("/")) for prefix in match.path_prefix or ("/",))


def _candidates(seen: Mapping[_Bucket, list[int]], route: EffectiveRoute) -> list[int]:
    """Earlier routes that take the first host and the first path of this one; whoever covers it is among them."""
    if not route.hosts or not (paths := paths_of(route.match)):
        return []
    kind, path = paths[0]
    found: list[int] = []
    for host in _hosts_covering(route.hosts[0]):
        found += seen.get((host, kind, path), ())
        if kind != "regex":
            found += seen.get((host, "any regex", ""), ()) if kind == "path" else ()
            for prefix in _prefixes(path):
                found += seen.get((host, "prefix", prefix), ())
        else:
            found += seen.get((host, "prefix", ""), ())
    return sorted(set(found))[:_MAX_CANDIDATES]


def _hosts_covering(host: str) -> Iterator[str]:
    yield host
    if host == "*":
        return
    labels = host.removeprefix("*.").split(".")
    for start in range(0 if host.startswith("*.") else 1, len(labels)):
        pattern = "*." + ".".join(labels[start:])
        if pattern != host:
            yield pattern
    yield "*"


def _prefixes(path: str) -> Iterator[str]:
    """`/a/b` -> `/a/b`, `/a`, ``."""
    path = path.rstrip("/")
    while path:
        yield path
        path = path.rpartition("/")[0]
    yield ""


def covers(earlier: EffectiveRoute, later: EffectiveRoute) -> bool:
    """Whether every request of the later route matches the earlier one as well."""
    return (
        set(later.listeners) <= set(earlier.listeners)
        and all(any(_host_covers(a, b) for a in earlier.hosts) for b in later.hosts)
        and _methods_cover(earlier.match, later.match)
        and _values_cover(_lower(earlier.match.headers), _lower(later.match.headers))
        and _values_cover(earlier.match.query, later.match.query)
        and all(any(_path_covers(a, b) for a in paths_of(earlier.match)) for b in paths_of(later.match))
    )


def _host_covers(a: str, b: str) -> bool:
    return a in ("*", b) or (a.startswith("*.") and b.endswith(a[1:]))


def _methods_cover(a: Match, b: Match) -> bool:
    return not a.methods or (bool(b.methods) and set(b.methods) <= set(a.methods))


def _path_covers(a: tuple[str, str], b: tuple[str, str]) -> bool:
    (kind, earlier), (other, later) = a, b
    if a == b or a == ("prefix", ""):
        return True
    if kind == "prefix" and other != "regex":
        return later == earlier or later.startswith(earlier + "/")
    if kind == "regex" and other == "path":
        return regex_fault(earlier) is None and regex_matches(earlier, later)
    return False


def _lower(headers: Mapping[str, StringMatch]) -> Mapping[str, StringMatch]:
    return {name.lower(): value for name, value in headers.items()}


def _values_cover(a: Mapping[str, StringMatch], b: Mapping[str, StringMatch]) -> bool:
    return all(name in b and _value_covers(value, b[name]) for name, value in a.items())


def _value_covers(a: StringMatch, b: StringMatch) -> bool:
    return a == b or (a.present is True and b.present is not False)
