"""What a route's `transform` says, in compiled form; `ext_proc/transform` follows it.

The parts are made by functions that raise ValueError with the reason: the rules of gateway.yaml call them to name the
line, `transform_compiler` on what travels.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Literal, TypeAlias

from policy.fields import Fields
from policy.json_patch import Json, Operation
from policy.json_path import Query
from policy.openapi.operations import OpenApi
from policy.path_template import PathTemplate
from policy.templates import Template, Variable, template

DEFAULT_MAX_BODY_BYTES = 1 << 20
LARGEST_BODY_BYTES = 32 << 20
"""ext_proc takes messages of up to 64 MiB, and Envoy sends more than the limit of a body that is over it."""
_XML_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_GRAPHQL_NAME = re.compile(r"[_A-Za-z][_0-9A-Za-z]*")

Cached = Literal["no", "user", "public"]
"""Whether a route's responses are stored, and for whom."""


class Format(Enum):
    """A form that a document can have."""

    JSON = "application/json"
    XML = "application/xml"
    CSV = "text/csv"


@dataclass(frozen=True, slots=True)
class Redact:
    """The values become `[redacted]`."""

    fields: Fields


@dataclass(frozen=True, slots=True)
class Remove:
    fields: Fields


@dataclass(frozen=True, slots=True)
class Rename:
    """Members keep their place among their neighbours."""

    fields: tuple[tuple[Fields, str], ...]


@dataclass(frozen=True, slots=True)
class JsonTemplate:
    """A JSON value whose texts a request may fill in."""

    value: Json
    filled: "Filled | None"
    """None: nothing has to be filled in."""


Filled: TypeAlias = "Template | dict[str, Filled] | list[Filled] | str | int | float | bool | None"


@dataclass(frozen=True, slots=True)
class SetValue:
    path: Query
    """Members on the way to the one that it means are made, if it can mean one only."""
    value: JsonTemplate


@dataclass(frozen=True, slots=True)
class Set:
    values: tuple[SetValue, ...]


@dataclass(frozen=True, slots=True)
class Patch:
    """RFC 6902."""

    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Merge:
    """RFC 7396."""

    patch: Json


@dataclass(frozen=True, slots=True)
class Convert:
    to: tuple[Format, ...]
    xml_root: str
    csv_formulas: bool
    """Cells that a spreadsheet would take for a formula are written as they are."""


@dataclass(frozen=True, slots=True)
class WrapRequest:
    """The body becomes a GraphQL request."""

    query: str
    operation: str
    variables: tuple[tuple[str, Template], ...]
    """None: the body is the variables."""


@dataclass(frozen=True, slots=True)
class UnwrapRequest:
    """A GraphQL request becomes its variables."""


@dataclass(frozen=True, slots=True)
class WrapResponse:
    """The body becomes the result of a GraphQL request."""

    field: str


@dataclass(frozen=True, slots=True)
class UnwrapResponse:
    """The result of a GraphQL request becomes the member of its data; "" is the data itself."""

    field: str


Step: TypeAlias = (
    Redact
    | Remove
    | Rename
    | Set
    | Patch
    | Merge
    | Convert
    | WrapRequest
    | UnwrapRequest
    | WrapResponse
    | UnwrapResponse
)


@dataclass(frozen=True, slots=True)
class Values:
    """Changes of named values that a request fills in, in the order rename, remove, set, add."""

    rename: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()
    set: tuple[tuple[str, Template], ...] = ()
    add: tuple[tuple[str, Template], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.rename or self.remove or self.set or self.add)

    @property
    def templates(self) -> Iterable[Template]:
        return [each for _, each in (*self.set, *self.add)]


@dataclass(frozen=True, slots=True)
class Validation:
    """The messages have to be as a document describes them."""

    document: OpenApi
    pass_undocumented: bool


@dataclass(frozen=True, slots=True)
class Rules:
    """Of one direction, beyond the header changes that are the same for every message."""

    headers: Values = Values()
    query: Values = Values()
    path: Template | None = None
    body: tuple[Step, ...] = ()
    validation: Validation | None = None

    def __bool__(self) -> bool:
        return bool(self.headers or self.query or self.path or self.body or self.validation)

    @property
    def needs_body(self) -> bool:
        return bool(self.body or self.validation)

    @property
    def templates(self) -> Iterator[Template]:
        yield from self.headers.templates
        yield from self.query.templates
        if self.path is not None:
            yield self.path
        for step in self.body:
            if isinstance(step, Set):
                for each in step.values:
                    yield from templates_in(each.value.filled)
            elif isinstance(step, WrapRequest):
                yield from (each for _, each in step.variables)


