"""Routes with their policies, in the order in which they match."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from control_plane.config.effective import POLICY_KEYS, EffectiveRoute, applies
from control_plane.config.model.gateway import Gateway
from control_plane.config.model.routes import Authentication, Match, StringMatch
from control_plane.config.model.transform import QueryTransform, RequestTransform, ResponseTransform
from control_plane.config.wording import worded, worded_duration, worded_size
from control_plane.dashboard.paging import Page, Query, paged
from control_plane.dashboard.scene import Scene
from control_plane.traffic.numbers import Callouts

_NO_QUERY = QueryTransform()


@dataclass(frozen=True, slots=True)
class RouteRow:
    """One route in the list."""

    gateway: str
    number: int
    """Its place: the first that matches wins."""
    name: str
    hosts: str
    matches: str
    target: str
    services: tuple[str, ...]
    auth: str
    limits: tuple[str, ...]
    policies: tuple[tuple[str, str], ...]
    """What else holds: a word, and what it is."""
    callouts: Callouts
    is_public: bool


def rows(scene: Scene, gateway: str = "") -> list[RouteRow]:
    """Of one gateway, or of all."""
    found = []
    for name, one in scene.gateways.items():
        if gateway and name != gateway:
            continue
        by_route = scene.traffic.callouts_by_route(name)
        for number, route in enumerate(scene.routes_of(name), 1):
            found.append(_row(one, number, route, by_route.get(route.name, Callouts())))
    return found


def _row(gateway: Gateway, number: int, route: EffectiveRoute, callouts: Callouts) -> RouteRow:
    return RouteRow(
        gateway.name,
        number,
        route.name,
        ", ".join(route.hosts),
        matches(route.match),
        target(route),
        tuple(backend.service for backend in route.backends),
        auth(route.auth),
        route.rate_limits,
        tuple(_policies(route)),
        callouts,
        route.auth is None,
    )


def matches(match: Match) -> str:
    """`GET /api/users…  x-version: 2`, in one line."""
    paths = [
        *(match.path or ()),
        *(f"{prefix.rstrip('/')}/…" for prefix in match.path_prefix or ()),
        *(f"~ {regex}" for regex in match.path_regex or ()),
    ]
    words = [", ".join(match.methods), " or ".join(paths) or "/…"]
    words += [f"{name}: {_matched(one)}" for name, one in match.headers.items()]
    words += [f"?{name}={_matched(one)}" for name, one in match.query.items()]
    return "  ".join(word for word in words if word)


def _matched(one: StringMatch) -> str:
    if one.exact is not None:
        return one.exact
    return f"~ {one.regex}" if one.regex is not None else ("any" if one.present else "absent")


def target(route: EffectiveRoute) -> str:
    """Where it leads."""
    if route.redirect is not None:
        to = route.redirect
        where = "".join(filter(None, [to.scheme and f"{to.scheme}://", to.host, to.path or to.path_prefix]))
        return f"redirect {to.status} to {where or 'the same path'}"
    if route.direct_response is not None:
        return f"answers {route.direct_response.status} itself"
    if len(route.backends) == 1:
        return route.backends[0].service
    total = sum(backend.weight for backend in route.backends) or 1
    return ", ".join(f"{backend.service} {100 * backend.weight / total:.3g} %" for backend in route.backends)


def auth(found: Authentication | None) -> str:
    """`public`, `jwt.meetinity`, `jwt.a or api_keys.b`, with what else is asked for."""
    if found is None:
        return "public"
    joined = " or ".join(found.any_of) if found.any_of is not None else " and ".join(found.all_of or ())
    claims = "; ".join(f"{name}: {', '.join(values)}" for name, values in found.required_claims.items())
    optional = " (optional)" if found.optional else ""
    return f"{joined}{optional}{f' with {claims}' if claims else ''}"


def _policies(route: EffectiveRoute) -> Iterator[tuple[str, str]]:
    """What is not as everywhere; values of headers are left out: they may be secrets."""
    if route.shadow:
        yield "shadow", "what would be refused passes and is counted"
    if route.cache is not None:
        ttl = worded_duration(route.cache.ttl) if route.cache.ttl is not None else "as the service says"
        yield "cache", f"{ttl}, {route.cache.scope}"
    if route.transform is not None:
        yield "transform", transforms(route.transform.request, route.transform.response)
    if route.ip:
        yield "ip", "; ".join(worded(rules) for rules in route.ip)
    if route.mirror is not None:
        yield "mirror", f"{route.mirror.percent} % to {route.mirror.service}"
    if route.deprecation is not None:
        sunset = f", ends {worded(route.deprecation.sunset)}" if route.deprecation.sunset else ""
        yield "deprecated", f"since {worded(route.deprecation.since)}{sunset}"
    if route.cors is not None:
        yield "cors", ", ".join(route.cors.allow_origins)


def transforms(request: RequestTransform, response: ResponseTransform) -> str:
    """What is changed, by name."""
    parts = []
    for word, one in (("request", request), ("response", response)):
        headers = one.headers
        changed = ["validate"] if one.validation is not None else []
        if isinstance(one, RequestTransform):
            changed += [what for what, holds in (("path", one.path), ("query", one.query != _NO_QUERY)) if holds]
        changed += [f"rename {name}" for name in headers.rename]
        changed += [f"remove {name}" for name in headers.remove]
        changed += [f"set {name}" for name in headers.set] + [f"add {name}" for name in headers.add]
        changed += [f"body: {step.type}" for step in one.body]
        if changed:
            parts.append(f"{word}: {', '.join(changed)}")
    return "; ".join(parts)


def page(scene: Scene, query: Query) -> Page[RouteRow]:
    return paged(
        rows(scene, query.gateway),
        query,
        words=lambda row: " ".join(
            [row.name, row.hosts, row.matches, row.target, row.auth, *row.limits, *(word for word, _ in row.policies)]
        ),
        states=lambda row: frozenset(
            {
                *(("public",) if row.is_public else ("protected",)),
                *(("limited",) if row.limits else ()),
                *(word for word, _ in row.policies),
            }
        ),
        orders={
            "name": lambda row: row.name,
            "decisions": lambda row: sum(row.callouts.decisions.values()),
            "limited": lambda row: row.callouts.limited,
            "hits": lambda row: row.callouts.hit_ratio or 0.0,
        },
    )


@dataclass(frozen=True, slots=True)
class RouteView:
    """Everything of one route."""

    row: RouteRow
    effective: Sequence[tuple[str, str, str]]
    """Key, value, and where it comes from."""
    limits: Sequence[tuple[str, str]]


def route(scene: Scene, gateway: str, name: str) -> RouteView | None:
    """None if there is no such route."""
    row = next((row for row in rows(scene, gateway) if row.name == name), None)
    found = next((one for one in scene.routes_of(gateway) if one.name == name), None)
    if row is None or found is None:
        return None
    effective = [(key, _value(found, key), _origin(found, key)) for key in POLICY_KEYS if applies(key, found.kind)]
    limits = scene.gateways[gateway].rate_limits
    return RouteView(row, effective, [(one, worded(limits[one])) for one in found.rate_limits])


def _value(route: EffectiveRoute, key: str) -> str:
    match key:
        case "auth":
            return auth(route.auth)
        case "transform":
            return transforms(route.transform.request, route.transform.response) if route.transform else "none"
        case "max_request_body":
            return worded_size(route.max_request_body) if route.max_request_body is not None else "the listener's"
        case "failure_mode":
            return f"ext_authz {route.ext_authz_failure_mode}, ext_proc {route.ext_proc_failure_mode}"
        case "upgrades" | "access_log":
            return "yes" if getattr(route, key) else "none"
        case "timeout":
            return worded_duration(route.timeout) if route.timeout else "none"
        case _:
            return worded(getattr(route, key) or None)


def _origin(route: EffectiveRoute, key: str) -> str:
    return "defaults and route" if key == "ip" and len(route.ip) > 1 else route.origins[key]
