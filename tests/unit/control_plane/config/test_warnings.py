"""What may be meant, but rarely is."""

from datetime import UTC, datetime

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


def test_not_enforced() -> None:
    """What is read and not acted upon is never silently ignored."""
    found = warnings(envoy_patches="tracing: {otlp_endpoint: 'http://127.0.0.1:4317'}")

    assert ["tracing.otlp_endpoint: not enforced yet: no traces are sent"] == found
