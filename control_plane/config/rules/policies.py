"""The keys that `defaults` and a route share: what can be judged of them without knowing the rest of the route."""

import re
from collections.abc import Iterable

from control_plane.config.faults import Path
from control_plane.config.model.listeners import IpRules
from control_plane.config.model.routes import (
    Authentication,
    Cache,
    Compression,
    Cors,
    Deprecation,
    Mirror,
    Retry,
    Rewrite,
    RoutePolicies,
)
from control_plane.config.model.transform import Transform
from control_plane.config.rules.forms import (
    header_fault,
    hostname_fault,
    method_fault,
    path_fault,
    regex_fault,
    regex_groups,
    url_fault,
)
from control_plane.config.rules.limits import kinds_of
from control_plane.config.rules.listeners import MAX_REQUEST_BODY, check_ip
from control_plane.config.rules.report import Check, at_most_one, closest, exactly_one
from control_plane.config.rules.transforms import check_transform
from policy.cache_key import parameter_fault

RETRY_CONDITIONS = (
    "connect-failure",
    "refused-stream",
    "reset",
    "reset-before-request",
    "gateway-error",
    "5xx",
    "cancelled",
    "deadline-exceeded",
    "unavailable",
)
_ORIGIN = re.compile(r"https?://(\*\.)?([^/*\s:]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?")


def check_policies(check: Check, path: Path, policies: RoutePolicies) -> None:
    """Report faults of one set of policies."""
    auth = policies.auth
    if isinstance(auth, Authentication):
        _check_auth(check, (*path, "auth"), auth)
    if isinstance(policies.retry, Retry):
        _check_retry(check, (*path, "retry"), policies.retry)
    if isinstance(policies.cors, Cors):
        _check_cors(check, (*path, "cors"), policies.cors)
    if isinstance(policies.compression, Compression):
        _check_compression(check, (*path, "compression"), policies.compression)
    if isinstance(policies.rewrite, Rewrite):
        _check_rewrite(check, (*path, "rewrite"), policies.rewrite)
    if isinstance(policies.mirror, Mirror):
        check.known((*path, "mirror", "service"), policies.mirror.service, check.declared.services, "service")
    if isinstance(policies.ip, IpRules):
        check_ip(check, (*path, "ip"), policies.ip)
    if isinstance(policies.rate_limits, tuple):
        _check_limits(check, (*path, "rate_limits"), policies.rate_limits)
    if isinstance(policies.cache, Cache):
        _check_cache(check, (*path, "cache"), policies.cache)
    if isinstance(policies.transform, Transform):
        check_transform(check, (*path, "transform"), policies.transform)
    if isinstance(policies.deprecation, Deprecation):
        _check_deprecation(check, (*path, "deprecation"), policies.deprecation)
    if policies.shadow:
        check.report.warn((*path, "shadow"), "nothing is refused: what would be is counted (leave it out to enforce)")
    if policies.max_request_body is not None and policies.max_request_body > MAX_REQUEST_BODY:
        check.report.fault((*path, "max_request_body"), "is too large (less than 4GiB)")


def _check_auth(check: Check, path: Path, auth: Authentication) -> None:
    exactly_one(check, path, auth, ("any_of", "all_of"), ", or none for a public route")
    for key in ("any_of", "all_of"):
        references: tuple[str, ...] | None = getattr(auth, key)
        if references == () and not check.report.was_cut((*path, key)):
            check.report.fault((*path, key), "is empty (jwt.NAME, api_keys.NAME, signatures.NAME)")
        for place, reference in enumerate(references or ()):
            _check_reference(check, (*path, key, place), reference)
    for claim, values in auth.required_claims.items():
        if not values:
            check.report.fault((*path, "required_claims", claim), "is empty (the values that are allowed)")
    _warn_of_auth(check, path, auth)
    kinds = kinds_of(auth)
    if auth.required_claims and kinds and kinds <= {"signatures"}:
        check.report.fault(
            (*path, "required_claims"), "cannot hold: a signature has no claims (jwt.NAME, api_keys.NAME)"
        )


def _warn_of_auth(check: Check, path: Path, auth: Authentication) -> None:
    """What holds, but seldom means what it seems to."""
    if auth.optional and auth.required_claims:
        message = "do not hold for callers without a credential, since authentication is optional"
        check.report.warn((*path, "required_claims"), message)
    providers = check.gateway.auth.jwt
    first: dict[str, str] = {}
    for reference in auth.any_of or auth.all_of or ():
        kind, _, name = reference.partition(".")
        if kind == "jwt" and name in providers:
            other = first.setdefault(providers[name].issuer, reference)
            if other != reference:
                message = f"{reference} has the same issuer as {other}: every token of it is judged by {other}"
                check.report.warn(path, message if auth.any_of else f"{message} as well")


def _check_reference(check: Check, path: Path, reference: str) -> None:
    kind, dot, _ = reference.partition(".")
    methods = check.declared.methods
    if reference in methods:
        return
    if not dot or kind not in ("jwt", "api_keys", "signatures"):
        hint = next((f"did you mean {name}?" for name in sorted(methods) if name.partition(".")[2] == reference), None)
        wanted = hint or (closest(reference, methods) if methods else "jwt.NAME, api_keys.NAME, signatures.NAME")
        check.report.fault(path, f"{reference!r} is not a reference ({wanted})")
        return
    check.known(path, reference, methods, "authentication method")


