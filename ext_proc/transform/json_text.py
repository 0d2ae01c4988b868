"""JSON bodies, read strictly: what two readers could understand differently is refused.

orjson reads and writes; Python's own reader only sees bodies with integers beyond 64 bits, which orjson makes floats
of, and those in which a member's name may be repeated.
"""

import json
from collections.abc import Iterable
from typing import Any

import orjson

from ext_proc.transform.problems import UnusableError, unreadable
from policy.json_patch import Json

_DIGITS_ALIKE = bytes(ord("0") if chr(octet).isdigit() and octet < 128 else octet for octet in range(256))
_LARGE_NUMBER = b"0" * 19
_SPACES = b" \t\r\n"
_QUOTES_IN_TEXT = (b'\\":', b"\\u0022")


def loads(body: bytes) -> Json:
    """
    Raises:
        UnusableError: not JSON (RFC 8259), a repeated name, nested too deeply.
    """
    document = parsed(body)
    check_unrepeated(body, dumps(document))
    return document


def parsed(body: bytes, *, exactly: bool = True) -> Json:
    """Without the check for repeated names, of which the last one counts.

    Args:
        exactly: large integers keep their digits.

    Raises:
        UnusableError: not JSON.
    """
    try:
        document: Json = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise unreadable(f"the body is not valid JSON: {error.msg}") from None
    return exact(body, document) if exactly else document


def exact(body: bytes, document: Json) -> Json:
    """The same document with all digits of large integers.

    Raises:
        UnusableError: a repeated name, or a number or nesting that Python does not read.
    """
    if _LARGE_NUMBER not in body.translate(_DIGITS_ALIKE):
        return document
    try:
        reread: Json = json.loads(body, object_pairs_hook=_unrepeated)
    except (ValueError, RecursionError) as error:
        if isinstance(error, UnusableError):
            raise
        raise unreadable("the body holds a number that is too large, or is nested too deeply") from None
    return reread


def dumps(document: Json) -> bytes:
    """
    Raises:
        UnusableError: nested too deeply, or a text that is no Unicode.
    """
    try:
        return orjson.dumps(document)
    except (orjson.JSONEncodeError, RecursionError) as error:
        if "64-bit" not in str(error):
            raise unreadable("the body is nested too deeply") from None
    try:
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise unreadable("the body is nested too deeply, or holds a number that is too large") from None


def check_unrepeated(body: bytes, written: bytes, hidden: int = 0) -> None:
    """A repeated name is gone when the document is written: both texts have equally many names, or one was.

    A name is what stands before `":`, spaces apart. Where a text may hold that as well, a slower reader looks.

    Args:
        written: the same document as `dumps` has it.
        hidden: names of the body that are not in it any more.

    Raises:
        UnusableError: an object has two members of one name.
    """
    packed = body.translate(None, _SPACES)
    unsure = b"\\" in body and any(quote in packed for quote in _QUOTES_IN_TEXT)
    if not unsure and packed.count(b'":') == written.count(b'":') + hidden:
        return
    try:
        json.loads(body, object_pairs_hook=_unrepeated)
    except (ValueError, RecursionError) as error:
        if isinstance(error, UnusableError):
            raise
        raise unreadable("the body is nested too deeply") from None


def _unrepeated(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    listed = list(pairs)
    made = dict(listed)
    if len(made) != len(listed):
        raise unreadable("the body repeats a member's name within one object")
    return made


def members(document: Json) -> int:
    """How many members all its objects have."""
    count = 0
    pending = [document]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            count += len(value)
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
    return count
