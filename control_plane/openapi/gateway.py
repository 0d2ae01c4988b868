"""An OpenAPI document -> the text of a gateway.yaml, to be read and changed by a person."""

import json
import re
from collections.abc import Iterable, Iterator
from itertools import groupby

from control_plane.openapi.document import Document, OpenApiError, Operation, Server, read_openapi

__all__ = ["OpenApiError", "gateway_yaml"]

_PLACEHOLDER_DIGEST = "0" * 64


def gateway_yaml(content: bytes, file: str) -> str:
    """Return a configuration with one route for the operations of each path that share their authentication.

    Raises:
        OpenApiError: the document is none, or has no paths.
    """
    document = read_openapi(content, file)
    return "\n".join(_lines(document, file)) + "\n"


def _lines(document: Document, file: str) -> Iterator[str]:
    name = _slug(document.title) or "gateway"
    yield f"# Made from {json.dumps(file)} by gatewayctl init. Check it with: gatewayctl validate"
    yield "version: 1"
    yield f"name: {name}"
    yield ""
    yield "listeners:"
    yield "  - {name: public, port: 10000}"
    yield ""
    yield "services:"
    yield from _service(document.server)
    yield ""
    yield from _auth(document)
    yield "defaults:"
    yield "  timeout: 10s"
    if not _is_address(document.server.host):
        yield f"  rewrite: {{host: {json.dumps(document.server.host)}}}   # the service knows itself by this name alone"
    yield ""
    yield "# The first match wins: fixed paths stand before templates."
    yield "routes:"
    used: set[str] = set()
    for operations in _routes(document):
        yield from _route(document, operations, used)


def _service(server: Server) -> Iterator[str]:
    yield "  api:"
    if _is_address(server.host):
        yield f'    endpoints: [{{address: "{server.host}", port: {server.port}}}]'
    else:
        yield f"    dns: {{host: {json.dumps(server.host)}, port: {server.port}}}"
    if server.is_tls:
        yield "    tls: {}"


def _is_address(host: str) -> bool:
    return re.fullmatch(r"[0-9.]+|[0-9a-f:]*:[0-9a-f:]*", host) is not None


def _auth(document: Document) -> Iterator[str]:
    schemes = frozenset[str]().union(*(operation.schemes for operation in document.operations))
    if not schemes:
        return
    yield "auth:"
    if schemes - document.api_key_schemes.keys():
        yield "  jwt:"
        yield "    main:"
        yield "      issuer: https://auth.example.com   # the claim iss of your tokens"
        yield "      algorithms: [HS256]                # or RS256, ES256 with jwks_file or jwks_url in place of secret"
        yield '      secret: "${JWT_SECRET}"'
    keys = sorted(schemes & document.api_key_schemes.keys())
    if keys:
        yield "  api_keys:"
    for scheme in keys:
        place, parameter = document.api_key_schemes[scheme]
        yield f"    {_slug(scheme)}:"
        yield f"      {place}: {json.dumps(parameter)}"
        yield f'      keys: [{{id: example, sha256: "{_PLACEHOLDER_DIGEST}"}}]   # gatewayctl key new'
    yield ""


def _routes(document: Document) -> Iterable[tuple[Operation, ...]]:
    def order(operation: Operation) -> tuple[int, str, list[str]]:
        return operation.path.count("{"), operation.path, sorted(operation.schemes)

    for _, group in groupby(sorted(document.operations, key=order), key=order):
        yield tuple(group)


def _route(document: Document, operations: tuple[Operation, ...], used: set[str]) -> Iterator[str]:
    first = operations[0]
    stem = name = _slug(first.path) or "root"
    number = 1
    while name in used:
        number += 1
        name = f"{stem}-{number}"
    used.add(name)
    methods = ", ".join(operation.method for operation in operations)
    key, path = _match(document.server.base_path + first.path)
    yield f"  - name: {name}"
    yield f"    match: {{{key}: {json.dumps(path)}, methods: [{methods}]}}"
    yield "    service: api"
    yield f"    auth: {_route_auth(document, first.schemes)}"
    if all(operation.deprecated for operation in operations):
        yield "    # deprecated in the document; say since when: deprecation: {since: 2026-01-01}"


def _route_auth(document: Document, schemes: frozenset[str]) -> str:
    if not schemes:
        return "none"
    references = {
        f"api_keys.{_slug(scheme)}" if scheme in document.api_key_schemes else "jwt.main" for scheme in schemes
    }
    return f"{{any_of: [{', '.join(sorted(references))}]}}"


def _match(path: str) -> tuple[str, str]:
    """A template becomes a regular expression; one parameter is one segment, or a part of it."""
    parts = re.split(r"\{[^}/]*\}", path)
    if len(parts) == 1:
        return "path", path
    return "path_regex", "[^/]+".join(map(re.escape, parts))


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()[:100]
