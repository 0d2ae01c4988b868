"""routes: names, hosts, matches, targets, and what only a route as a whole can get wrong."""

from control_plane.config.effective import (
    POLICY_KEYS,
    EffectiveRoute,
    applies,
    kind_of,
    leads_to_grpc,
    serving_listeners,
)
from control_plane.config.faults import Path
from control_plane.config.model.routes import Cache, Match, Redirect, Route, StringMatch
from control_plane.config.model.transform import Transform
from control_plane.config.rules.forms import (
    header_fault,
    host_pattern_fault,
    hostname_fault,
    method_fault,
    name_fault,
    path_fault,
    query_fault,
    regex_fault,
    unreachable_path_fault,
)
from control_plane.config.rules.limits import impossible_key
from control_plane.config.rules.policies import check_policies
from control_plane.config.rules.report import Check, at_most_one, exactly_one
from control_plane.config.rules.transforms import check_effective_transform, check_headers
from control_plane.remembered import Remembered

_TARGETS = ("backends", "service", "direct_response", "redirect")
_REDIRECT_STATUS = (301, 302, 303, 307, 308)
_MAX_WEIGHT_SUM = 4_294_967_295
_LOOKED_AT_BY_ROUTE = ("routes", "services", "envoy_patches")
"""Sections of which the rules look only at what an effective route is made of, or not at all."""


class CheckedRoutes:
    """The warnings of routes in which the rules found no fault; none of those depends on the clock."""

    def __init__(self) -> None:
        self._known = Remembered[tuple[tuple[Path, str], ...]]()
        self._context: object = None

    def begin(self, check: Check) -> None:
        """A round; everything is forgotten if more than routes may differ."""
        gateway = check.gateway
        sections = {key: getattr(gateway, key) for key in type(gateway).model_fields if key not in _LOOKED_AT_BY_ROUTE}
        context = (sections, check.declared)
        if context != self._context:
            self._known.forget()
            self._context = context
        self._known.next_round()

    def check(self, check: Check, place: int) -> None:
        """Report what there is to report of one route."""
        route, effective = check.gateway.routes[place], check.routes[place]
        report, path = check.report, ("routes", place)
        # Of services the rules look at the protocol, which is in the effective route, and at this.
        services = (check.gateway.services.get(backend.service) for backend in effective.backends)
        key = (route.name, tuple(one is not None and one.circuit_breaker.max_retries is not None for one in services))
        known = self._known.find(key, (route, effective))
        if known is not None:
            for rest, message in known:
                report.warn((*path, *rest), message)
            return
        faults, warned = len(report.faults), len(report.warned)
        _check_route(check, path, route, effective)
        if len(report.faults) == faults and effective.deprecation is None:
            found = tuple((at[len(path) :], message) for at, message in report.warned[warned:])
            self._known.keep(key, (route, effective), found)


def check_routes(check: Check, checked: CheckedRoutes) -> None:
    """Report faults of every route."""
    checked.begin(check)
    first: dict[str, int] = {}
    for place, route in enumerate(check.gateway.routes):
        if first.setdefault(route.name, place) != place:
            line = check.report.line(("routes", first[route.name]))
            check.report.fault(("routes", place, "name"), f"{route.name!r} is given twice (first in {line})")
        checked.check(check, place)


def _check_route(check: Check, path: Path, route: Route, effective: EffectiveRoute) -> None:
    if fault := name_fault(route.name):
        check.report.fault((*path, "name"), fault)
    _check_listeners(check, path, route)
    _check_hosts(check, (*path, "hosts"), route.hosts)
    _check_match(check, (*path, "match"), route.match)
    _check_target(check, path, route)
    check_policies(check, path, route)
    _check_keys_of_kind(check, path, route)
    _check_auth_is_said(check, path, route)
    _check_whole(check, path, route, effective)


def _check_listeners(check: Check, path: Path, route: Route) -> None:
    report, gateway = check.report, check.gateway
    serving = serving_listeners(gateway)
    if route.listeners is None:
        if len(serving) > 1:
            message = f"is missing, because several listeners serve routes (one or more of {', '.join(serving)})"
            report.fault((*path, "listeners"), message)
        elif not serving and gateway.listeners:
            report.fault((*path, "listeners"), "there is no listener that serves routes (one without redirect)")
        return
    if not route.listeners:
        report.fault((*path, "listeners"), f"is empty (one or more of {', '.join(serving)})", keys=("listeners",))
    for place, name in enumerate(route.listeners):
        at = (*path, "listeners", place)
        if check.known(at, name, check.declared.listeners, "listener"):
            if any(listener.name == name and listener.redirect is not None for listener in gateway.listeners):
                report.fault(at, f"{name!r} redirects everything and serves no route ({', '.join(serving)})")
            elif name in route.listeners[:place]:
                report.fault(at, f"{name!r} is given twice")


