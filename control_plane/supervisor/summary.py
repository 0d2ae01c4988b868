"""What `up` prints when all is ready: where everything is, and what to try first."""

from collections.abc import Callable, Iterator
from itertools import islice

from control_plane.config.effective import EffectiveRoute, effective_routes
from control_plane.config.model.gateway import Gateway
from control_plane.config.model.listeners import Listener
from control_plane.supervisor.plan import runs_analytics
from control_plane.supervisor.ports import LOOPBACK, WILDCARDS, Ports, demo_ports, listener_bindings, own_bindings

EXAMPLES = 3
TokenFor = Callable[[str], str]
"""A fresh token for a provider with a shared secret, by the provider's name."""


def addresses(gateway: Gateway, ports: Ports, demo: bool) -> dict[str, str]:
    """host:port of everything that listens, by name."""
    bindings = [*listener_bindings(gateway), *own_bindings(ports, demo, analytics=runs_analytics(gateway))]
    return {binding.name: f"{binding.address}:{binding.port}" for binding in bindings}


def summary(gateway: Gateway, ports: Ports, demo: bool, logs: str, token_for: TokenFor) -> str:
    """The table of addresses and up to three curl commands, as plain text."""
    rows = [*_rows(gateway, ports, demo), ("logs", logs)]
    width = max(len(name) for name, _ in rows)
    lines = ["", f"{gateway.name} is ready", "", *(f"  {name:<{width}}  {value}" for name, value in rows), ""]
    commands = list(curl_commands(gateway, token_for))
    if commands:
        lines += ["Try:", "", *(f"  {command}" for command in commands), ""]
    return "\n".join(lines)


def _rows(gateway: Gateway, ports: Ports, demo: bool) -> Iterator[tuple[str, str]]:
    for listener in gateway.listeners:
        yield f"listener {listener.name}", base_url(listener)
    yield "status page", f"http://{LOOPBACK}:{ports.http}/"
    yield "xDS", f"{LOOPBACK}:{ports.xds}"
    yield "Envoy", f"http://{LOOPBACK}:{ports.envoy_ready}/ready  admin http://{LOOPBACK}:{ports.envoy_admin}/"
    yield "ext_authz", f"{LOOPBACK}:{ports.ext_authz}  metrics http://{LOOPBACK}:{ports.ext_authz_admin}/metrics"
    yield "ext_proc", f"{LOOPBACK}:{ports.ext_proc}  metrics http://{LOOPBACK}:{ports.ext_proc_admin}/metrics"
    if runs_analytics(gateway):
        yield "usage report", f"http://{LOOPBACK}:{ports.analytics_http}/"
    if demo:
        instances = (f"{instance.name} :{port}" for instance, port in demo_ports(ports.demo).items())
        yield "demo services", "  ".join(instances)


def base_url(listener: Listener) -> str:
    """How a client on this machine reaches a listener."""
    host = "localhost" if listener.address in WILDCARDS | {LOOPBACK} else listener.address
    return f"{'https' if listener.tls else 'http'}://{f'[{host}]' if ':' in host else host}:{listener.port}"


def curl_commands(gateway: Gateway, token_for: TokenFor) -> Iterator[str]:
    """A token if one is needed, then GETs of the first routes that need no more than the file says."""
    routes = list(islice(_triable(gateway), EXAMPLES))
    provider = next((name for route in routes if (name := _provider(gateway, route))), None)
    if provider is not None:
        yield f"TOKEN={token_for(provider)}"
    listeners = {listener.name: listener for listener in gateway.listeners}
    for route in routes:
        yield _curl(route, listeners[route.listeners[0]], with_token=_provider(gateway, route) is not None)


def _triable(gateway: Gateway) -> Iterator[EffectiveRoute]:
    provider: str | None = None
    for route in effective_routes(gateway):
        wanted = _provider(gateway, route)
        if not _is_plain_get(route) or (route.auth is not None and wanted is None):
            continue
        if wanted is not None and wanted != (provider := provider or wanted):
            continue  # one token is enough for a first look
        yield route


def _is_plain_get(route: EffectiveRoute) -> bool:
    match = route.match
    return (
        route.kind != "redirect"
        and (not match.methods or "GET" in match.methods)
        and not (match.headers or match.query or match.path_regex)
    )


def _provider(gateway: Gateway, route: EffectiveRoute) -> str | None:
    """The first JWT provider that alone opens the route and whose secret is in the file."""
    if route.auth is None or route.auth.any_of is None or route.auth.required_claims:
        return None
    names = (reference.removeprefix("jwt.") for reference in route.auth.any_of if reference.startswith("jwt."))
    return next((name for name in names if gateway.auth.jwt[name].secret), None)


def _curl(route: EffectiveRoute, listener: Listener, *, with_token: bool) -> str:
    path = next(iter(route.match.path or route.match.path_prefix or ("/",)))
    words = ["curl", "-i", *(["-k"] if listener.tls else []), base_url(listener) + path]
    host = route.hosts[0]
    if host != "*":
        words += [_header("Host", host.replace("*", "www", 1))]
    if with_token:
        words += ['-H "Authorization: Bearer $TOKEN"']
    return " ".join(words)


def _header(name: str, value: str) -> str:
    return f"-H '{name}: {value}'"
