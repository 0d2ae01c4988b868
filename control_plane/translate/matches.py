"""Route matches: which requests a route of gateway.yaml means, in Envoy's terms."""

import re
from collections.abc import Iterable, Iterator, Sequence

from envoy.config.route.v3 import route_components_pb2

from control_plane.config.model.routes import Match, StringMatch
from control_plane.translate.messages import exact, regex

HeaderMatcher = route_components_pb2.HeaderMatcher


def path_matches(match: Match) -> Iterator[route_components_pb2.RouteMatch]:
    """One RouteMatch per alternative path, with everything but methods and headers; Envoy has no "any of"."""
    query = [_query(name, wanted) for name, wanted in sorted(match.query.items())]
    for message in _paths(match):
        message.query_parameters.extend(query)
        yield message


def _paths(match: Match) -> Iterator[route_components_pb2.RouteMatch]:
    if match.path is not None:
        yield from (route_components_pb2.RouteMatch(path=path) for path in match.path)
    elif match.path_regex is not None:
        yield from (route_components_pb2.RouteMatch(safe_regex=regex(pattern)) for pattern in match.path_regex)
    else:
        yield from (_prefix(prefix) for prefix in match.path_prefix or ("/",))


def _prefix(prefix: str) -> route_components_pb2.RouteMatch:
    """Whole segments: `path_separated_prefix` takes /api/users and /api/users/7, not /api/usersX."""
    segments = prefix.rstrip("/")
    if not segments:
        return route_components_pb2.RouteMatch(prefix="/")
    return route_components_pb2.RouteMatch(path_separated_prefix=segments)


def header_matchers(match: Match) -> list[HeaderMatcher]:
    """The conditions on request headers, without that on the method."""
    return [_header(name.lower(), wanted) for name, wanted in sorted(match.headers.items())]


def method_matcher(methods: Sequence[str], header: str = ":method") -> HeaderMatcher:
    """The method is one of these; in a preflight it stands in another header."""
    return one_of(header, methods)


def one_of(header: str, values: Iterable[str]) -> HeaderMatcher:
    """A header with one of several values."""
    listed = sorted(set(values))
    if len(listed) == 1:
        return HeaderMatcher(name=header, string_match=exact(listed[0]))
    pattern = "|".join(re.escape(value) for value in listed)
    matcher = HeaderMatcher(name=header)
    matcher.string_match.safe_regex.CopyFrom(regex(pattern))
    return matcher


def present(header: str) -> HeaderMatcher:
    return HeaderMatcher(name=header, present_match=True)


def _header(name: str, wanted: StringMatch) -> HeaderMatcher:
    if wanted.present is not None:
        return HeaderMatcher(name=name, present_match=wanted.present)
    matcher = HeaderMatcher(name=name)
    if wanted.regex is not None:
        matcher.string_match.safe_regex.CopyFrom(regex(wanted.regex))
    else:
        matcher.string_match.exact = wanted.exact or ""
    return matcher


def _query(name: str, wanted: StringMatch) -> route_components_pb2.QueryParameterMatcher:
    if wanted.present is not None:
        return route_components_pb2.QueryParameterMatcher(name=name, present_match=wanted.present)
    matcher = route_components_pb2.QueryParameterMatcher(name=name)
    if wanted.regex is not None:
        matcher.string_match.safe_regex.CopyFrom(regex(wanted.regex))
    else:
        matcher.string_match.exact = wanted.exact or ""
    return matcher
