"""What of an OpenAPI 3 document says how to route: servers, paths, methods, security; nothing else."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from control_plane.config.reading import read_document
from control_plane.config.tree import Items, Keys, Node, Text, locate

METHODS = ("get", "head", "post", "put", "patch", "delete", "options", "trace")


class OpenApiError(Exception):
    """The document cannot become a configuration; the text says why."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where the described service is."""

    host: str
    port: int
    is_tls: bool
    base_path: str
    """Before every path; "" or with a leading and without a trailing slash."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    path: str
    """As a template: /users/{id}."""
    method: str
    """Upper case."""
    schemes: frozenset[str]
    """Names of the security schemes of which one has to be met; empty: public."""
    deprecated: bool


@dataclass(frozen=True, slots=True)
class Document:
    """An OpenAPI document."""

    title: str
    server: Server
    api_key_schemes: dict[str, tuple[str, str]]
    """Name -> ("header" or "query", parameter)."""
    operations: tuple[Operation, ...]


def read_openapi(content: bytes, file: str) -> Document:
    """Read a document in YAML or JSON.

    Raises:
        OpenApiError: it is not OpenAPI 3, or has no paths.
    """
    document = read_document(file, content)
    if document.root is None:
        raise OpenApiError(document.faults[0].message)
    root = document.root
    if not _text(root, "openapi").startswith("3."):
        raise OpenApiError("is not an OpenAPI 3 document (openapi: 3.x)")
    operations = tuple(_operations(root))
    if not operations:
        raise OpenApiError("has no paths")
    return Document(_text(root, "info", "title"), _server(root), _api_keys(root), operations)


def _text(node: Node, *path: str | int) -> str:
    place = locate(node, path)
    return place.node.text if not place.rest and isinstance(place.node, Text) and not place.node.is_null else ""


def _keys(node: Node, *path: str | int) -> Keys | None:
    place = locate(node, path)
    return place.node if not place.rest and isinstance(place.node, Keys) else None


def _items(node: Node, *path: str | int) -> Sequence[Node] | None:
    place = locate(node, path)
    return place.node.items if not place.rest and isinstance(place.node, Items) else None


def _server(root: Keys) -> Server:
    text = _text(root, "servers", 0, "url")
    variables = _keys(root, "servers", 0, "variables")
    for name in variables.entries if variables else ():
        text = text.replace(f"{{{name}}}", _text(root, "servers", 0, "variables", name, "default"))
    try:
        parts = urlsplit(text)
        is_tls = parts.scheme == "https"
        return Server(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or (443 if is_tls else 80 if parts.hostname else 8101),
            is_tls=is_tls,
            base_path=re.sub("/{2,}", "/", parts.path).rstrip("/"),
        )
    except ValueError:
        raise OpenApiError(f"servers[0].url: {text!r} is not a URL") from None


def _operations(root: Keys) -> Iterator[Operation]:
    paths = _keys(root, "paths")
    for path in paths.entries if paths else ():
        if not path.startswith("/"):
            continue
        for method in METHODS:
            operation = _keys(root, "paths", path, method)
            if operation is not None:
                deprecated = _text(operation, "deprecated") == "true"
                yield Operation(path, method.upper(), _schemes(root, operation), deprecated)


def _schemes(root: Keys, operation: Keys) -> frozenset[str]:
    """An operation's own `security` replaces the document's; an empty requirement makes it public."""
    own = _items(operation, "security")
    requirements = own if own is not None else _items(root, "security") or ()
    sets = [frozenset(requirement.entries) for requirement in requirements if isinstance(requirement, Keys)]
    return frozenset() if frozenset() in sets else frozenset[str]().union(*sets)


def _api_keys(root: Keys) -> dict[str, tuple[str, str]]:
    schemes = _keys(root, "components", "securitySchemes")
    found: dict[str, tuple[str, str]] = {}
    for name in schemes.entries if schemes else ():
        path = ("components", "securitySchemes", name)
        place, parameter = _text(root, *path, "in"), _text(root, *path, "name")
        if _text(root, *path, "type") == "apiKey" and place in ("header", "query") and parameter:
            found[name] = (place, parameter)
    return found
