"""OpenAPI documents that routes validate with: YAML or JSON -> the JSON for ext_proc, or faults with their lines."""

from functools import lru_cache

import orjson

from control_plane.config.core_schema import Json, core_value
from control_plane.config.faults import Fault, Path
from control_plane.config.reading import read_document
from control_plane.config.tree import Keys, locate
from policy.openapi.document import DocumentError, Place
from policy.openapi.operations import openapi


@lru_cache(maxsize=32)
def openapi_json(content: bytes) -> bytes:
    """The document, whose content is sound."""
    return orjson.dumps(_value(content, "openapi")[1])


@lru_cache(maxsize=32)
def openapi_faults(file: str, content: bytes) -> tuple[Fault, ...]:
    """Everything that keeps a document from being used.

    Args:
        file: its name in faults.
    """
    root, value = _value(content, file)
    if root is None:
        return read_document(file, content).faults
    try:
        openapi(value)
    except DocumentError as error:
        return tuple(_fault(root, each.at, each.message) for each in error.problems)
    return ()


def _value(content: bytes, file: str) -> tuple[Keys | None, Json]:
    document = read_document(file, content)
    return document.root, core_value(document.root) if document.root is not None else None


def _fault(root: Keys, at: Place, message: str) -> Fault:
    place = locate(root, _path(root, at))
    return Fault.at(place.shown_at, (*place.path, *place.rest), message)


def _path(root: Keys, at: Place) -> Path:
    """The same place with numbers for the items of lists."""
    path: Path = ()
    for step in at:
        as_item = (*path, int(step)) if step.isdecimal() else path
        path = as_item if step.isdecimal() and not locate(root, as_item).rest else (*path, step)
    return path