@dataclass(frozen=True, slots=True)
class Transform:
    """Of one route."""

    request: Rules = Rules()
    response: Rules = Rules()
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES
    """As it comes, and decoded."""
    pass_unreadable: bool = False
    path_parameters: PathTemplate | None = None
    claims: tuple[str, ...] = field(default=())
    """That templates read, sorted."""
    reads: frozenset[str] = frozenset()
    """Request headers, lower case, that rules of either direction read."""
    response_reads: frozenset[str] = frozenset()
    """Those that rules of the response read: clients' caches have to know."""

    def __bool__(self) -> bool:
        return bool(self.request or self.response)


def templates_in(filled: Filled) -> Iterator[Template]:
    if isinstance(filled, Template):
        yield filled
    elif isinstance(filled, dict):
        for each in filled.values():
            yield from templates_in(each)
    elif isinstance(filled, list):
        for each in filled:
            yield from templates_in(each)


def json_template(value: Json) -> JsonTemplate:
    """
    Raises:
        ValueError: a text in it is no template.
    """
    filled = _filled(value)
    return JsonTemplate(value, filled if filled != value else None)


def _filled(value: Json) -> Filled:
    if isinstance(value, str):
        made = template(value)
        return "".join(map(str, made.parts)) if made.is_literal else made
    if isinstance(value, dict):
        return {name: _filled(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_filled(item) for item in value]
    return value


def set_value(path: str, value: Json) -> SetValue:
    """
    Raises:
        ValueError: the path is no JSONPath, or a text of the value no template.
    """
    if not path.startswith("$"):
        raise ValueError(f"{path!r} is not a JSONPath ($.{path})")
    return SetValue(Query(path), json_template(value))


def graphql_name(text: str) -> str:
    """
    Raises:
        ValueError: not a name of GraphQL.
    """
    if not _GRAPHQL_NAME.fullmatch(text):
        raise ValueError(f"{text!r} is not a name of GraphQL (letters, digits and _)")
    return text


def xml_root(text: str) -> str:
    """
    Raises:
        ValueError: not the name of an element.
    """
    if not _XML_NAME.fullmatch(text) or text.lower().startswith("xml"):
        raise ValueError(f"{text!r} cannot be the name of an element (letters, digits, - _ .; not xml...)")
    return text


def path_of(text: str) -> Template:
    """
    Raises:
        ValueError: no template of a path without query.
    """
    if not text.startswith("/") or "?" in text or "#" in text or re.search(r"[\x00-\x20\x7f]", text):
        raise ValueError(f"{text!r} is not a path (/v2/users/{{path:id}}; the query stays, `query` changes it)")
    return template(text)


def with_reads(made: Transform) -> Transform:
    """The same, and what its rules read of a request."""
    request = [each for text in made.request.templates for each in text.variables]
    response = [each for text in made.response.templates for each in text.variables]
    renamed = {name for name, _ in made.request.headers.rename}
    chosen = {"accept"} if any(isinstance(step, Convert) for step in made.response.body) else set()
    response_reads = frozenset(chosen | _names(response, "header"))
    return replace(
        made,
        claims=tuple(sorted(_names([*request, *response], "claim"))),
        reads=frozenset(renamed | _names(request, "header") | response_reads),
        response_reads=response_reads,
    )


def _names(variables: Iterable[Variable], kind: str) -> set[str]:
    return {each.name for each in variables if each.kind == kind}


def variable_faults(made: Transform, *, cached: Cached) -> Iterator[str]:
    """Variables that never have a value, and those that would give one caller what is another's."""
    parameters = made.path_parameters.names if made.path_parameters is not None else ()
    for side, rules in (("request", made.request), ("response", made.response)):
        variables = dict.fromkeys(each for text in rules.templates for each in text.variables)
        for each in variables:
            if each.kind == "path" and each.name not in parameters:
                known = ", ".join(parameters) or "path_parameters: /api/users/{id} declares them"
                yield f"{side}: {{path:{each.name}}} is not a parameter of the path ({known})"
            if each.kind == "claim" and cached == "public":
                yield (
                    f"{side}: {{claim:{each.name}}} differs from caller to caller, and the cache's scope is public "
                    "(cache: {scope: user}, or no cache)"
                )
            if each.kind == "request_id" and side == "response" and cached != "no":
                yield f"{side}: {{request_id}} would be that of another request on a hit (no cache)"
