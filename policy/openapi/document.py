"""An OpenAPI document: its references, and its schemas as validators of JSON Schema."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import jsonschema_rs

from policy.json_patch import Json, pointer

Object: TypeAlias = "dict[str, Json]"
Place: TypeAlias = tuple[str, ...]
Direction = Literal["request", "response"]

_BASE = "urn:openapi"
_MASK = "the value"
"""Stands in messages for what a client or a service sent."""
_BACKTRACKING = 100_000
"""Steps of a pattern that needs backtracking; one that takes more does not match."""
_MAX_REFERENCES = 100
_HIDDEN: Mapping[Direction, str] = {"request": "readOnly", "response": "writeOnly"}
_INTEGERS: Mapping[str, tuple[int, int]] = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a document."""

    at: Place
    """Names and indices from its root."""
    message: str


class DocumentError(ValueError):
    """A document that cannot be used, with everything that is wrong in it."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(f"{'.'.join(each.at) or 'document'}: {each.message}" for each in problems))
        self.problems = tuple(problems)


class Document:
    """The text of a document; nothing in it is changed."""

    def __init__(self, root: Json) -> None:
        """
        Raises:
            DocumentError: not OpenAPI 3, or it refers to what is not in it.
        """
        if not isinstance(root, dict) or not str(root.get("openapi", "")).startswith("3."):
            raise DocumentError([Problem((), "is not an OpenAPI 3 document (openapi: 3.0.3, 3.1.0)")])
        self.root = root
        self.is_3_0 = str(root["openapi"]).startswith("3.0")
        problems = list(self._reference_problems())
        if problems:
            raise DocumentError(problems)
        draft = jsonschema_rs.Draft4 if self.is_3_0 else jsonschema_rs.Draft202012
        self._registries = {
            direction: jsonschema_rs.Registry([(_BASE, self._schemas(direction))], draft=draft) for direction in _HIDDEN
        }

    def validator(self, at: Place, direction: Direction) -> jsonschema_rs.Draft4Validator:
        """What checks a value against the schema at this place.

        Raises:
            DocumentError: it is no schema.
        """
        kind: Any = jsonschema_rs.Draft4Validator if self.is_3_0 else jsonschema_rs.Draft202012Validator
        try:
            made: jsonschema_rs.Draft4Validator = kind(
                {"$ref": f"{_BASE}#{pointer_text(at)}"},
                registry=self._registries[direction],
                validate_formats=True,
                ignore_unknown_formats=True,
                mask=_MASK,
                offline=True,
                pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACKING),
            )
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            raise DocumentError([Problem(at, f"is not a usable schema: {str(error).partition(chr(10))[0]}")]) from None
        return made

    def at(self, place: Place) -> tuple[Json, Place]:
        """What stands there, and where that is after references. None if nothing does."""
        value: Json = self.root
        walked: Place = ()
        for step in place:
            value, walked = self.resolved(value, walked)
            value = self._step(value, step)
            walked = (*walked, step)
        return self.resolved(value, walked)

    def resolved(self, value: Json, place: Place) -> tuple[Json, Place]:
        """Follow `$ref`; a circle of nothing but references ends at None."""
        for _ in range(_MAX_REFERENCES):
            if not isinstance(value, dict) or not isinstance(reference := value.get("$ref"), str):
                return value, place
            place = pointer(reference.removeprefix("#"))
            value = self.root
            for step in place:
                value = self._step(value, step)
        return None, place

    @staticmethod
    def _step(value: Json, step: str) -> Json:
        if isinstance(value, dict):
            return value.get(step)
        if isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            return value[int(step)]
        return None

    def _reference_problems(self) -> Iterator[Problem]:
        for place, value in _objects(self.root, ()):
            reference = value.get("$ref")
            if not isinstance(reference, str):
                continue
            if not reference.startswith("#/"):
                yield Problem((*place, "$ref"), f"{reference!r} leads out of the document (#/components/...)")
                continue
            try:
                target, _ = self.resolved({"$ref": reference}, place)
            except ValueError:
                target = None
            if target is None:
                yield Problem((*place, "$ref"), f"{reference!r} leads nowhere")

    def _schemas(self, direction: Direction) -> Any:
        """The document as JSON Schema understands it: what OpenAPI 3.0 says in its own words is said in JSON Schema's,
        and members that only the other direction has are not required.
        """
        return self._adapted(self.root, direction)

    def _adapted(self, value: Json, direction: Direction) -> Json:
        if isinstance(value, list):
            return [self._adapted(item, direction) for item in value]
        if not isinstance(value, dict):
            return value
        adapted = {name: self._adapted(member, direction) for name, member in value.items()}
        properties, required = value.get("properties"), value.get("required")
        if isinstance(properties, dict) and isinstance(required, list):
            kept = [name for name in required if not self._is_hidden(properties, name, direction)]
            adapted["required"] = list(kept)
            if not kept:
                del adapted["required"]
        if self.is_3_0 and value.get("nullable") is True:
            adapted = _nullable(adapted)
        bounds = _INTEGERS.get(str(value.get("format")))
        if value.get("type") == "integer" and bounds is not None:
            adapted.setdefault("minimum", bounds[0])
            adapted.setdefault("maximum", bounds[1])
        return adapted

    def _is_hidden(self, properties: Object, name: Json, direction: Direction) -> bool:
        own = properties.get(name) if isinstance(name, str) else None
        target, _ = self.resolved(own, ())
        return any(isinstance(each, dict) and each.get(_HIDDEN[direction]) is True for each in (own, target))


def _nullable(schema: Object) -> Object:
    kind = schema.get("type")
    if isinstance(kind, str):
        schema["type"] = [kind, "null"]
    values = schema.get("enum")
    if isinstance(values, list) and None not in values:
        schema["enum"] = [*values, None]
    return schema


def _objects(value: Json, place: Place) -> Iterator[tuple[Place, Object]]:
    """Every object, without what stands in examples."""
    if isinstance(value, dict):
        yield place, value
        for name, member in value.items():
            if name not in ("example", "examples", "default", "enum", "const"):
                yield from _objects(member, (*place, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _objects(item, (*place, str(index)))


def pointer_text(place: Place) -> str:
    """A JSON pointer in a URI's fragment."""
    escaped = (step.replace("~", "~0").replace("/", "~1").replace("%", "%25") for step in place)
    return "".join(f"/{_fragment(step)}" for step in escaped)


def _fragment(text: str) -> str:
    return "".join(c if c.isalnum() or c in "%-._~!$&'()*+,;=:@" else _encoded(c) for c in text)


def _encoded(character: str) -> str:
    return "".join(f"%{octet:02X}" for octet in character.encode())
