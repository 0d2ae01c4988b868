"""Origins and preflights."""

import re

import pytest

from control_plane.config.effective import effective_routes
from control_plane.config.model.routes import Cors
from control_plane.translate.cors import cors_policy, preflight_routes
from tests.unit.control_plane.translate.gateways import gateway


@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        ("https://a.example.com", True),
        ("https://a.b.example.com", True),
        ("https://example.com", False),
        ("http://a.example.com", False),
        ("https://a.example.com:8443", False),
        ("https://a.example.com.evil.net", False),
        ("https://evil.net/.example.com", False),
        ("https://aXexample.com", False),
        ("https://a.exampleXcom", False),
    ],
)
def test_wildcard_origins(origin: str, is_allowed: bool) -> None:
    """`https://*.example.com` is any subdomain, and nothing that only looks like one."""
    (matcher,) = cors_policy(Cors(allow_origins=("https://*.example.com",))).allow_origin_string_match

    assert is_allowed == bool(re.fullmatch(matcher.safe_regex.regex, origin))


def test_own_headers_are_exposed_once() -> None:
    """What the gateway sets can be read by scripts, whatever the route exposes besides, in any spelling."""
    exposed = cors_policy(Cors(allow_origins=("*",), expose_headers=("x-total", "Link"))).expose_headers.split(",")

    assert {"x-total", "Link", "ratelimit", "retry-after", "x-request-id"} <= set(exposed)
    assert "link" not in exposed


def test_preflights_compare_the_wanted_method() -> None:
    """A preflight has the path of its route and names the method that is meant; headers of the route do not count."""
    (route,) = effective_routes(
        gateway(
            """
routes:
  - name: users
    match: {path: [/a, /b], methods: [GET], headers: {x-version: "2"}}
    service: users
    auth: none
    cors: {allow_origins: [https://app.example.com]}
"""
        )
    )
    preflights = list(preflight_routes(route))

    assert ["/a", "/b"] == [preflight.match.path for preflight in preflights]
    for preflight in preflights:
        matchers = {matcher.name: matcher for matcher in preflight.match.headers}
        assert {":method", "origin", "access-control-request-method"} == set(matchers)
        assert "OPTIONS" == matchers[":method"].string_match.exact
        assert "GET" == matchers["access-control-request-method"].string_match.exact