def _check_retry(check: Check, path: Path, retry: Retry) -> None:
    report = check.report
    for place, condition in enumerate(retry.on):
        if condition not in RETRY_CONDITIONS and not re.fullmatch(r"[1-5][0-9][0-9]", condition):
            hint = f"{', '.join(RETRY_CONDITIONS)}, or a status code"
            close = closest(condition, RETRY_CONDITIONS)
            message = f"{condition!r} is not allowed ({close if close.startswith('did') else hint})"
            report.fault((*path, "on", place), message)
    if not retry.on:
        report.fault((*path, "on"), "is empty (retry: none switches retries off)", keys=("on",))
    _check_methods(check, (*path, "methods"), retry.methods)
    if not retry.base_backoff:
        report.fault((*path, "base_backoff"), "has to be more than 0s")
    if retry.base_backoff > retry.max_backoff:
        key = "max_backoff" if "max_backoff" in retry.model_fields_set else "base_backoff"
        report.fault((*path, key), "base_backoff is longer than max_backoff (at most as long)")
    if retry.per_try_timeout is not None and not retry.per_try_timeout:
        report.fault((*path, "per_try_timeout"), "has to be more than 0s (leave it out for none)")


def _check_methods(check: Check, path: Path, methods: Iterable[str]) -> None:
    for place, method in enumerate(methods):
        if fault := method_fault(method):
            check.report.fault((*path, place), fault)


def _check_cors(check: Check, path: Path, cors: Cors) -> None:
    report = check.report
    if not cors.allow_origins:
        report.fault((*path, "allow_origins"), "is empty (cors: none switches CORS off)")
    for place, origin in enumerate(cors.allow_origins):
        at = (*path, "allow_origins", place)
        if origin == "*":
            if cors.allow_credentials:
                report.fault(at, "'*' cannot stand beside allow_credentials: true (name the origins)")
        elif origin != "null" and not _ORIGIN.fullmatch(origin):
            wanted = "https://app.example.com, https://*.example.com or *"
            report.fault(at, f"{origin!r} is not an origin ({wanted}; no path, no final /)")
    for place, method in enumerate(cors.allow_methods):
        if method != "*" and (fault := method_fault(method)):
            report.fault((*path, "allow_methods", place), fault)
    for key in ("allow_headers", "expose_headers"):
        for place, header in enumerate(getattr(cors, key)):
            if header != "*" and (fault := header_fault(header)):
                report.fault((*path, key, place), fault)


def _check_compression(check: Check, path: Path, compression: Compression) -> None:
    if not compression.algorithms:
        check.report.fault((*path, "algorithms"), "is empty (compression: none switches it off)")
    if len(set(compression.algorithms)) != len(compression.algorithms):
        check.report.fault((*path, "algorithms"), "names one algorithm twice")
    if compression.min_size > MAX_REQUEST_BODY:
        check.report.fault((*path, "min_size"), "is too large (less than 4GiB)")


def _check_rewrite(check: Check, path: Path, rewrite: Rewrite) -> None:
    report = check.report
    at_most_one(check, path, rewrite, ("path", "path_prefix", "regex"))
    if not rewrite.model_fields_set:
        report.fault(
            path, "says nothing (path, path_prefix, regex or host)", keys=("path", "path_prefix", "regex", "host")
        )
    for key in ("path", "path_prefix"):
        text = getattr(rewrite, key)
        if text is not None and (fault := path_fault(text, wanted="/users")):
            report.fault((*path, key), fault)
    if rewrite.host is not None and (fault := hostname_fault(rewrite.host.partition(":")[0])):
        report.fault((*path, "host"), fault)
    if rewrite.regex is None:
        return
    if fault := regex_fault(rewrite.regex.match):
        report.fault((*path, "regex", "match"), fault)
        return
    groups = regex_groups(rewrite.regex.match)
    for number in map(int, re.findall(r"(?<!\\)(?:\\\\)*\\([0-9])", rewrite.regex.replace)):
        if number > groups:
            message = f"\\{number} refers to a group that is not there (the expression has {groups})"
            report.fault((*path, "regex", "replace"), message)


def _check_limits(check: Check, path: Path, names: tuple[str, ...]) -> None:
    for place, name in enumerate(names):
        if check.known((*path, place), name, check.declared.limits, "limit") and name in names[:place]:
            check.report.fault((*path, place), f"{name!r} is given twice")


def _check_cache(check: Check, path: Path, cache: Cache) -> None:
    for place, header in enumerate(cache.vary):
        if header == "*":
            check.report.fault(
                (*path, "vary", place), "'*' would never hit (names of headers; cache: none switches it off)"
            )
        elif fault := header_fault(header):
            check.report.fault((*path, "vary", place), fault)
    if not cache.max_body:
        check.report.fault((*path, "max_body"), "0 stores nothing (1MiB; cache: none switches it off)")
    query = cache.query
    if query is not None and exactly_one(check, (*path, "query"), query, ("allow", "ignore")):
        kind = "allow" if query.allow is not None else "ignore"
        for place, name in enumerate((query.allow if query.allow is not None else query.ignore) or ()):
            if fault := parameter_fault(name):
                check.report.fault((*path, "query", kind, place), f"{name!r} {fault}")


def _check_deprecation(check: Check, path: Path, deprecation: Deprecation) -> None:
    sunset = deprecation.sunset
    if sunset is not None and sunset < deprecation.since:
        check.report.fault((*path, "sunset"), "is before since (the same time or later)")
    elif sunset is not None and check.now is not None and sunset <= check.now:
        check.report.warn((*path, "sunset"), f"has passed ({sunset:%Y-%m-%d}); the route still answers")
    successor = deprecation.successor
    if successor is not None and not successor.startswith("/") and url_fault(successor):
        check.report.fault((*path, "successor"), f"{successor!r} is neither a path nor a URL (/api/v2/users)")
    elif successor is not None and re.search(r"[\s<>\"]", successor):
        check.report.fault((*path, "successor"), f"{successor!r} cannot stand in a Link header (percent-encoded)")
