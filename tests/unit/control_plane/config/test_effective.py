"""What holds for each route once defaults are filled in."""

from datetime import timedelta

from control_plane.config.effective import DEFAULT_TIMEOUT, EffectiveRoute, effective_routes
from control_plane.config.model.listeners import IpRules
from tests.unit.control_plane.config.documents import document, loaded

AUTH = "auth: {any_of: [jwt.main]}"


def _effective(route: str, **sections: str) -> EffectiveRoute:
    result = loaded(document(routes=f"routes: [{{name: r, {route}}}]", **sections))

    assert () == result.faults
    assert result.gateway is not None

    return effective_routes(result.gateway)[0]


def test_a_key_of_the_route_replaces_the_default() -> None:
    """Nothing is merged deeper than the key."""
    route = _effective(
        f"service: users, {AUTH}, retry: {{attempts: 5}}", defaults="defaults: {retry: {on: ['500']}, timeout: 3s}"
    )

    assert route.retry is not None
    assert (5, ("connect-failure", "refused-stream", "503")) == (route.retry.attempts, route.retry.on)
    assert timedelta(seconds=3) == route.timeout
    assert ("route", "defaults", "built in") == tuple(route.origins[key] for key in ("retry", "timeout", "cors"))


def test_none_switches_a_default_off() -> None:
    """`none` is a value of its own, not the absence of one."""
    route = _effective(
        f"service: users, {AUTH}, retry: none, rate_limits: none",
        defaults="defaults: {retry: {attempts: 2}, rate_limits: [by-ip]}",
    )

    assert (None, ()) == (route.retry, route.rate_limits)
    assert "route" == route.origins["retry"]


def test_address_rules_add_up() -> None:
    """defaults.ip holds in addition to a route's."""
    route = _effective(
        f"service: users, {AUTH}, ip: {{deny: [10.1.0.0/16]}}", defaults="defaults: {ip: {allow: [10.0.0.0/8]}}"
    )

    assert (IpRules(allow=("10.0.0.0/8",)), IpRules(deny=("10.1.0.0/16",))) == route.ip


def test_defaults_that_cannot_apply() -> None:
    """A redirect gets none of the keys that only a service gives a meaning."""
    route = _effective(
        f"redirect: {{path: /y}}, {AUTH}",
        defaults="defaults: {cache: {}, retry: {attempts: 2}, cors: {allow_origins: ['*']}}",
    )

    assert (None, None) == (route.cache, route.retry)
    assert route.cors is not None
    assert "built in" == route.origins["cache"]


def test_scope_of_a_cache() -> None:
    """`user` where someone is proven, `public` where nobody is; a default scope never makes a public route a fault."""
    private = _effective(f"service: users, {AUTH}", defaults="defaults: {cache: {}}")
    public = _effective("service: users, auth: none", defaults="defaults: {cache: {scope: user}}")

    assert private.cache is not None
    assert public.cache is not None
    assert ("user", "public") == (private.cache.scope, public.cache.scope)


def test_timeouts() -> None:
    """Envoy's own where nobody says, none for gRPC unless the route says."""
    grpc = "services: {users: {endpoints: [{address: 127.0.0.1, port: 8101}], protocol: grpc}}"

    assert DEFAULT_TIMEOUT == _effective(f"service: users, {AUTH}").timeout
    assert (
        timedelta(0) == _effective(f"service: users, {AUTH}", services=grpc, defaults="defaults: {timeout: 5s}").timeout
    )
    assert timedelta(seconds=1) == _effective(f"service: users, {AUTH}, timeout: 1s", services=grpc).timeout


def test_streams_keep_header_transforms_only() -> None:
    """Bodies of a stream are never touched; a default that would is dropped."""
    defaults = (
        "defaults: {transform: {response: {headers: {remove: [x-a]}, body: [{type: redact, fields: [a]}]}}, cache: {}}"
    )
    route = _effective(f"service: users, {AUTH}, timeout: 0s", defaults=defaults)

    assert route.is_stream
    assert route.transform is not None
    assert (("x-a",), ()) == (route.transform.response.headers.remove, route.transform.response.body)
    assert route.cache is None


def test_redaction_fails_closed() -> None:
    """What a redaction hides does not come through when ext_proc is dead, unless the route says so."""
    redact = "transform: {response: {body: [{type: redact, fields: [a]}]}}"

    assert "closed" == _effective(f"service: users, {AUTH}, {redact}").ext_proc_failure_mode
    assert "open" == _effective(f"service: users, {AUTH}").ext_proc_failure_mode
    said = f"service: users, {AUTH}, {redact}, failure_mode: {{ext_proc: open}}"
    assert "open" == _effective(said).ext_proc_failure_mode


def test_listeners_and_backends_are_filled_in() -> None:
    """The only serving listener, and one backend for `service`."""
    route = _effective(f"service: users, {AUTH}")

    assert ("public",) == route.listeners
    assert [("users", 1)] == [(backend.service, backend.weight) for backend in route.backends]
