"""Faults of routes and defaults: one case a rule."""

import pytest

from tests.unit.control_plane.config.documents import faults, route, warnings

PUBLIC = "match: {path: /x}, auth: none"
AUTH = "auth: {any_of: [jwt.main]}"
PROXY = f"match: {{path_prefix: /x}}, service: users, {AUTH}"

CASES = {
    "auth_missing": (
        "service: users",
        "auth: is missing (auth: {any_of: [api_keys.partners]}, or auth: none for a public route)",
    ),
    "auth_of_no_kind": (
        "service: users, auth: {optional: true}",
        "auth: lacks its kind (exactly one of any_of, all_of, or none for a public route)",
    ),
    "auth_of_both_kinds": (
        "service: users, auth: {any_of: [jwt.main], all_of: [jwt.main]}",
        "auth.all_of: cannot stand beside any_of (exactly one of any_of, all_of, or none for a public route)",
    ),
    "auth_misspelt_none": (
        "service: users, auth: nonee",
        "auth: has to be a mapping with any_of, all_of, optional, required_claims, or none",
    ),
    "auth_reference_without_kind": (
        "service: users, auth: {any_of: [main]}",
        "auth.any_of[0]: 'main' is not a reference (did you mean jwt.main?)",
    ),
    "target_missing": (
        PUBLIC,
        "lacks its kind (exactly one of backends, service, direct_response, redirect)",
    ),
    "weights_all_zero": (
        f"backends: [{{service: users, weight: 0}}, {{service: events, weight: 0}}], {AUTH}",
        "backends: has only weights of 0 (at least one of 1 or more)",
    ),
    "weight_negative": (
        f"backends: [{{service: users, weight: -1}}], {AUTH}",
        "backends[0].weight: -1 is too small (at least 0)",
    ),
    "two_kinds_of_path": (
        f"match: {{path: /a, path_regex: /b}}, service: users, {AUTH}",
        "match.path_regex: cannot stand beside path (at most one of path, path_prefix, path_regex)",
    ),
    "path_with_query": (
        f"match: {{path: '/a?b=c'}}, service: users, {AUTH}",
        "match.path: '/a?b=c' holds a query or a fragment (the path alone)",
    ),
    "compression_from_more_than_envoy_can_count": (
        f"match: {{path: /a}}, service: users, compression: {{min_size: 5GiB}}, {AUTH}",
        "compression.min_size: is too large (less than 4GiB)",
    ),
    "path_regex_too_large": (
        f"match: {{path_regex: '/a{{1,1000}}'}}, service: users, {AUTH}",
        "match.path_regex: is too large a regular expression: 2,004 instructions (at most 1,000)",
    ),
    "path_regex_empty": (
        f"match: {{path_regex: ''}}, service: users, {AUTH}",
        "match.path_regex: is an empty regular expression (.* matches everything)",
    ),
    "header_regex_empty": (
        f"match: {{headers: {{x: {{regex: ''}}}}}}, service: users, {AUTH}",
        "match.headers.x.regex: is an empty regular expression (.* matches everything)",
    ),
    "path_regex_not_re2": (
        f"match: {{path_regex: '/(?=a)'}}, service: users, {AUTH}",
        "match.path_regex: is not a regular expression of RE2: invalid perl operator: (?=",
    ),
    "header_name": (
        f"match: {{headers: {{'x y': a}}}}, service: users, {AUTH}",
        "match.headers[\"x y\"]: 'x y' is not a header name (letters, digits, -, _)",
    ),
    "header_match_of_two_kinds": (
        f"match: {{headers: {{x: {{present: true, regex: a}}}}}}, service: users, {AUTH}",
        "match.headers.x.regex: cannot stand beside present (exactly one of exact, present, regex)",
    ),
    "host_with_port": (
        f"hosts: ['api.example.com:443'], service: users, {AUTH}",
        "hosts[0]: 'api.example.com:443' has a port, which is ignored in requests (write api.example.com)",
    ),
    "host_star_inside": (
        f"hosts: ['api.*.com'], service: users, {AUTH}",
        "hosts[0]: 'api.*.com' has a * that is not its first label (*, api.example.com or *.example.com)",
    ),
    "retry_condition": (
        f"{PROXY}, retry: {{on: [connect-failures]}}",
        "retry.on[0]: 'connect-failures' is not allowed (did you mean connect-failure?)",
    ),
    "per_try_timeout": (
        f"{PROXY}, timeout: 1s, retry: {{per_try_timeout: 1s}}",
        "retry.per_try_timeout: per_try_timeout has to be shorter than timeout (route: 1s)",
    ),
    "cors_star_with_credentials": (
        f"{PROXY}, cors: {{allow_origins: ['*'], allow_credentials: true}}",
        "cors.allow_origins[0]: '*' cannot stand beside allow_credentials: true (name the origins)",
    ),
    "cors_origin_with_path": (
        f"{PROXY}, cors: {{allow_origins: ['https://a.test/']}}",
        "cors.allow_origins[0]: 'https://a.test/' is not an origin "
        "(https://app.example.com, https://*.example.com or *; no path, no final /)",
    ),
    "cache_user_on_public_route": (
        "match: {path: /x}, service: users, auth: none, cache: {scope: user}",
        "cache.scope: user has no meaning on a public route (public)",
    ),
    "cache_query_both": (
        f"{PROXY}, cache: {{query: {{allow: [a], ignore: [b]}}}}",
        "cache.query.ignore: cannot stand beside allow (exactly one of allow, ignore)",
    ),
    "cache_query_name": (
        f"{PROXY}, cache: {{query: {{ignore: ['utm*source']}}}}",
        "cache.query.ignore[0]: 'utm*source' is not a parameter's name (page, utm_*)",
    ),
    "cache_of_a_stream": (
        f"{PROXY}, timeout: 0s, cache: {{}}",
        "cache: streams are never cached, and timeout is 0s (a timeout, or no cache)",
    ),
    "limit_by_user_on_public_route": (
        "match: {path: /x}, service: users, auth: none, rate_limits: [by-user]",
        "rate_limits[0]: the limit 'by-user' counts by user, which is never there: the route is public (another limit)",
    ),
    "limit_unknown": (
        f"{PROXY}, rate_limits: [by-usr]",
        "rate_limits[0]: unknown limit 'by-usr' (did you mean by-user?)",
    ),
    "redirect_with_cache": (
        f"{PUBLIC}, redirect: {{path: /y}}, cache: {{}}",
        "cache: means nothing on a route with redirect (on one with backends or service)",
    ),
    "redirect_to_itself": (
        f"{PUBLIC}, redirect: {{status: 308}}",
        "redirect: leads to itself (at least one of scheme, host, port, path, path_prefix)",
    ),
    "redirect_status": (
        f"{PUBLIC}, redirect: {{path: /y, status: 200}}",
        "redirect.status: 200 is not allowed (301, 302, 303, 307, 308)",
    ),
    "rewrite_of_two_kinds": (
        f"{PROXY}, rewrite: {{path: /a, path_prefix: /b}}",
        "rewrite.path_prefix: cannot stand beside path (at most one of path, path_prefix, regex)",
    ),
    "rewrite_group": (
        f"{PROXY}, rewrite: {{regex: {{match: '/(a)', replace: '/\\2'}}}}",
        "rewrite.regex.replace: \\2 refers to a group that is not there (the expression has 1)",
    ),
    "rewrite_prefix_of_a_path": (
        f"match: {{path: /a}}, service: users, {AUTH}, rewrite: {{path_prefix: /b}}",
        "rewrite.path_prefix: replaces a prefix, and the route matches none "
        "(match: {path_prefix: ...}; rewrite: {path: ...})",
    ),
    "mirror_unknown": (
        f"{PROXY}, mirror: {{service: evnts}}",
        "mirror.service: unknown service 'evnts' (did you mean events?)",
    ),
    "ip_host_bits": (
        f"{PROXY}, ip: {{allow: [10.1.2.3/8]}}",
        "ip.allow[0]: '10.1.2.3/8' has bits set behind its prefix (did you mean 10.0.0.0/8?)",
    ),
    "ip_nonsense": (
        f"{PROXY}, ip: {{deny: [localhost]}}",
        "ip.deny[0]: 'localhost' is not a network (10.0.0.0/8, 2001:db8::/32 or one address)",
    ),
    "transform_of_host": (
        f"{PROXY}, transform: {{request: {{headers: {{set: {{Host: a}}}}}}}}",
        "transform.request.headers.set.Host: 'host' cannot be changed here (rewrite: {host: ...})",
    ),
    "redaction_of_everything": (
        f"{PROXY}, transform: {{response: {{body: [{{type: redact, fields: ['*']}}]}}}}",
        "transform.response.body[0].fields[0]: '*' would blank out everything",
    ),
    "sunset_before_since": (
        f"{PROXY}, deprecation: {{since: 2026-09-01, sunset: 2026-08-31}}",
        "deprecation.sunset: is before since (the same time or later)",
    ),
    "cors_null_unquoted": (
        f"{PROXY}, cors: {{allow_origins: [null]}}",
        "cors.allow_origins[0]: is YAML's null, not text (quote it: 'null')",
    ),
    "upgrades": (f"{PROXY}, upgrades: all", "upgrades: 'all' is not allowed (none)"),
    "listener_unknown": (
        f"{PROXY}, listeners: [publik]",
        "listeners[0]: unknown listener 'publik' (did you mean public?)",
    ),
    "duration": (
        f"{PROXY}, timeout: 10",
        "timeout: '10' is not a duration (a number with a unit: 250ms, 5s, 1m, 1h, 7d)",
    ),
    "size": (
        f"{PROXY}, max_request_body: 10MB",
        "max_request_body: '10MB' is not a size (a number with a unit: 512B, 64KiB, 1MiB, 1GiB)",
    ),
    "list_wanted": (f"{PROXY}, rate_limits: by-ip", "rate_limits: has to be a list ([...]) or none"),
    "empty_value": (f"{PROXY}, timeout: ", "timeout: has no value (give it one, or leave the key out)"),
    "unknown_key": (f"{PROXY}, time_out: 1s", "time_out: unknown key (did you mean timeout?)"),
}


