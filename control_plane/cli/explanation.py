"""What `gatewayctl explain` says: lines of text from a configuration and one request."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from control_plane.cli.transforms_explained import transform_rows
from control_plane.config.effective import POLICY_KEYS, EffectiveRoute, applies, effective_routes
from control_plane.config.matching import Outcome, RefusedPathError, Request, first_match, normalised_path
from control_plane.config.materials import Materials
from control_plane.config.model.gateway import Gateway
from control_plane.config.model.listeners import Listener
from control_plane.config.model.services import Service
from control_plane.config.wording import worded, worded_size
from control_plane.translate.policies import policies, processing_policy, query_parameters
from policy.cache_key import cache_uri
from policy.processing import compile_policy, query_rules


class UnexplainableError(Exception):
    """The question itself is wrong; the text says how."""


@dataclass(frozen=True, slots=True)
class Question:
    """One request, as typed."""

    method: str
    url: str
    """Absolute, or a path alone."""
    headers: Sequence[str]
    """`name: value`."""
    listener: str | None
    """None: the one whose port the URL has, else the first that serves routes."""


def explanation(gateway: Gateway, materials: Materials, question: Question) -> Iterator[str]:
    """Return the lines that tell which route takes a request and what happens to it.

    Raises:
        UnexplainableError: the URL, a header or the listener is none.
    """
    parts, headers = _split(question.url), _headers(question.headers)
    listener = _listener(gateway, question.listener, parts.port)
    host = headers.get("host") or parts.netloc.rpartition("@")[2] or "localhost"
    if listener.redirect is not None:
        yield f"listener {listener.name} redirects everything to {listener.redirect.scheme} (308) and serves no route"
        return
    try:
        path = normalised_path(parts.path or "/")
    except RefusedPathError as refused:
        yield f"400: {refused}"
        return
    query = dict(reversed(parse_qsl(parts.query, keep_blank_values=True)))
    request = Request(listener.name, question.method, _without_port(host), path, query, headers)
    yield f"{question.method} {path} for host {request.host} on listener {listener.name}"
    outcome = first_match(effective_routes(gateway), request)
    yield from _routing(outcome)
    if outcome.route is None:
        yield "404 (urn:meetinity:no-route)"
    elif outcome.is_preflight:
        yield "a preflight: Envoy answers it by the route's cors; it reaches neither callout nor service"
    else:
        yield from _consequences(gateway, materials, outcome.route, listener)
        if outcome.route.cache is not None:
            target = f"{path}?{parts.query}" if parts.query else path
            if outcome.route.cache.query is not None:
                target = query_rules(query_parameters(outcome.route.cache.query)).applied(target)
            selecting = _selecting(gateway, materials, outcome.route)
            yield from _cache(outcome.route, cache_uri("https" if listener.tls else "http", host, target), selecting)


def _split(url: str) -> "SplitUrl":
    text = url if "://" in url or url.startswith("/") else f"http://{url}"
    try:
        parts = urlsplit(text)
        return SplitUrl(parts.netloc, parts.path, parts.query, parts.port)
    except ValueError as error:
        raise UnexplainableError(f"{url!r} is not a URL: {error}") from None


@dataclass(frozen=True, slots=True)
class SplitUrl:
    """What of a URL counts."""

    netloc: str
    path: str
    query: str
    port: int | None


def _headers(lines: Iterable[str]) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise UnexplainableError(f"{line!r} is not a header ('name: value')")
        headers[name.strip().lower()] = value.strip()
    return headers


def _listener(gateway: Gateway, name: str | None, port: int | None) -> Listener:
    if name is not None:
        for listener in gateway.listeners:
            if listener.name == name:
                return listener
        raise UnexplainableError(
            f"there is no listener {name!r} ({', '.join(each.name for each in gateway.listeners)})"
        )
    serving = [listener for listener in gateway.listeners if listener.redirect is None]
    by_port = [listener for listener in gateway.listeners if listener.port == port]
    return (by_port or serving or list(gateway.listeners))[0]


def _without_port(host: str) -> str:
    host = host.lower()
    return host if host.endswith("]") else host.rpartition(":")[0] if host[host.rfind(":") + 1 :].isdigit() else host


def _routing(outcome: Outcome) -> Iterator[str]:
    width = max([len(route.name) for route, _ in outcome.passed] + [len(outcome.route.name) if outcome.route else 0])
    for route, reason in outcome.passed:
        yield f"  no   {route.name:<{width}}  {reason}"
    if outcome.route is not None:
        yield f"  yes  {outcome.route.name:<{width}}"


def _consequences(gateway: Gateway, materials: Materials, route: EffectiveRoute, listener: Listener) -> Iterator[str]:
    yield ""
    yield f"route {route.name}"
    yield from _columns(
        [(key, _origin(route, key), _policy(route, key)) for key in POLICY_KEYS if applies(key, route.kind)]
    )
    if listener.ip is not None:
        yield f"  and the listener's ip: {worded(listener.ip)}"
    yield ""
    yield from _target(gateway, route)
    names = policies(gateway, [route], materials).by_route[listener.name, route.name]
    yield ""
    yield "policies"
    yield f"  ext_authz  {names.authz or 'none: the route is public and has neither limits nor ip rules'}"
    yield f"  ext_proc   {names.processing or 'none: the route neither caches nor transforms'}"
    if rows := list(transform_rows(route)):
        yield ""
        yield "transforms, in this order"
        yield from _columns(rows)
    if route.rate_limits:
        yield ""
        yield "limits"
        yield from _columns([(name, "", worded(gateway.rate_limits[name])) for name in route.rate_limits])


def _policy(route: EffectiveRoute, key: str) -> str:
    match key:
        case "auth":
            return worded(route.auth) if route.auth is not None else "none (public)"
        case "max_request_body":
            return worded_size(route.max_request_body) if route.max_request_body is not None else "the listener's"
        case "failure_mode":
            return f"{{ext_authz: {route.ext_authz_failure_mode}, ext_proc: {route.ext_proc_failure_mode}}}"
        case "upgrades" | "access_log":
            return "yes" if getattr(route, key) else "none"
        case "shadow":
            return "true: nothing is refused" if route.shadow else "false"
        case "transform":
            return "see below" if route.transform is not None else "none"
        case "timeout":
            return f"{worded(route.timeout)}{' (none)' if not route.timeout else ''}"
    return worded(getattr(route, key) or None)


def _origin(route: EffectiveRoute, key: str) -> str:
    if key == "ip" and len(route.ip) > 1:
        return "defaults and route"
    return route.origins[key]


def _target(gateway: Gateway, route: EffectiveRoute) -> Iterator[str]:
    if route.redirect is not None:
        yield f"redirect  {worded(route.redirect)}"
    elif route.direct_response is not None:
        yield f"direct_response  {worded(route.direct_response)}"
    else:
        total = sum(backend.weight for backend in route.backends)
        yield "backends"
        yield from _columns(
            [
                (
                    backend.service,
                    f"{100 * backend.weight / total:.4g} %",
                    _addresses(gateway.services[backend.service]),
                )
                for backend in route.backends
            ]
        )


def _addresses(service: Service) -> str:
    if service.kubernetes is not None:
        named = service.kubernetes
        return f"Kubernetes {named.namespace}/{named.service}, port {named.port}"
    if service.dns is not None:
        return f"{service.dns.host}:{service.dns.port} (DNS)"
    if service.local is not None:
        return f"127.0.0.1:{service.local}"
    return ", ".join(f"{endpoint.address}:{endpoint.port}" for endpoint in service.endpoints or ()) or "no endpoints"


def _selecting(gateway: Gateway, materials: Materials, route: EffectiveRoute) -> tuple[str, ...]:
    """The request headers that are part of the key whatever the origin says: those of `vary`, and those that the rules
    of `transform` read.
    """
    policy = processing_policy(gateway, route, materials, invalidates=False)
    rules = compile_policy(policy).cache if policy is not None else None
    return rules.vary if rules is not None else ()


def _cache(route: EffectiveRoute, uri: str, selecting: Sequence[str]) -> Iterator[str]:
    assert route.cache is not None
    identity = "the proven identity" if route.cache.scope == "user" else "nobody (all callers share it)"
    yield ""
    yield "cache key"
    yield f"  URI       {uri}"
    yield f"  identity  {identity}"
    yield f"  vary      {', '.join(selecting) or 'nothing'}, and the origin's Vary"


def _columns(rows: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    first = max((len(row[0]) for row in rows), default=0)
    second = max((len(row[1]) for row in rows), default=0)
    for key, note, value in rows:
        yield f"  {key:<{first}}  {note:<{second}}{'  ' if second else ''}{value}".rstrip()
