"""Blanks out members of JSON bodies.

What cannot be read cannot be redacted, so it is not let through: a body that says it is JSON and is not, one in a
content coding, and every other kind of text. Images, sounds, films and fonts pass, as they have no members.
"""

import json
import re
from collections.abc import Sequence
from typing import TypeAlias

import orjson

from policy.redaction import FieldPath

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

REDACTED = "[redacted]"
_LARGE_NUMBER = re.compile(rb"[0-9]{19}")
_OPAQUE = ("image/", "audio/", "video/", "font/")
_BODY_FIELDS = ("content-md5", "digest", "content-digest", "repr-digest", "accept-ranges")
"""They describe the body that the service sent."""


class UnreadableError(ValueError):
    """A body in which the members cannot be found; the text says why, without any of the body."""


def is_opaque(content_type: str) -> bool:
    """Whether bodies of this type hold no members by their nature."""
    return content_type.lower().startswith(_OPAQUE)


def header_changes(headers: dict[str, str]) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """What a changed body makes wrong: names to remove, fields to set. An ETag becomes weak (RFC 9110, 8.8.1)."""
    etag = headers.get("etag", "")
    weakened = (("etag", f"W/{etag}"),) if etag.startswith('"') else ()
    return tuple(name for name in _BODY_FIELDS if name in headers), weakened


def check_readable(headers: dict[str, str]) -> None:
    """
    Raises:
        UnreadableError: the response's headers say that its body is nothing that can be redacted.
    """
    coding = headers.get("content-encoding", "identity").lower()
    if coding != "identity":
        raise UnreadableError("the body is in a content coding")
    media_type = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnreadableError("the body is not JSON")
    if headers.get(":status") == "206":
        raise UnreadableError("the body is a part of one")


def redact(body: bytes, fields: Sequence[FieldPath]) -> bytes:
    """The document with the values of all matching members replaced.

    A body in which none of the names stands is returned as it is. Any other is written anew, even if nothing matches:
    a repeated member is hidden from the parser by the last of its name, and must not slip through.

    Raises:
        UnreadableError: not JSON.
    """
    if not body:
        return body
    document = _parse(body)
    if not _may_hold(body, fields):
        return body
    _blank(document, fields)
    try:
        if _LARGE_NUMBER.search(body):
            return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        return orjson.dumps(document)
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise UnreadableError("the body is nested too deeply") from error


def _may_hold(body: bytes, fields: Sequence[FieldPath]) -> bool:
    """False only if no spelling of any name can be in the body."""
    names = [field.names[-1] for field in fields]
    return b"\\" in body or any(name is None or name.encode() in body for name in names)


def _parse(body: bytes) -> Json:
    try:
        document: Json = orjson.loads(body)
        if _LARGE_NUMBER.search(body):
            # orjson makes floats of integers beyond 64 bits.
            document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnreadableError("the body is not valid JSON") from error
    return document


def _blank(document: Json, fields: Sequence[FieldPath]) -> None:
    """Redact in place; an explicit stack, since what is too deep for Python's is refused only when it is written."""
    pending: list[tuple[Json, tuple[str, ...]]] = [(document, ())]
    while pending:
        value, path = pending.pop()
        if isinstance(value, dict):
            for name, member in value.items():
                inner = (*path, name)
                if any(field.matches(inner) for field in fields):
                    value[name] = REDACTED
                elif isinstance(member, (dict, list)):
                    pending.append((member, inner))
        elif isinstance(value, list):
            pending.extend((item, path) for item in value if isinstance(item, (dict, list)))
