"""CSV (RFC 4180) <-> a list of flat objects, by the mapping of docs/developer/transformations.md.

The first line names the columns. Spreadsheets take some cells for formulas: those get an apostrophe in front, which is
taken away again when such a cell is read.
"""

import csv
import io
import re
from collections.abc import Sequence

import orjson

from ext_proc.transform.problems import unreadable
from policy.json_patch import Json

_SPECIAL = frozenset("'=+-@\t\r")
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_ESCAPED = re.compile(r"'+[=+\-@\t\r]")


def rows(body: bytes) -> list[list[str]]:
    """The cells of all lines, the first with the names of the columns.

    Raises:
        UnusableError: not CSV in UTF-8 with as many cells in each line.
    """
    if body.startswith(b"\xef\xbb\xbf"):
        raise unreadable("the body begins with a byte order mark")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise unreadable("the body is not UTF-8") from None
    if "\0" in text:
        raise unreadable("the body holds a NUL character")
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    except csv.Error as error:
        raise unreadable(f"the body is not valid CSV: {error}") from None
    if not lines:
        return []
    names = lines[0]
    if len(set(names)) != len(names) or not all(names):
        raise unreadable("two columns have the same name, or one has none")
    if any(len(line) != len(names) for line in lines):
        raise unreadable("a line has more or fewer cells than there are columns")
    return lines


def loads(body: bytes, *, formulas: bool = False) -> Json:
    """A list of objects; every cell is a text.

    Args:
        formulas: cells were written as they are.

    Raises:
        UnusableError: see `rows`.
    """
    lines = rows(body)
    if not lines:
        return []
    names = [each if formulas else _unescaped(each) for each in lines[0]]
    if formulas:
        return [dict(zip(names, line, strict=True)) for line in lines[1:]]
    return [dict(zip(names, map(_unescaped, line), strict=True)) for line in lines[1:]]


def dumps(document: Json, *, formulas: bool = False) -> bytes:
    """
    Raises:
        UnusableError: not a list of objects with scalar members.
    """
    if not isinstance(document, list) or not all(isinstance(row, dict) for row in document):
        raise unreadable("CSV holds a list of flat objects, and the body is something else")
    objects: list[dict[str, Json]] = [row for row in document if isinstance(row, dict)]
    names = list(dict.fromkeys(name for row in objects for name in row))
    if objects and not names:
        raise unreadable("CSV has no place for objects without members")
    if not all(names) or any("\0" in name for name in names):
        raise unreadable("a column of CSV needs a name")
    lines = [[_cell(row.get(name), formulas=formulas) for name in names] for row in objects]
    return write([[_text(name, formulas=formulas) for name in names], *lines] if names else [])


def write(lines: Sequence[Sequence[str]]) -> bytes:
    """Lines of cells as RFC 4180 has them."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(lines)
    return text.getvalue().encode()


def _cell(value: Json, *, formulas: bool) -> str:
    match value:
        case None:
            return ""
        case str():
            return _text(value, formulas=formulas)
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return orjson.dumps(value).decode()
        case _:
            raise unreadable("CSV holds a list of flat objects, and a member is none")


def _text(text: str, *, formulas: bool) -> str:
    if "\0" in text:
        raise unreadable("a text holds a character that CSV cannot")
    return f"'{text}" if not formulas and text[:1] in _SPECIAL and _FORMULA.match(text) else text


def _unescaped(text: str) -> str:
    return text[1:] if text[:1] == "'" and _ESCAPED.match(text) else text