@pytest.mark.parametrize("name", CASES)
def test_fault_of_a_route(name: str) -> None:
    """Each mistake is one fault, at its key, that says what is allowed."""
    text, expected = CASES[name]
    found = [fault.removeprefix("routes[0]: ") for fault in route(text)]

    assert [expected] == found


def test_defaults_hold_no_target() -> None:
    """Keys of a route alone are refused in defaults, and by name."""
    found = faults(defaults="defaults: {service: users, timeout: 1s}")

    assert ["defaults.service: is a key of a route, not of defaults"] == found


def test_default_limit_that_a_public_route_cannot_have() -> None:
    """A limit from defaults is judged on every route that it reaches."""
    found = route("match: {path: /x}, service: users, auth: none", "defaults: {rate_limits: [by-user]}")

    assert [
        "rate_limits: the limit 'by-user' counts by user, which is never there: the route is public "
        "(rate_limits: none, or another limit)"
    ] == found


def test_defaults_that_cannot_apply_are_ignored() -> None:
    """A redirect takes no cache and no retry from defaults, and says nothing about it."""
    found = route(f"{PUBLIC}, redirect: {{path: /y}}", "defaults: {cache: {}, retry: {attempts: 1}, timeout: 1s}")

    assert [] == found


def test_budget_beside_max_retries() -> None:
    """A retry budget replaces circuit_breaker.max_retries: both together are a fault."""
    found = faults(
        services="""
            services:
              users: {endpoints: [{address: 127.0.0.1, port: 8101}], circuit_breaker: {max_retries: 5}}
        """,
        routes=f"routes: [{{name: r, {PROXY}, retry: {{budget: {{percent: 20}}}}}}]",
    )

    assert [
        "routes[0].retry.budget: replaces circuit_breaker.max_retries, which service 'users' sets (one of the two)"
    ] == found


