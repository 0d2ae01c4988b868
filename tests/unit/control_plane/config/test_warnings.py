"""What may be meant, but rarely is."""

from datetime import UTC, datetime

import pytest

from control_plane.config.not_enforced import NOT_ENFORCED, Feature
from tests.unit.control_plane.config.documents import document, loaded, warnings

AUTH = "auth: {any_of: [jwt.main]}"


def _routes(*routes: str) -> str:
    return "routes:\n" + "\n".join(f"  - {{name: r{place}, {route}}}" for place, route in enumerate(routes))


def test_sound_document_has_none() -> None:
    """Nothing is said about a configuration with nothing odd."""
    assert [] == warnings()


def test_public_route_without_limit() -> None:
    """Whoever may call as often as they like is named; what no service answers is not."""
    found = warnings(
        routes=_routes(
            "match: {path: /a}, service: users, auth: none",
            "match: {path: /b}, service: users, auth: none, rate_limits: [by-ip]",
            "match: {path: /c}, auth: none, direct_response: {status: 200}",
        )
    )

    assert ["routes[0]: route 'r0' is public and has no limit (rate_limits: [...])"] == found


def test_limit_by_header_alone() -> None:
    """A header is the client's to choose."""
    found = warnings(rate_limits="rate_limits: {a: {rate: 1/second, key: ['header:x-a']}}")

    assert [
        "rate_limits.a.key: a client evades this limit by changing the header (client_ip or user beside it)"
    ] == found


def test_passed_sunset() -> None:
    """A sunset is compared with the clock that is given, if any."""
    text = document(routes=_routes(f"service: users, {AUTH}, deprecation: {{since: 2026-01-01, sunset: 2026-02-01}}"))

    assert () == loaded(text).warnings
    assert () == loaded(text, now=datetime(2026, 1, 31, tzinfo=UTC)).warnings
    assert ["has passed (2026-02-01); the route still answers"] == [
        warning.message for warning in loaded(text, now=datetime(2026, 2, 1, tzinfo=UTC)).warnings
    ]


def test_memory_of_several_workers() -> None:
    """Each limit and each cache that several processes would have to share is named; what is not used is not."""
    two = "{endpoints: [{path: /run/a}, {path: /run/b}]}"
    found = warnings(
        callouts=f"callouts: {{ext_authz: {two}, ext_proc: {two}}}",
        routes=_routes(f"service: users, {AUTH}, rate_limits: [by-user], cache: {{}}"),
    )

    assert [
        "rate_limits.by-user: each of the 2 workers counts for itself "
        "(stores: {rate_limits: redis} counts once for all)",
        "routes[0].cache: route 'r0': each of the 2 workers keeps its own answers (stores: {cache: redis} shares them)",
    ] == found


def test_cache_that_stores_nothing() -> None:
    """A cache on a route for other methods than GET and HEAD is pointless."""
    found = warnings(routes=_routes(f"service: users, {AUTH}, match: {{methods: [POST]}}, cache: {{}}"))

    assert ["routes[0].cache: never stores anything: the route matches neither GET nor HEAD"] == found


def test_not_enforced(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read and not acted upon is never silently ignored."""
    feature = Feature("nobody is called so", lambda _: [("name",)])
    monkeypatch.setattr("control_plane.config.rules.not_enforced.NOT_ENFORCED", (feature,))
    found = warnings()

    assert ["name: not enforced yet: nobody is called so"] == found


def test_everything_is_enforced() -> None:
    """This version acts upon everything that it reads."""
    assert () == NOT_ENFORCED


def test_nonces_of_several_workers() -> None:
    """Each worker remembers its own nonces: what one has seen another one takes."""
    two = "{endpoints: [{path: /run/a.sock}, {path: /run/b.sock}]}"
    found = warnings(
        callouts=f"callouts: {{ext_authz: {two}}}",
        auth=f"auth: {{signatures: {{hooks: {{clients: [{{id: a, secret: {'s' * 32}}}]}}}}}}",
        routes=_routes("service: users, auth: {any_of: [signatures.hooks]}"),
    )

    assert [
        "auth.signatures.hooks: each of the 2 workers knows the nonces of its own requests only: "
        "a replay to another one passes"
    ] == [each for each in found if "nonces" in each]


def test_shadow() -> None:
    """A route that refuses nobody is named."""
    found = warnings(routes=_routes(f"service: users, {AUTH}, shadow: true"))

    assert ["routes[0].shadow: nothing is refused: what would be is counted (leave it out to enforce)"] == found


def test_optional_with_required_claims() -> None:
    """Requirements that whoever sends nothing evades are named."""
    optional = "auth: {any_of: [jwt.main], optional: true, required_claims: {roles: [admin]}}"
    found = warnings(routes=_routes(f"service: users, {optional}"))

    assert [
        "routes[0].auth.required_claims: do not hold for callers without a credential, since authentication is optional"
    ] == found


def test_two_providers_of_one_issuer() -> None:
    """The second provider of an issuer on one route never judges."""
    provider = f"{{issuer: https://a.example, algorithms: [HS256], secret: {'s' * 32}}}"
    found = warnings(
        auth=f"auth: {{jwt: {{main: {provider}, other: {provider}}}}}",
        routes=_routes("service: users, auth: {any_of: [jwt.main, jwt.other]}"),
    )

    assert [
        "routes[0].auth: jwt.other has the same issuer as jwt.main: every token of it is judged by jwt.main"
    ] == found
