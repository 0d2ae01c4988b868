"""Rewrites and redirects, tried with the regexes and prefixes that Envoy gets."""

import re

import pytest
from envoy.config.route.v3 import route_components_pb2

from control_plane.config.model.routes import Match
from control_plane.translate.actions import set_prefix_rewrite
from control_plane.translate.matches import path_matches


def _rewritten(prefix: str, replacement: str, path: str) -> str:
    """What Envoy makes of a path: it exchanges the matched text, or substitutes the regex."""
    (match,) = path_matches(Match(path_prefix=(prefix,)))
    action = route_components_pb2.RouteAction()
    set_prefix_rewrite(action, match, replacement)
    if action.HasField("regex_rewrite"):
        return re.sub(action.regex_rewrite.pattern.regex, action.regex_rewrite.substitution, path)
    return action.prefix_rewrite + path.removeprefix(match.path_separated_prefix or match.prefix)


@pytest.mark.parametrize("prefix", ["/", "/api", "/api/", "/a.b"])
@pytest.mark.parametrize("replacement", ["/", "/v1", "/v1/", "/v1/x"])
@pytest.mark.parametrize("rest", ["", "/", "/users", "/users/7/"])
def test_prefixes_are_exchanged_by_whole_segments(prefix: str, replacement: str, rest: str) -> None:
    """The segments behind the prefix stand behind the replacement, with one slash between them."""
    path = prefix.rstrip("/") + rest or "/"
    segments = [*filter(None, replacement.split("/")), *filter(None, rest.split("/"))]
    rewritten = _rewritten(prefix, replacement, path)

    assert "//" not in rewritten
    assert segments == [segment for segment in rewritten.split("/") if segment]
    assert rewritten.startswith("/")
