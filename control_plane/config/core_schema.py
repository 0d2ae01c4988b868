"""YAML 1.2's core schema (section 10.3.2), for the one place where no key's type can decide: envoy_patches values."""

import re
from typing import TypeAlias

from control_plane.config.tree import Items, Node, Text

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_INT = re.compile(r"[-+]?[0-9]{1,300}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")
_OTHER_BASE = re.compile(r"0o[0-7]{1,100}|0x[0-9a-fA-F]{1,100}")


def core_value(node: Node) -> Json:
    """Return the JSON value that a node means."""
    if isinstance(node, Text):
        return _scalar(node)
    if isinstance(node, Items):
        return [core_value(item) for item in node.items]
    return {key: core_value(entry.value) for key, entry in node.entries.items()}


def _scalar(node: Text) -> Json:
    text = node.text
    if not node.plain:
        return text
    if node.is_null:
        return None
    if text.lower() in ("true", "false") and text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text)
    if _OTHER_BASE.fullmatch(text):
        return int(text, 0)
    return float(text) if _FLOAT.fullmatch(text) else text
