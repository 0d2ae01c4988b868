"""auth: providers of JWTs, API keys, signatures."""

from collections.abc import Iterable, Mapping

from control_plane.config.faults import Path
from control_plane.config.model.auth import ApiKeys, JwtProvider, Signatures, TokenSource
from control_plane.config.rules.forms import (
    cookie_fault,
    header_fault,
    name_fault,
    query_fault,
    settable_header_fault,
    url_fault,
)
from control_plane.config.rules.report import Check, exactly_one

MIN_SECRET_BYTES = 32
"""RFC 7518 3.2: a key of at least the size of the hash of HS256."""
_SOURCES_OF_KEYS = ("jwks_url", "oidc_discovery", "jwks_file", "secret")
_SYMMETRIC = frozenset({"HS256", "HS384", "HS512"})


def check_auth(check: Check) -> None:
    """Report faults of every authentication method."""
    auth = check.gateway.auth
    for kind, methods in (("jwt", auth.jwt), ("api_keys", auth.api_keys), ("signatures", auth.signatures)):
        for name in methods:
            if fault := name_fault(name):
                check.report.fault(("auth", kind, name), fault)
    for name, provider in auth.jwt.items():
        _check_jwt(check, ("auth", "jwt", name), provider)
    for name, keys in auth.api_keys.items():
        _check_api_keys(check, ("auth", "api_keys", name), keys)
    for name, signatures in auth.signatures.items():
        _check_signatures(check, ("auth", "signatures", name), signatures)


def _check_jwt(check: Check, path: Path, provider: JwtProvider) -> None:
    report = check.report
    if not provider.issuer:
        report.fault((*path, "issuer"), "is empty (the value of the claim iss)")
    if exactly_one(check, path, provider, _SOURCES_OF_KEYS):
        _check_key_source(check, path, provider)
    if not provider.token:
        report.fault((*path, "token"), "is empty (leave it out for the Authorization header)")
    for place, source in enumerate(provider.token):
        _check_source(check, (*path, "token", place), source)
    if provider.max_lifetime is not None and not provider.max_lifetime:
        report.fault((*path, "max_lifetime"), "0s refuses every token (more than 0s)")
    if provider.revocation is not None and check.gateway.stores.redis is None and not report.was_cut(("stores",)):
        report.fault((*path, "revocation"), "needs Redis (stores: {redis: {url: redis://...}})")
    for place, claim in enumerate(provider.required_claims):
        if not claim:
            report.fault((*path, "required_claims", place), "is empty (the name of a claim)")
    _check_forward_claims(check, (*path, "forward_claims"), provider.forward_claims)


def _check_key_source(check: Check, path: Path, provider: JwtProvider) -> None:
    report = check.report
    symmetric = [algorithm for algorithm in provider.algorithms if algorithm in _SYMMETRIC]
    if provider.secret is not None:
        for place, algorithm in enumerate(provider.algorithms):
            if algorithm not in _SYMMETRIC:
                message = f"{algorithm} needs a public key, not a secret (HS256, HS384, HS512)"
                report.fault((*path, "algorithms", place), message)
        length = len(provider.secret.encode())
        if length < MIN_SECRET_BYTES:
            report.fault((*path, "secret"), f"has {length} bytes (at least {MIN_SECRET_BYTES})")
    elif symmetric:
        place = provider.algorithms.index(symmetric[0])
        report.fault(
            (*path, "algorithms", place), f"{symmetric[0]} needs a secret (RS256, ES256, ... with public keys)"
        )
    if provider.jwks_url is not None and (fault := url_fault(provider.jwks_url)):
        report.fault((*path, "jwks_url"), fault)
    if provider.oidc_discovery is False:
        report.fault((*path, "oidc_discovery"), "false says nothing (true, jwks_url, jwks_file or secret)")
    elif provider.oidc_discovery and (fault := url_fault(provider.issuer)):
        report.fault((*path, "issuer"), f"{fault}; oidc_discovery starts there")


def _check_source(check: Check, path: Path, source: TokenSource | ApiKeys) -> None:
    """Report faults of where a credential is looked for."""
    kinds = ("header", "cookie", "query") if isinstance(source, TokenSource) else ("header", "query")
    exactly_one(check, path, source, kinds)
    checks = {"header": header_fault, "cookie": cookie_fault, "query": query_fault}
    for kind in kinds:
        name = getattr(source, kind)
        if name is not None and (fault := checks[kind](name)):
            check.report.fault((*path, kind), fault)


def _check_api_keys(check: Check, path: Path, keys: ApiKeys) -> None:
    _check_source(check, path, keys)
    exactly_one(check, path, keys, ("keys", "keys_file"))
    _check_unique(check, (*path, "keys"), "sha256", [key.sha256.lower() for key in keys.keys or ()])
    for place, key in enumerate(keys.keys or ()):
        if not key.id:
            check.report.fault((*path, "keys", place, "id"), "is empty (a name for the caller)")
    _check_forward_claims(check, (*path, "forward_claims"), keys.forward_claims)


def _check_signatures(check: Check, path: Path, signatures: Signatures) -> None:
    report = check.report
    _check_unique(
        check, (*path, "clients"), "secret", [f"{client.id}\0{client.secret}" for client in signatures.clients]
    )
    for place, client in enumerate(signatures.clients):
        at = (*path, "clients", place)
        if not client.id:
            report.fault((*at, "id"), "is empty (a name for the client)")
        length = len(client.secret.encode())
        if length < MIN_SECRET_BYTES:
            report.fault((*at, "secret"), f"has {length} bytes (at least {MIN_SECRET_BYTES})")
    for place, header in enumerate(signatures.signed_headers):
        if fault := header_fault(header):
            report.fault((*path, "signed_headers", place), fault)


def _check_unique(check: Check, path: Path, key: str, values: Iterable[str]) -> None:
    first: dict[str, int] = {}
    for place, value in enumerate(values):
        if first.setdefault(value, place) != place:
            line = check.report.line((*path, first[value]))
            check.report.fault((*path, place, key), f"is given twice (first in {line})")


def _check_forward_claims(check: Check, path: Path, claims: Mapping[str, str]) -> None:
    first: dict[str, str] = {}
    for claim, header in claims.items():
        if fault := settable_header_fault(header):
            check.report.fault((*path, claim), fault)
        other = first.setdefault(header.lower(), claim)
        if other != claim:
            check.report.fault((*path, claim), f"goes to the same header as {other} (a header of its own)")
