"""Which route takes a request, and why the others do not."""

import pytest

from control_plane.config.effective import effective_routes
from control_plane.config.matching import Outcome, RefusedPathError, Request, first_match, normalised_path
from tests.unit.control_plane.config.documents import document, loaded

AUTH = "auth: {any_of: [jwt.main]}"


def _outcome(*routes: str, **changes: object) -> Outcome:
    lines = "\n".join(f"  - {{name: r{place}, service: users, {AUTH}, {route}}}" for place, route in enumerate(routes))
    gateway = loaded(document(routes=f"routes:\n{lines}")).gateway

    assert gateway is not None

    request = {"listener": "public", "method": "GET", "host": "a.test", "path": "/", "query": {}, "headers": {}}
    return first_match(effective_routes(gateway), Request(**{**request, **changes}))  # type: ignore[arg-type]


def test_first_match_wins_over_hosts() -> None:
    """A route for every host above one for a single host wins: file order alone counts."""
    outcome = _outcome("match: {path_prefix: /a}", "hosts: [a.test]", path="/a/b")

    assert outcome.route is not None
    assert ("r0", ()) == (outcome.route.name, outcome.passed)


@pytest.mark.parametrize(
    ("route", "changes", "reason"),
    [
        ("hosts: ['*.test']", {"host": "test"}, "host test is not *.test"),
        ("match: {path_prefix: /api}", {"path": "/apiX"}, "path /apiX is not /api or below it"),
        ("match: {path: /api}", {"path": "/api/"}, "path /api/ is not /api"),
        ("match: {path_regex: '/a[0-9]'}", {"path": "/a10"}, "path /a10 is not matched by /a[0-9]"),
        ("match: {methods: [POST]}", {}, "method GET is not POST"),
        ("match: {headers: {X-A: '2'}}", {"headers": {"x-a": "1"}}, "header X-A is '1', not '2'"),
        ("match: {headers: {x-a: {present: true}}}", {}, "header x-a is missing"),
        ("match: {headers: {x-a: {present: false}}}", {"headers": {"x-a": ""}}, "header x-a is there"),
        ("match: {query: {v: {regex: '2.*'}}}", {"query": {"v": "12"}}, "query parameter v does not match 2.*"),
    ],
)
def test_reason(route: str, changes: dict[str, object], reason: str) -> None:
    """The first thing in which route and request differ is named."""
    assert [reason] == [text for _, text in _outcome(route, **changes).passed]


@pytest.mark.parametrize(
    ("route", "changes"),
    [
        ("hosts: ['*.test']", {"host": "a.b.test"}),
        ("match: {path_prefix: /api/}", {"path": "/api"}),
        ("match: {path_prefix: /api}", {"path": "/api/x"}),
        ("match: {headers: {X-A: {regex: '2[.].*'}}}", {"headers": {"x-a": "2.1"}}),
        ("match: {query: {v: '2'}}", {"query": {"v": "2"}}),
        ("match: {headers: {x-a: {present: false}}}", {}),
    ],
)
def test_takes(route: str, changes: dict[str, object]) -> None:
    """What a route says it takes, it takes."""
    assert _outcome(route, **changes).route is not None


def test_preflight_is_taken_by_the_method_that_it_asks_for() -> None:
    """OPTIONS of a browser is compared by what the browser wants to do, on routes with CORS."""
    cors = "cors: {allow_origins: ['https://a.test']}"
    headers = {"origin": "https://a.test", "access-control-request-method": "PUT"}
    outcome = _outcome(
        f"match: {{methods: [GET]}}, {cors}", f"match: {{methods: [PUT]}}, {cors}", method="OPTIONS", headers=headers
    )

    assert outcome.route is not None
    assert ("r1", True) == (outcome.route.name, outcome.is_preflight)


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/a/../b", "/b"), ("/a/./b", "/a/b"), ("//a///b", "/a/b"), ("/%61%2D", "/a-"), ("/a/..", "/"), ("/../..", "/")],
)
def test_normalised_path(path: str, expected: str) -> None:
    """Paths are compared after normalisation."""
    assert expected == normalised_path(path)


def test_escaped_slashes_are_refused() -> None:
    """%2F and %5C never reach a route."""
    with pytest.raises(RefusedPathError):
        normalised_path("/a%2fb")
