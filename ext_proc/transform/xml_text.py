"""XML <-> the values of JSON, by the mapping of docs/developer/transformations.md.

Any JSON document whose member names are names of XML survives the way there and back. No document type, so no entities
but XML's own five; no namespaces, no text beside elements.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

import orjson

from ext_proc.transform.problems import unreadable
from policy.json_patch import Json

MAX_DEPTH = 200
_NAME = re.compile(
    "(?![xX][mM][lL])[A-Za-z_\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u00ff\u0100-\u0131][-.A-Za-z0-9_\u00b7\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u00ff\u0100-\u0131]*"
)
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,4000})(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?")
_TEXT_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}
_ATTRIBUTE_ESCAPES = _TEXT_ESCAPES | {'"': "&quot;", "\n": "&#10;", "\t": "&#9;"}
_TEXT_SPECIAL, _ATTRIBUTE_SPECIAL = re.compile("[&<>\r]"), re.compile('[&<>\r"\n\t]')
_TYPES = ("array", "boolean", "null", "number", "object")
_TYPE, _TEXT = "@type", "#text"


def parser() -> Any:
    """An expat parser that refuses document types, and with them entities."""
    made = expat.ParserCreate()
    made.buffer_text = True
    made.StartDoctypeDeclHandler = _refuse_document_type
    return made


def _refuse_document_type(*_: object) -> None:
    raise unreadable("the body has a document type (DTD), which is never read")


def feed(made: Any, body: bytes) -> None:
    """
    Raises:
        UnusableError: not well-formed XML in an encoding that expat knows.
    """
    try:
        made.Parse(body, True)
    except expat.ExpatError as error:
        raise unreadable(f"the body is not valid XML: {expat.ErrorString(error.code)}") from None
    except (LookupError, UnicodeError):
        raise unreadable("the body is in an encoding that is not known") from None


@dataclass(slots=True)
class _Element:
    name: str
    attributes: dict[str, str]
    children: list[tuple[str, Json]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)


def loads(body: bytes) -> Json:
    """
    Raises:
        UnusableError: not XML, or more than the mapping has a place for.
    """
    reading = _Reading()
    made = parser()
    made.StartElementHandler = reading.start
    made.EndElementHandler = reading.end
    made.CharacterDataHandler = reading.data
    feed(made, body)
    return reading.root


class _Reading:
    def __init__(self) -> None:
        self.root: Json = None
        self._open: list[_Element] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise unreadable("the body is nested too deeply")
        if ":" in name or any(":" in each or each == "xmlns" for each in attributes):
            raise unreadable("the body uses namespaces, which JSON has no place for")
        self._open.append(_Element(name, attributes))

    def data(self, text: str) -> None:
        if self._open:
            self._open[-1].text.append(text)

    def end(self, name: str) -> None:
        value = _value(self._open.pop())
        if self._open:
            self._open[-1].children.append((name, value))
        else:
            self.root = value


def _value(element: _Element) -> Json:
    text = "".join(element.text)
    if element.children and text.strip(" \t\r\n"):
        raise unreadable("the body has text beside elements, which JSON has no place for")
    kind = element.attributes.get("type")
    if kind in _TYPES and len(element.attributes) == 1:
        return _typed(kind, text, element.children)
    if not element.children and not element.attributes:
        return text
    members: dict[str, Json] = {f"@{name}": value for name, value in element.attributes.items()}
    members |= _members(element.children)
    if not element.children and text:
        members[_TEXT] = text
    return members


def _members(children: list[tuple[str, Json]]) -> dict[str, Json]:
    """Elements of one name are an array."""
    several: dict[str, list[Json]] = {}
    for name, value in children:
        several.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else list(values) for name, values in several.items()}


def _typed(kind: str, text: str, children: list[tuple[str, Json]]) -> Json:
    if kind in ("object", "array"):
        if text.strip(" \t\r\n"):
            raise unreadable(f'text in an element of type="{kind}"')
        return _members(children) if kind == "object" else [value for _, value in children]
    text = text.strip(" \t\r\n")
    if children or (kind == "null" and text):
        raise unreadable(f'content in an element of type="{kind}"')
    if kind == "null":
        return None
    if kind == "boolean" and text in ("true", "false"):
        return text == "true"
    found = _NUMBER.fullmatch(text) if kind == "number" else None
    if found is None:
        raise unreadable(f'an element of type="{kind}" does not hold one')
    if found[2] is None and found[3] is None:
        return int(text)
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise unreadable("a number is too large")
    return number


def dumps(document: Json, root: str) -> bytes:
    """
    Args:
        root: name of the root element.

    Raises:
        UnusableError: a name or a character that XML cannot hold, or nested too deeply.
    """
    parts = ['<?xml version="1.0" encoding="UTF-8"?>\n', *_element(root, document, 1)]
    return "".join(parts).encode()


def _element(name: str, value: Json, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        raise unreadable("the body is nested too deeply")
    if not _NAME.fullmatch(name):
        raise unreadable("a member's name cannot be the name of an element")
    match value:
        case dict():
            yield from _object(name, value, depth)
        case list():
            yield f'<{name} type="array">'
            for item in value:
                yield from _element("item", item, depth + 1)
            yield f"</{name}>"
        case str():
            yield f"<{name}>{_escaped(value, attribute=False)}</{name}>"
        case None:
            yield f'<{name} type="null"/>'
        case bool():
            yield f'<{name} type="boolean">{"true" if value else "false"}</{name}>'
        case _:
            yield f'<{name} type="number">{_number(value)}</{name}>'


def _object(name: str, value: dict[str, Json], depth: int) -> Iterator[str]:
    attributes = {key: member for key, member in value.items() if key.startswith("@")}
    text = value.get(_TEXT)
    children = {key: member for key, member in value.items() if key not in attributes and key != _TEXT}
    if _TEXT in value and (not isinstance(text, str) or not text or children or not attributes):
        raise unreadable("a member #text is not the text of an element with attributes alone")
    yield f"<{name}"
    if not children and not attributes:
        yield ' type="object"'
    for key, member in attributes.items():
        if (
            not isinstance(member, str)
            or not _NAME.fullmatch(key[1:])
            or (len(attributes) == 1 and _is_type(key, member))
        ):
            raise unreadable("a member whose name begins with @ is not an attribute")
        yield f' {key[1:]}="{_escaped(member, attribute=True)}"'
    yield ">"
    if isinstance(text, str):
        yield _escaped(text, attribute=False)
    for key, member in children.items():
        yield from _element(key, member, depth + 1)
    yield f"</{name}>"


def _is_type(key: str, value: str) -> bool:
    return key == _TYPE and value in _TYPES


def _number(value: int | float) -> str:
    return str(value) if isinstance(value, int) else orjson.dumps(value).decode()


def _escaped(text: str, *, attribute: bool) -> str:
    if _NOT_XML.search(text):
        raise unreadable("a text holds a character that XML cannot")
    special, escapes = (_ATTRIBUTE_SPECIAL, _ATTRIBUTE_ESCAPES) if attribute else (_TEXT_SPECIAL, _TEXT_ESCAPES)
    return special.sub(lambda found: escapes[found[0]], text)