def _check_hosts(check: Check, path: Path, hosts: tuple[str, ...]) -> None:
    if not hosts:
        check.report.fault(path, "is empty (leave it out for every host)")
    for place, host in enumerate(hosts):
        if fault := host_pattern_fault(host):
            check.report.fault((*path, place), fault)
        elif host in hosts[:place]:
            check.report.fault((*path, place), f"{host!r} is given twice")


def _check_match(check: Check, path: Path, match: Match) -> None:
    report = check.report
    at_most_one(check, path, match, ("path", "path_prefix", "path_regex"))
    for key in ("path", "path_prefix", "path_regex"):
        texts: tuple[str, ...] | None = getattr(match, key)
        if texts == () and not report.was_cut((*path, key)):
            report.fault((*path, key), "is empty (at least one)")
        for place, text in enumerate(texts or ()):
            at: Path = (*path, key, place) if report.is_written((*path, key, place)) else (*path, key)
            if key == "path_regex":
                if fault := regex_fault(text):
                    report.fault(at, fault)
            elif fault := path_fault(text):
                report.fault(at, fault)
            elif warning := unreachable_path_fault(text):
                report.warn(at, warning)
    for place, method in enumerate(match.methods):
        if fault := method_fault(method):
            report.fault((*path, "methods", place), fault)
    for name, value in match.headers.items():
        fault = header_fault(name)
        if name.lower() == "host":
            fault = "hosts are matched by `hosts`"
        if fault:
            report.fault((*path, "headers", name), fault)
        _check_string_match(check, (*path, "headers", name), value)
    for name, value in match.query.items():
        if fault := query_fault(name):
            report.fault((*path, "query", name), fault)
        _check_string_match(check, (*path, "query", name), value)


def _check_string_match(check: Check, path: Path, value: StringMatch) -> None:
    exactly_one(check, path, value, ("exact", "present", "regex"))
    if value.regex is not None and (fault := regex_fault(value.regex)):
        check.report.fault((*path, "regex"), fault)


def _check_target(check: Check, path: Path, route: Route) -> None:
    report, services = check.report, check.declared.services
    exactly_one(check, path, route, _TARGETS)
    if route.service is not None:
        check.known((*path, "service"), route.service, services, "service")
    for place, backend in enumerate(route.backends or ()):
        check.known((*path, "backends", place, "service"), backend.service, services, "service")
    if route.backends is not None:
        total = sum(backend.weight for backend in route.backends)
        if not route.backends:
            report.fault((*path, "backends"), "is empty (at least one)", keys=("backends",))
        elif not total and not report.was_cut((*path, "backends")):
            report.fault((*path, "backends"), "has only weights of 0 (at least one of 1 or more)")
        elif total > _MAX_WEIGHT_SUM:
            report.fault((*path, "backends"), "has weights that sum to more than 4294967295 (they are relative)")
    if route.redirect is not None:
        _check_redirect(check, (*path, "redirect"), route.redirect, route.match)
    if route.direct_response is not None:
        check_headers(check, (*path, "direct_response", "headers"), route.direct_response.headers)
        if route.direct_response.body and route.direct_response.status in (204, 205, 304):
            message = f"cannot go with status {route.direct_response.status}, which has no content"
            report.fault((*path, "direct_response", "body"), message)


def _check_redirect(check: Check, path: Path, redirect: Redirect, match: Match) -> None:
    report = check.report
    at_most_one(check, path, redirect, ("path", "path_prefix"))
    if redirect.status not in _REDIRECT_STATUS:
        message = f"{redirect.status} is not allowed ({', '.join(map(str, _REDIRECT_STATUS))})"
        report.fault((*path, "status"), message)
    keys = ("scheme", "host", "port", "path", "path_prefix")
    if all(getattr(redirect, key) is None for key in keys):
        report.fault(path, f"leads to itself (at least one of {', '.join(keys)})", keys=keys)
    for key in ("path", "path_prefix"):
        text = getattr(redirect, key)
        if text is not None and (fault := path_fault(text, wanted="/developer")):
            report.fault((*path, key), fault)
    if redirect.host is not None and (fault := hostname_fault(redirect.host)):
        report.fault((*path, "host"), fault)
    if redirect.path_prefix is not None and (match.path is not None or match.path_regex is not None):
        report.fault(
            (*path, "path_prefix"), "replaces a prefix, and the route matches none (match: {path_prefix: ...})"
        )


def _check_keys_of_kind(check: Check, path: Path, route: Route) -> None:
    kind = kind_of(route)
    for key in POLICY_KEYS:
        # `cache: none` on a redirect says what is so anyway.
        if getattr(route, key) not in (None, "none") and not applies(key, kind):
            check.report.fault((*path, key), f"means nothing on a route with {kind} (on one with backends or service)")


