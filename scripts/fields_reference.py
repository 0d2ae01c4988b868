"""Write docs/reference/fields.md: every field of gateway.yaml, from its JSON Schema; a test compares them."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from scripts.generate_schema import TARGET as SCHEMA

TARGET = SCHEMA.with_name("fields.md")
Schema = Mapping[str, Any]
_HEAD = """# Every field

Generated from [gateway.schema.json](gateway.schema.json) (`make schema`), which editors can use as well. What the
fields mean together, and what is an error, stands in [gateway.yaml](configuration.md). Wherever a number or a word is
expected, `${NAME}` and `${file:/path}` may stand; durations, sizes, rates and dates are
[written so](configuration.md#how-the-file-is-read).
"""


def reference(schema: Schema) -> str:
    return "\n".join([_HEAD, *_section("gateway.yaml", schema), *_definitions(schema)])


def _definitions(schema: Schema) -> Iterator[str]:
    for name, definition in sorted(schema["$defs"].items()):
        if "properties" in definition:
            yield from _section(name, definition)
        else:
            yield from _choice(name, definition)


def _choice(title: str, schema: Schema) -> Iterator[str]:
    """What is a word, or an object."""
    choices = schema.get("anyOf") or schema.get("oneOf") or [schema]
    objects = [choice for choice in choices if "properties" in choice]
    words = form({"anyOf": [choice for choice in choices if choice not in objects]})
    if not objects:
        yield from (f"## {title}", "", f"{words[:1].upper()}{words[1:]}.", "")
        return
    for choice in objects:
        yield from _section(title, {**choice, "description": f"{words[:1].upper()}{words[1:]}, or:"})


def _section(title: str, schema: Schema) -> Iterator[str]:
    yield from (f"## {title}", "")
    if "description" in schema:
        yield from (_sentence(schema["description"]), "")
    required = set(schema.get("required", ()))
    yield from ("| key | form | default | |", "|---|---|---|---|")
    for key, field in schema["properties"].items():
        default = "required" if key in required else _default(field)
        yield f"| `{key}` | {form(field)} | {default} | {_sentence(field.get('description', ''))} |"
    yield ""


def form(field: Schema) -> str:
    """`list of [Route](#route)`, `true, false`, `text`: what may stand there."""
    return " or ".join(dict.fromkeys(_forms(field))) or "anything"


def _forms(field: Schema) -> Iterator[str]:
    match field:
        case {"$ref": str(reference)}:
            name = reference.rpartition("/")[2]
            yield f"[{name}](#{name.lower()})"
        case {"pattern": str(pattern)} if pattern.startswith("\\$"):
            return  # a variable, which may stand anywhere
        case {"enum": list(values)}:
            yield ", ".join(f"`{value}`" for value in values)
        case {"const": value}:
            yield f"`{value}`"
        case {"anyOf": list(choices)} | {"oneOf": list(choices)}:
            for choice in choices:
                yield from _forms(choice)
        case {"type": "array", "items": items} if items:
            yield f"list of {form(items)}"
        case {"type": "object", "additionalProperties": dict(values)} if values:
            yield f"name: {form(values)}"
        case {"type": list()}:
            yield "text"
        case {"type": str(kind)}:
            yield {"string": "text", "integer": "number", "number": "number", "boolean": "`true`, `false`"}.get(
                kind, kind
            )


def _default(field: Schema) -> str:
    found = field.get("default", next((c["default"] for c in field.get("anyOf", ()) if "default" in c), None))
    return "" if found is None else f"`{json.dumps(found, ensure_ascii=False).strip(chr(34))}`"


def _sentence(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


if __name__ == "__main__":
    TARGET.write_text(reference(json.loads(SCHEMA.read_text())))
    print(TARGET)
