"""Values of the model as gateway.yaml would write them: for `explain`, never for anything that parses them again."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from control_plane.config.model.base import Section
from control_plane.config.scalars import Rate

_UNITS = (
    ("d", timedelta(days=1)),
    ("h", timedelta(hours=1)),
    ("m", timedelta(minutes=1)),
    ("s", timedelta(seconds=1)),
    ("ms", timedelta(milliseconds=1)),
)
_SIZE_KEYS = frozenset({"max_body", "min_size"})
_SIZES = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


def worded(value: object) -> str:
    """Return one line of text; a section shows everything but what is absent or empty."""
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case timedelta():
            return worded_duration(value)
        case datetime():
            return f"{value:%Y-%m-%d}" if value.time() == value.min.time() else value.isoformat()
        case Rate():
            return str(value)
        case Section():
            said = {field.alias or key: getattr(value, key) for key, field in type(value).model_fields.items()}
            texts = {key: worded_size(item) if key in _SIZE_KEYS else worded(item) for key, item in said.items()}
            return worded({key: text for key, text in texts.items() if text not in ("none", "{}", "[]")})
        case Mapping():
            return "{" + ", ".join(f"{key}: {worded(item)}" for key, item in value.items()) + "}"
        case str():
            return value or '""'
        case Sequence():
            return "[" + ", ".join(map(worded, value)) + "]"
    return str(value)


def worded_duration(value: timedelta) -> str:
    """`10s`, `1m30s`, `0s`."""
    text, rest = "", value
    for unit, length in _UNITS:
        count, rest = divmod(rest, length)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def worded_size(value: int) -> str:
    """`10MiB`, `1500B`."""
    for unit, size in _SIZES:
        if value and not value % size:
            return f"{value // size}{unit}"
    return f"{value}B"
