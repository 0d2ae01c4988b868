"""The operations of an OpenAPI document: what they want of a request's parts and of a response."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, cast
from urllib.parse import urlsplit

from policy.json_patch import Json
from policy.openapi.document import Direction, Document, DocumentError, Object, Place, Problem
from policy.path_template import PathTemplate, path_template

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
In = Literal["path", "query", "header", "cookie"]
_STYLES: Mapping[str, tuple[str, ...]] = {
    "path": ("simple",),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form",),
}
_NOT_PARAMETERS = ("accept", "content-type", "authorization")
"""Headers that OpenAPI describes elsewhere (3.0.3, Parameter Object)."""


class Validator(Protocol):
    """Of one schema."""

    def iter_errors(self, instance: Any) -> Iterator[Any]: ...


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation."""

    name: str
    """Lower case for headers."""
    place: In
    required: bool
    style: str
    explode: bool
    is_json: bool
    """Its text is a JSON document (`content` instead of `schema`)."""
    validator: Validator | None
    types: frozenset[str]
    """Of JSON, that its text may stand for; empty: any."""
    item_types: frozenset[str]
    """The same of the items of an array."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a body may be, by media type (`application/json`, `text/*`, `*/*`); None: any body of that type."""

    media_types: Mapping[str, Validator | None]
    required: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    method: str
    """Upper case."""
    template: PathTemplate
    parameters: tuple[Parameter, ...]
    body: Content | None
    responses: Mapping[str, Content | None]
    """By status (`200`, `2XX`, `default`); None: a response without a body that is described."""


@dataclass(frozen=True, slots=True)
class OpenApi:
    """A document, ready to be asked."""

    base_path: str
    literal: Mapping[str, tuple[Operation, ...]]
    """The operations of each path without parameters, which go before all others."""
    templated: tuple[tuple[Operation, ...], ...]
    """Those of each path with parameters, the fewest parameters first."""

    def matching(self, path: str) -> tuple[tuple[Operation, ...], dict[str, str]]:
        """All operations of the path and the values of its parameters; () if the document has no such path.

        Args:
            path: without query, as the client sent it.
        """
        base = self.base_path
        if base and path != base and not path.startswith(f"{base}/"):
            return (), {}
        rest = path[len(base) :] or "/"
        if rest in self.literal:
            return self.literal[rest], {}
        for operations in self.templated:
            values = operations[0].template.match(rest)
            if values is not None:
                return operations, values
        return (), {}


def openapi(root: Json, *, base_path: str | None = None) -> OpenApi:
    """
    Args:
        root: the document.
        base_path: replaces that of the document's first server.

    Raises:
        DocumentError: with all that is wrong with it.
    """
    document = Document(root)
    reading = _Reading(document)
    by_path: dict[str, tuple[Operation, ...]] = {}
    for operation in reading.operations():
        path = operation.template.text
        by_path[path] = (*by_path.get(path, ()), operation)
    if not reading.problems and not by_path:
        reading.problems.append(Problem(("paths",), "has no operations"))
    if reading.problems:
        raise DocumentError(reading.problems)
    base = _base_path(document) if base_path is None else base_path
    templated = [each for each in by_path.values() if each[0].template.names]
    return OpenApi(
        base_path=base.rstrip("/"),
        literal={path: each for path, each in by_path.items() if not each[0].template.names},
        templated=tuple(sorted(templated, key=lambda each: len(each[0].template.names))),
    )


def _base_path(document: Document) -> str:
    server, place = document.at(("servers", "0"))
    url = server.get("url") if isinstance(server, dict) else None
    if not isinstance(url, str):
        return ""
    variables, _ = document.at((*place, "variables"))
    for name, variable in variables.items() if isinstance(variables, dict) else ():
        if isinstance(variable, dict):
            url = url.replace(f"{{{name}}}", str(variable.get("default", "")))
    try:
        return re.sub("/{2,}", "/", urlsplit(url).path)
    except ValueError:
        return ""


