"""Reading claims: nested names and their text forms."""

import json
import re
from collections.abc import Mapping

Claims = Mapping[str, object]
"""A JWT's payload, or the attributes of an API key."""
TOLD_CLAIM = "claim:"
"""Before the name of a claim that ext_authz tells ext_proc, in its dynamic metadata."""
_CONTROL = re.compile("[\x00-\x1f\x7f]")


def claim_at(claims: Claims, name: str) -> object | None:
    """The claim of that name, None if there is none; `a.b` is a path, unless a claim is called `a.b` itself."""
    if name in claims:
        return claims[name]
    value: object = claims
    for step in name.split("."):
        if not isinstance(value, Mapping) or step not in value:
            return None
        value = value[step]
    return value


def scalar_text(value: object) -> str | None:
    """Text of a JSON scalar (`true`, `7`, `alice`); None for null, arrays and objects."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return json.dumps(value)
        case _:
            return None


def claim_texts(value: object) -> tuple[str, ...]:
    """The values that a claim requirement is compared with: a scalar is one, an array's scalars are each one."""
    if isinstance(value, list | tuple):
        return tuple(text for item in value if (text := scalar_text(item)) is not None)
    text = scalar_text(value)
    return () if text is None else (text,)


def header_text(value: object) -> str | None:
    """How a claim stands in a request header for the service; None if it has nothing to say.

    Scalars as text. An array of scalars is joined by commas. Anything nested is compact JSON in ASCII.

    Raises:
        ValueError: the text would be ambiguous or break the header: a control character (CR, LF, NUL ...), or a
            comma inside an array's item, which would pass for two items.
    """
    if value is None or value == []:
        return None
    if isinstance(value, list) and all(scalar_text(item) is not None for item in value):
        items = claim_texts(value)
        if any("," in item for item in items):
            raise ValueError("an item of an array holds a comma")
        text = ",".join(items)
    else:
        scalar = scalar_text(value)
        text = json.dumps(value, separators=(",", ":")) if scalar is None else scalar
    if _CONTROL.search(text) is not None:
        raise ValueError("a control character")
    return text