def test_listeners_are_said_when_there_are_two() -> None:
    """Which of two listeners serves a route is never guessed; one that redirects does not count."""
    two = "listeners: [{name: a, port: 10000}, {name: b, port: 10001}]"
    redirecting = "listeners: [{name: a, port: 10000}, {name: b, port: 10001, redirect: {scheme: https}}]"

    assert ["routes[0].listeners: is missing, because several listeners serve routes (one or more of a, b)"] == faults(
        listeners=two
    )
    assert [] == faults(listeners=redirecting)


def test_redirecting_listener_serves_no_route() -> None:
    """A route cannot name a listener that redirects everything."""
    found = faults(
        listeners="listeners: [{name: a, port: 10000}, {name: b, port: 10001, redirect: {scheme: https}}]",
        routes=f"routes: [{{name: r, {PROXY}, listeners: [b]}}]",
    )

    assert ["routes[0].listeners[0]: 'b' redirects everything and serves no route (a)"] == found


def test_grpc_routes_are_streams() -> None:
    """A route to gRPC has no timeout unless it says so itself, so it cannot cache."""
    grpc = "services: {users: {endpoints: [{address: 127.0.0.1, port: 8101}], protocol: grpc}}"

    assert [
        "routes[0].cache: streams are never cached, and the route leads to gRPC (a timeout, or no cache)"
    ] == faults(
        services=grpc, defaults="defaults: {timeout: 5s}", routes=f"routes: [{{name: r, {PROXY}, cache: {{}}}}]"
    )
    assert [] == faults(services=grpc, routes=f"routes: [{{name: r, {PROXY}, timeout: 5s, cache: {{}}}}]")


def test_header_values_are_one_line() -> None:
    """A value cannot smuggle a second header."""
    found = route(f'{PROXY}, transform: {{request: {{headers: {{set: {{x-a: "b\\r\\nc: d"}}}}}}}}')

    assert ["transform.request.headers.set.x-a: holds a control character (one line of text)"] == found


def test_identical_headers_by_case() -> None:
    """Two spellings of one header are one header."""
    found = route(f"{PROXY}, transform: {{request: {{headers: {{set: {{x-a: b, X-A: c}}}}}}}}")

    assert ["transform.request.headers.set.X-A: is the same header as x-a (case does not count)"] == found


def test_paths_that_no_request_has() -> None:
    """Paths are compared after normalisation: what it removes cannot be matched, and that is a warning."""
    found = warnings(
        routes=f"routes: [{{name: r, match: {{path_prefix: [/a//b, /a/../b, /a%2Fb]}}, service: users, {AUTH}}}]"
    )

    assert 3 == len(found)
    assert all("no request has this path" in warning for warning in found)


def test_no_consequences_of_a_fault() -> None:
    """What is wrong once is said once: a route whose auth does not fit is not said to have none."""
    assert ["auth.any_of: has to be a list ([...])"] == route("service: users, auth: {any_of: jwt.main}")
    assert ["service: has to be a single value, not a list"] == route(f"service: [users], {AUTH}")