def _check_auth_is_said(check: Check, path: Path, route: Route) -> None:
    if route.auth is not None or check.gateway.defaults.auth is not None:
        return
    defaults_unknown = check.report.was_cut(("defaults",)) and not check.report.is_written(("defaults",))
    if not defaults_unknown and not check.report.was_cut(("defaults", "auth")):
        example = next(iter(sorted(check.declared.methods)), "jwt.NAME")
        message = f"is missing (auth: {{any_of: [{example}]}}, or auth: none for a public route)"
        check.report.fault((*path, "auth"), message)


def _check_whole(check: Check, path: Path, route: Route, effective: EffectiveRoute) -> None:
    _check_times(check, path, route, effective)
    _check_retry_budget(check, path, effective)
    _check_limits(check, path, effective)
    _check_cache(check, path, route, effective)
    _check_stream(check, path, route, effective)
    check_effective_transform(check, path, effective)
    _check_prefix_rewrite(check, path, effective)
    _warn_unlimited(check, path, effective)


def _check_prefix_rewrite(check: Check, path: Path, effective: EffectiveRoute) -> None:
    rewrite, match = effective.rewrite, effective.match
    if rewrite is None or rewrite.path_prefix is None or (match.path is None and match.path_regex is None):
        return
    message = "replaces a prefix, and the route matches none (match: {path_prefix: ...}; rewrite: {path: ...})"
    check.report.fault((*path, "rewrite", "path_prefix"), message)


def _warn_unlimited(check: Check, path: Path, effective: EffectiveRoute) -> None:
    """Only where `none` is said (without any auth there is a fault already) and a service has to bear the load."""
    if effective.kind != "proxy":
        return
    holes = check.report.was_cut((*path, "auth")) or check.report.was_cut((*path, "rate_limits"))
    if effective.auth is None and effective.origins["auth"] != "built in" and not effective.rate_limits and not holes:
        check.report.warn(path, f"route {effective.name!r} is public and has no limit (rate_limits: [...])")


def _check_times(check: Check, path: Path, route: Route, effective: EffectiveRoute) -> None:
    retry = effective.retry
    if effective.kind != "proxy" or retry is None or retry.per_try_timeout is None or not effective.timeout:
        return
    if retry.per_try_timeout >= effective.timeout:
        key = ("retry", "per_try_timeout") if effective.origins["retry"] == "route" else ("timeout",)
        message = "per_try_timeout has to be shorter than timeout"
        check.report.fault(
            (*path, *key), f"{message} ({effective.origins['timeout']}: {effective.timeout.total_seconds():g}s)"
        )


def _check_retry_budget(check: Check, path: Path, effective: EffectiveRoute) -> None:
    if effective.retry is None or effective.retry.budget is None:
        return
    for backend in effective.backends:
        service = check.gateway.services.get(backend.service)
        if service is not None and service.circuit_breaker.max_retries is not None:
            message = f"replaces circuit_breaker.max_retries, which service {backend.service!r} sets (one of the two)"
            check.report.fault((*path, "retry", "budget"), message)


def _check_limits(check: Check, path: Path, effective: EffectiveRoute) -> None:
    if effective.auth is None and check.report.was_cut((*path, "auth")):
        return
    own = effective.origins["rate_limits"] == "route"
    for place, name in enumerate(effective.rate_limits):
        limit = check.gateway.rate_limits.get(name)
        key = impossible_key(limit, effective.auth) if limit is not None else None
        if key is None:
            continue
        why = "the route is public" if effective.auth is None else "the route's auth proves none"
        wanted = "another limit" if own else "rate_limits: none, or another limit"
        at: Path = (*path, "rate_limits", place) if own else (*path, "rate_limits")
        check.report.fault(at, f"the limit {name!r} counts by {key}, which is never there: {why} ({wanted})")


def _check_cache(check: Check, path: Path, route: Route, effective: EffectiveRoute) -> None:
    cache, report = route.cache, check.report
    if not isinstance(cache, Cache) or effective.kind != "proxy" or report.was_cut((*path, "auth")):
        return
    if cache.scope == "user" and effective.auth is None:
        report.fault((*path, "cache", "scope"), "user has no meaning on a public route (public)")
    methods = route.match.methods
    if methods and not {"GET", "HEAD"} & set(methods):
        report.warn((*path, "cache"), "never stores anything: the route matches neither GET nor HEAD")


def _check_stream(check: Check, path: Path, route: Route, effective: EffectiveRoute) -> None:
    if not effective.is_stream or check.report.was_cut((*path, "timeout")):
        return
    why = "the route leads to gRPC" if leads_to_grpc(route, check.gateway.services) else "timeout is 0s"
    if isinstance(route.cache, Cache):
        check.report.fault((*path, "cache"), f"streams are never cached, and {why} (a timeout, or no cache)")
    if isinstance(route.transform, Transform):
        for side, message in (("request", route.transform.request), ("response", route.transform.response)):
            for key, said in (("body", message.body), ("validate", message.validation)):
                if said:
                    text = f"streams' bodies are never transformed, and {why} (a timeout, or headers alone)"
                    check.report.fault((*path, "transform", side, key), text)
