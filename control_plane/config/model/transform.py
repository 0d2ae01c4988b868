"""transform: what happens to requests and responses of a route on their way."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from control_plane.config.model.base import OneOrMore, Section
from control_plane.config.scalars import Bool, SizeBytes

STEP_TYPES = ("set", "remove", "rename", "redact", "json_patch", "merge_patch", "convert", "graphql")
_UNKNOWN = "<step>"


class HeaderTransform(Section):
    """In the order rename, remove, set, add. Values are templates: {claim:sub}, {path:id}, {request_id}, ..."""

    rename: dict[str, str] = {}
    remove: tuple[str, ...] = ()
    set: dict[str, str] = {}
    add: dict[str, str] = {}


class QueryTransform(Section):
    """In the order rename, remove, set, add. Values are templates."""

    rename: dict[str, str] = {}
    remove: tuple[str, ...] = ()
    set: dict[str, str] = {}
    add: dict[str, str] = {}


class RedactBody(Section):
    """Values become "[redacted]"; fields are names at any depth, ends of paths (user.card, *.ssn), or JSONPaths."""

    type: Literal["redact"]
    fields: Annotated[tuple[str, ...], Field(min_length=1)]


class SetBody(Section):
    """Values by JSONPath; texts in them are templates."""

    type: Literal["set"]
    fields: Annotated[dict[str, Any], Field(min_length=1)]


class RemoveBody(Section):
    type: Literal["remove"]
    fields: Annotated[tuple[str, ...], Field(min_length=1)]


class RenameBody(Section):
    """New names by field."""

    type: Literal["rename"]
    fields: Annotated[dict[str, str], Field(min_length=1)]


class PatchOperation(Section):
    op: Literal["add", "remove", "replace", "move", "copy", "test"]
    path: str
    from_: Annotated[str | None, Field(alias="from")] = None
    """For move and copy."""
    value: Any = None

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)


class JsonPatchBody(Section):
    """RFC 6902."""

    type: Literal["json_patch"]
    operations: Annotated[tuple[PatchOperation, ...], Field(min_length=1)]


class MergePatchBody(Section):
    """RFC 7396."""

    type: Literal["merge_patch"]
    patch: Any


class ConvertBody(Section):
    """Requests: to what the service wants, from what Content-Type says. Responses: to what Accept chooses."""

    type: Literal["convert"]
    to: Annotated[tuple[Literal["json", "xml", "csv"], ...], Field(min_length=1), OneOrMore]
    xml_root: str = "root"
    """Name of the root element."""
    csv_formulas: Bool = False
    """Cells that a spreadsheet would take for a formula are written as they are."""


class GraphQlBody(Section):
    """wrap: a request becomes a GraphQL request, a response {"data": {field: ...}}; unwrap: the opposite."""

    type: Literal["graphql"]
    envelope: Literal["wrap", "unwrap"]
    query: str | None = None
    """Of a request that is wrapped."""
    operation: str | None = None
    variables: dict[str, str] = {}
    """Templates; they come on top of the members of the body."""
    field: str | None = None
    """Of a response: the member of data."""


class UnknownStep(Section):
    """Stands for a step of no known type, so that its fault lists the types there are."""

    type: Literal["set", "remove", "rename", "redact", "json_patch", "merge_patch", "convert", "graphql"]

    model_config = ConfigDict(extra="ignore")


def _step_tag(value: object) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return f"<{kind}>" if kind in STEP_TYPES else _UNKNOWN


BodyStep = Annotated[
    Annotated[SetBody, Tag("<set>")]
    | Annotated[RemoveBody, Tag("<remove>")]
    | Annotated[RenameBody, Tag("<rename>")]
    | Annotated[RedactBody, Tag("<redact>")]
    | Annotated[JsonPatchBody, Tag("<json_patch>")]
    | Annotated[MergePatchBody, Tag("<merge_patch>")]
    | Annotated[ConvertBody, Tag("<convert>")]
    | Annotated[GraphQlBody, Tag("<graphql>")]
    | Annotated[UnknownStep, Tag(_UNKNOWN)],
    Discriminator(_step_tag),
]


class ValidateMessages(Section):
    """Against an OpenAPI 3.0 or 3.1 document; 400 for requests, 502 for responses."""

    openapi: str
    """A file, YAML or JSON."""
    base_path: str | None = None
    """Before every path of the document; absent: that of its first server."""
    undocumented: Literal["refuse", "pass"] = "refuse"
    """Paths, methods and statuses that the document does not have."""


class RequestTransform(Section):
    """In this order: validate, path, query, headers, body."""

    validation: Annotated[ValidateMessages | None, Field(alias="validate")] = None
    path: str | None = None
    """A template of the path that the service gets; the query stays."""
    query: QueryTransform = QueryTransform()
    headers: HeaderTransform = HeaderTransform()
    body: tuple[BodyStep, ...] = ()

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)


class ResponseTransform(Section):
    """In this order: validate, headers, body."""

    validation: Annotated[ValidateMessages | None, Field(alias="validate")] = None
    headers: HeaderTransform = HeaderTransform()
    body: tuple[BodyStep, ...] = ()

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)


class Transform(Section):
    path_parameters: str | None = None
    """A template of the path that clients ask for, whose parts get names: /api/users/{id}, /files/{rest*}."""
    max_body: SizeBytes = 1024 * 1024
    """Of a body that is transformed or validated, as it comes and decoded."""
    on_unreadable: Literal["block", "pass"] = "block"
    """A body that cannot be read or is larger: refused, or passed as it is, unredacted."""
    request: RequestTransform = RequestTransform()
    response: ResponseTransform = ResponseTransform()

    @property
    def needs_bodies(self) -> bool:
        return any(side.body or side.validation is not None for side in (self.request, self.response))
