"""The JSON Schema of gateway.yaml, for editors: the forms that a file may have, shorthands and `${...}` included.

It is wider than `validate`, which knows references, ranges and rules; what an editor underlines is wrong for certain.
"""

from collections.abc import Callable
from typing import TypeAlias

from pydantic.json_schema import GenerateJsonSchema

from control_plane.config.model.gateway import Gateway

Schema: TypeAlias = "bool | int | float | str | list[Schema] | dict[str, Schema] | None"
Mapping: TypeAlias = dict[str, Schema]

_PLACEHOLDER: Mapping = {"type": "string", "pattern": "\\$\\{"}
"""`${NAME}` may stand for any single value."""
_TITLE = "gateway.yaml of the Meetinity API gateway"


class _InputForms(GenerateJsonSchema):
    """Without the titles that pydantic makes of names."""

    def field_title_should_be_set(self, schema: object) -> bool:
        return False


def gateway_schema() -> Mapping:
    """Return the schema as JSON-compatible values, in a stable order."""
    schema: Mapping = Gateway.model_json_schema(
        by_alias=True, mode="validation", schema_generator=_InputForms, union_format="any_of"
    )
    definitions = _mapping(schema["$defs"])
    for name, adapt in _SHORTHANDS.items():
        definitions[name] = adapt(_mapping(definitions[name]))
    del definitions["UnknownStep"]
    widened = _mapping(_widened(schema))
    widened["required"] = ["version", "name", "listeners"]
    widened["patternProperties"] = {"^x-": {}}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **widened, "title": _TITLE}


def _mapping(schema: Schema) -> Mapping:
    if not isinstance(schema, dict):
        raise TypeError(f"{schema!r} is not a schema")
    return schema


def _string_match(schema: Mapping) -> Mapping:
    return {"anyOf": [{"type": "string", "description": "The exact value."}, schema]}


def _load_balancing(_: Mapping) -> Mapping:
    hashing: Mapping = {"$ref": "#/$defs/HashPolicy"}
    return {
        "description": "An algorithm, or one that hashes with its key.",
        "anyOf": [
            {"type": "string", "enum": ["round_robin", "least_request", "random"]},
            {
                "type": "object",
                "properties": {"ring_hash": hashing, "maglev": hashing},
                "additionalProperties": False,
                "minProperties": 1,
                "maxProperties": 1,
            },
        ],
    }


def _rate_by_attribute(schema: Mapping) -> Mapping:
    rates = _mapping(_mapping(schema["properties"])["rates"])
    return {
        "type": "object",
        "description": "A rate for each value of an attribute: {attribute: tier, gold: 1000/minute}.",
        "properties": {"attribute": {"type": "string"}},
        "additionalProperties": rates["additionalProperties"],
        "required": ["attribute"],
        "minProperties": 2,
    }


def _one_or_more(*keys: str) -> Callable[[Mapping], Mapping]:
    """Editors may leave the brackets of a list of one out."""

    def adapt(schema: Mapping) -> Mapping:
        properties = _mapping(schema["properties"])
        for key in keys:
            listed = _mapping(properties[key])
            for option in _options(listed):
                if option.get("type") == "array":
                    listed.setdefault("anyOf", [])
                    _append(listed["anyOf"], option["items"])
        return schema

    return adapt


def _options(schema: Mapping) -> list[Mapping]:
    options = schema.get("anyOf")
    return [_mapping(option) for option in options] if isinstance(options, list) else [schema]


def _append(options: Schema, option: Schema) -> None:
    if isinstance(options, list):
        options.append(option)


def _required_claims(schema: Mapping) -> Mapping:
    claims = _mapping(_mapping(schema["properties"])["required_claims"])
    values = _mapping(claims["additionalProperties"])
    claims["additionalProperties"] = {"anyOf": [values, values["items"]]}
    return schema


def _listener(schema: Mapping) -> Mapping:
    """A sidecar's inbound listener needs no port."""
    return {**_one_or_more("tls")(schema), "required": ["name"]}


def _known_steps(schema: Mapping) -> Mapping:
    """Without the one that stands for what is not known."""
    steps = _mapping(_mapping(_mapping(schema["properties"])["body"])["items"])
    options = steps.pop("oneOf")
    unknown: Mapping = {"$ref": "#/$defs/UnknownStep"}
    steps["anyOf"] = [option for option in options if option != unknown] if isinstance(options, list) else options
    return schema


_SHORTHANDS: dict[str, Callable[[Mapping], Mapping]] = {
    "StringMatch": _string_match,
    "LoadBalancing": _load_balancing,
    "RateByAttribute": _rate_by_attribute,
    "Match": _one_or_more("path", "path_prefix", "path_regex"),
    "Listener": _listener,
    "Authentication": _required_claims,
    "ConvertBody": _one_or_more("to"),
    "RequestTransform": _known_steps,
    "ResponseTransform": _known_steps,
}

_BOUNDS = {"ge": "minimum", "le": "maximum"}
"""Bounds that pydantic cannot place, because text is allowed beside numbers; they count for numbers alone."""


def _is_kept(key: str, value: Schema) -> bool:
    """Titles repeat the key, and defaults of pydantic's own form (PT10S, nested sections) would mislead."""
    if key == "default":
        return isinstance(value, (bool, int, float)) or (isinstance(value, str) and not value.startswith("PT"))
    return key not in ("title", "format") or isinstance(value, dict)


def _widened(schema: Schema) -> Schema:
    """Let text be written without quotes where YAML takes it for something else, and `${...}` stand anywhere."""
    if isinstance(schema, list):
        return [_widened(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        _BOUNDS.get(key, key): value if key in ("default", "enum", "const", "required") else _widened(value)
        for key, value in schema.items()
        if _is_kept(key, value)
    }
    if "enum" in kept or "const" in kept:
        described = {"description": kept.pop("description")} if "description" in kept else {}
        return {**described, "anyOf": [kept, _PLACEHOLDER]}
    if kept.get("type") == "string" and "pattern" not in kept:
        return {**kept, "type": ["string", "number", "boolean"]}
    return kept