@dataclass(slots=True)
class _Reading:
    """Walks the document, and goes on after what is wrong."""

    document: Document
    problems: list[Problem] = field(default_factory=list)

    def operations(self) -> Iterator[Operation]:
        paths, _ = self.document.at(("paths",))
        for path in paths if isinstance(paths, dict) else ():
            if path.startswith("x-"):
                continue
            try:
                template = path_template(path, open_end=False)
            except ValueError as error:
                self.problems.append(Problem(("paths", path), str(error)))
                continue
            item, place = self.document.at(("paths", path))
            for method in METHODS:
                if isinstance(item, dict) and isinstance(item.get(method), dict):
                    yield self._operation((*place, method), method, template, place)

    def _operation(self, place: Place, method: str, template: PathTemplate, item: Place) -> Operation:
        shared = self._parameters((*item, "parameters"))
        own = self._parameters((*place, "parameters"))
        body, body_place = self.document.at((*place, "requestBody"))
        responses, responses_place = self.document.at((*place, "responses"))
        return Operation(
            method=method.upper(),
            template=template,
            parameters=tuple(({(each.place, each.name): each for each in (*shared, *own)}).values()),
            body=self._content(body, body_place, "request") if isinstance(body, dict) else None,
            responses={
                status.upper() if status != "default" else status: self._response(responses_place, status)
                for status in (responses if isinstance(responses, dict) else {})
                if not status.startswith("x-")
            },
        )

    def _response(self, place: Place, status: str) -> Content | None:
        response, found = self.document.at((*place, status))
        return self._content(response, found, "response") if isinstance(response, dict) else None

    def _content(self, holder: Object, place: Place, direction: Direction) -> Content | None:
        content = holder.get("content")
        if not isinstance(content, dict):
            return None
        media_types = {
            media_type.partition(";")[0].strip().lower(): self._schema_of(
                (*place, "content", media_type), direction, media_type
            )
            for media_type in content
        }
        return Content(media_types, holder.get("required") is True)

    def _schema_of(self, place: Place, direction: Direction, media_type: str) -> Validator | None:
        """Bodies that are not JSON have no values of JSON's types that a schema could judge."""
        holder, found = self.document.at(place)
        if not isinstance(holder, dict) or "schema" not in holder:
            return None
        return self._validator((*found, "schema"), direction) if is_json(media_type) or "*" in media_type else None

    def _validator(self, place: Place, direction: Direction) -> Validator | None:
        try:
            return self.document.validator(place, direction)
        except DocumentError as error:
            self.problems.extend(error.problems)
            return None

    def _parameters(self, place: Place) -> tuple[Parameter, ...]:
        listed, found = self.document.at(place)
        made = [
            self._parameter((*found, str(index))) for index in range(len(listed) if isinstance(listed, list) else 0)
        ]
        return tuple(each for each in made if each is not None)

    def _parameter(self, at: Place) -> Parameter | None:
        value, place = self.document.at(at)
        where = value.get("in") if isinstance(value, dict) else None
        name = value.get("name") if isinstance(value, dict) else None
        if not isinstance(value, dict) or not isinstance(name, str) or where not in _STYLES:
            self.problems.append(Problem(at, "is not a parameter (name; in: path, query, header or cookie)"))
            return None
        if where == "header":
            name = name.lower()
            if name in _NOT_PARAMETERS:
                return None
        style = value.get("style", _STYLES[str(where)][0])
        if style not in _STYLES[str(where)]:
            allowed = ", ".join(_STYLES[str(where)])
            self.problems.append(Problem((*place, "style"), f"{style!r} is not supported here ({allowed})"))
        content = value.get("content")
        schema_at = (*place, "schema")
        if isinstance(content, dict) and content:
            schema_at = (*place, "content", next(iter(content)), "schema")
        there = self.document.at(schema_at)[0] is not None
        return Parameter(
            name=name,
            place=cast(In, where),
            required=value.get("required") is True,
            style=str(style),
            explode=value.get("explode", style == "form") is True,
            is_json=isinstance(content, dict),
            validator=self._validator(schema_at, "request") if there else None,
            types=self._types(schema_at),
            item_types=self._types((*schema_at, "items")),
        )

    def _types(self, at: Place, depth: int = 0) -> frozenset[str]:
        """Every type that a schema names, also in its alternatives."""
        schema, place = self.document.at(at)
        if not isinstance(schema, dict) or depth > 10:
            return frozenset()
        said = schema.get("type")
        types = {said} if isinstance(said, str) else {str(each) for each in said} if isinstance(said, list) else set()
        for key in ("allOf", "anyOf", "oneOf"):
            options = schema.get(key)
            for index in range(len(options) if isinstance(options, list) else 0):
                types |= self._types((*place, key, str(index)), depth + 1)
        return frozenset(types)


def is_json(media_type: str) -> bool:
    """Whether bodies of this type are JSON (RFC 6839)."""
    base = media_type.partition(";")[0].strip().lower()
    return base == "application/json" or base.endswith("+json")
