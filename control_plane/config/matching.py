"""Which route takes a request, and why every one before it does not, as Envoy will decide it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from control_plane.config.effective import EffectiveRoute
from control_plane.config.model.routes import StringMatch
from control_plane.config.rules.forms import regex_matches

_UNRESERVED = re.compile(r"%(2[dDeE]|3[0-9]|4[1-9a-fA-F]|5[0-9aAfF]|6[1-9a-fA-F]|7[0-9aAeE])")
"""Percent-encoded letters, digits, - . _ ~: Envoy decodes these alone (RFC 3986 6.2.2.2)."""


@dataclass(frozen=True, slots=True)
class Request:
    """What of a request counts for routing."""

    listener: str
    method: str
    host: str
    """Lower case, without port."""
    path: str
    """Normalised, without query."""
    query: Mapping[str, str]
    """The first value of each parameter."""
    headers: Mapping[str, str]
    """Names in lower case."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What routing comes to."""

    route: EffectiveRoute | None
    passed: tuple[tuple[EffectiveRoute, str], ...]
    """The routes before it, each with the reason why it does not match."""
    is_preflight: bool = False
    """Answered by the route's CORS policy: it reaches neither callout nor service."""


class RefusedPathError(Exception):
    """Envoy answers this path with 400 before routing; the text says why."""


def normalised_path(path: str) -> str:
    """Return a path as it is compared: dots resolved, slashes merged, unreserved characters decoded.

    Raises:
        RefusedPathError: the path holds an escaped slash or backslash.
    """
    if re.search(r"%(2[fF]|5[cC])", path):
        raise RefusedPathError("%2F and %5C in a path are refused with 400")
    path = _UNRESERVED.sub(lambda match: chr(int(match[1], 16)), path.replace("\\", "/"))
    segments: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == "..":
            segments = segments[:-1]
        elif segment != ".":
            segments.append(segment)
    if re.search(r"/\.{1,2}$", path):
        segments.append("")
    return re.sub("/{2,}", "/", "/" + "/".join(segments))


def first_match(routes: Iterable[EffectiveRoute], request: Request) -> Outcome:
    """Return the first route that takes the request; a preflight is taken by a route with CORS for the asked method."""
    asked = request.headers.get("access-control-request-method")
    preflight = request.method == "OPTIONS" and "origin" in request.headers and asked is not None
    passed: list[tuple[EffectiveRoute, str]] = []
    for route in routes:
        is_preflight = preflight and route.cors is not None
        reason = mismatch(route, request, method=str(asked) if is_preflight else request.method, preflight=is_preflight)
        if reason is None:
            return Outcome(route, tuple(passed), is_preflight)
        passed.append((route, reason))
    return Outcome(None, tuple(passed))


def mismatch(route: EffectiveRoute, request: Request, *, method: str, preflight: bool = False) -> str | None:
    """Return the first thing in which a route and a request differ.

    Args:
        method: what the route's methods are compared with.
        preflight: browsers send none of the headers that the real request will have, so they are not compared.
    """
    match = route.match
    if request.listener not in route.listeners:
        return f"serves listener {', '.join(route.listeners)}, not {request.listener}"
    if not any(host_matches(pattern, request.host) for pattern in route.hosts):
        return f"host {request.host} is not {' or '.join(route.hosts)}"
    if not _path_matches(route, request.path):
        return f"path {request.path} is not {_wanted_path(route)}"
    if match.methods and method not in match.methods:
        return f"method {method} is not {' or '.join(match.methods)}"
    for name, wanted in match.headers.items() if not preflight else ():
        if reason := _value_mismatch("header", name, wanted, request.headers.get(name.lower())):
            return reason
    for name, wanted in match.query.items():
        if reason := _value_mismatch("query parameter", name, wanted, request.query.get(name)):
            return reason
    return None


def host_matches(pattern: str, host: str) -> bool:
    """Whether `*`, `api.example.com` or `*.example.com` (any depth, not example.com itself) takes a host."""
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return pattern in ("*", host)


def _path_matches(route: EffectiveRoute, path: str) -> bool:
    match = route.match
    if match.path is not None:
        return path in match.path
    if match.path_regex is not None:
        return any(regex_matches(pattern, path) for pattern in match.path_regex)
    return any(prefix_matches(prefix, path) for prefix in match.path_prefix or ("/",))


def prefix_matches(prefix: str, path: str) -> bool:
    """Whether a prefix takes a path by whole segments; its final slash does not count."""
    stem = prefix.rstrip("/")
    return path == stem or path.startswith(stem + "/")


def _wanted_path(route: EffectiveRoute) -> str:
    match = route.match
    if match.path is not None:
        return " or ".join(match.path)
    if match.path_regex is not None:
        return " or ".join(f"matched by {pattern}" for pattern in match.path_regex)
    return " or ".join(f"{prefix.rstrip('/')} or below it" for prefix in match.path_prefix or ("/",))


def _value_mismatch(what: str, name: str, wanted: StringMatch, value: str | None) -> str | None:
    if wanted.present is not None:
        if wanted.present == (value is not None):
            return None
        return f"{what} {name} is {'missing' if wanted.present else 'there'}"
    if value is None:
        return f"{what} {name} is missing"
    if wanted.regex is not None:
        return None if regex_matches(wanted.regex, value) else f"{what} {name} does not match {wanted.regex}"
    return None if value == wanted.exact else f"{what} {name} is {value!r}, not {wanted.exact!r}"
