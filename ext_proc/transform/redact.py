"""Blanks out members of documents: in JSON by the document, in XML and CSV in the text itself, which stays as it is.

What cannot be read cannot be redacted, so that nothing here ever passes a body that it does not understand.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ext_proc.transform import csv_text, json_text, xml_text
from ext_proc.transform.problems import unreadable
from policy.fields import Fields
from policy.json_patch import Json
from policy.redaction import FieldPath

REDACTED = "[redacted]"
_REDACTED_JSON = b'"[redacted]"'
_COLON = re.compile(rb"[ \t\r\n]*:")
_VALUE = re.compile(rb"""[ \t\r\n]*(?:("[^"]*"|[-+.0-9A-Za-z]+)|[\[{])""")
"""Behind a colon; the group is a scalar."""
_STRUCTURE = re.compile(r'[:,\[\]{}"\\\x00-\x1f]')
_ATTRIBUTE = re.compile(rb"""(?<=[ \t\r\n])([^\s=<>"'/]+)(\s*=\s*)("[^"]*"|'[^']*')""")
_TAG = re.compile(rb"""<[^>"']*(?:"[^"]*"[^>"']*|'[^']*'[^>"']*)*>""")
_DECLARED = re.compile(rb"""<\?xml[^>]*encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")


def redact_json(body: bytes, meant: Fields) -> bytes:
    """The document with the values of all matching members replaced.

    A body in which none of the names stands is returned as it is; where names alone are meant, all other octets stay.

    Raises:
        UnusableError: not JSON, or with repeated names.
    """
    if not body:
        return body
    document = json_text.parsed(body, exactly=False)
    if not _may_hold(body, meant):
        return body
    if not meant.paths and not meant.queries and b"\\" not in body:
        text = _blanked_text(body, meant.names)
        if text is not None:
            json_text.check_unrepeated(body, json_text.dumps(document))
            return text
    document = json_text.exact(body, document)
    hidden = blank(document, meant)
    written = json_text.dumps(document)
    json_text.check_unrepeated(body, written, hidden)
    return written


def _blanked_text(body: bytes, names: frozenset[str]) -> bytes | None:
    """The same without looking at the document; None if a value is an object or a list.

    In valid JSON without a backslash every quotation mark begins or ends a text, and between the end of one and the
    beginning of the next stands a comma, a colon or a bracket: what has none of these, in quotation marks, with a colon
    behind it, is a member's name and nothing else.
    """
    if any(_STRUCTURE.search(name) for name in names):
        return None
    for name in sorted(names):
        token = f'"{name}"'.encode()
        first, *rest = body.split(token + b":")
        if len(rest) != body.count(token):
            # Texts of that name, or spaces before the colon.
            blanked = _blanked_one_by_one(body, token)
        else:
            blanked = _joined(token + b":", first, rest)
        if blanked is None:
            return None
        body = blanked
    return body


def _joined(token: bytes, first: bytes, rest: Sequence[bytes]) -> bytes | None:
    """
    Args:
        rest: what stands behind each token, up to the next one: a value, then anything.
    """
    parts = [first]
    for text in rest:
        if text[:1] == b'"':
            parts.append(_REDACTED_JSON + text[text.find(b'"', 1) + 1 :])
            continue
        value = _VALUE.match(text)
        if value is None or value[1] is None:
            return None
        parts.append(text[: value.start(1)] + _REDACTED_JSON + text[value.end() :])
    return token.join(parts)


def _blanked_one_by_one(body: bytes, token: bytes) -> bytes | None:
    parts: list[bytes] = []
    copied = 0
    position = body.find(token)
    while position >= 0:
        position += len(token)
        colon = _COLON.match(body, position)
        value = _VALUE.match(body, colon.end()) if colon is not None else None
        if value is not None:
            if value[1] is None:
                return None
            parts += (body[copied : value.start(1)], _REDACTED_JSON)
            copied = position = value.end()
        position = body.find(token, position)
    return b"".join((*parts, body[copied:]))


def _may_hold(body: bytes, meant: Fields) -> bool:
    """False only if no spelling of any name can be in the body."""
    names = meant.last_names
    return names is None or b"\\" in body or any(name.encode() in body for name in names)


def blank(document: Json, meant: Fields) -> int:
    """Redact in place.

    Returns:
        How many members were inside of what was blanked out.
    """
    hidden = 0
    for path in meant.queries:
        # All of them are found before the first is changed.
        for parent, key in path.places(document):
            hidden += json_text.members(parent[key])
            parent[key] = REDACTED
    if meant.paths:
        return hidden + _blank_paths(document, meant)
    return hidden + _blank_names(document, meant.names) if meant.names else hidden


def _blank_names(document: Json, names: frozenset[str]) -> int:
    """By name alone, at any depth; an explicit stack, since what is too deep is refused only when it is written."""
    hidden = 0
    pending: list[Any] = [document]
    pop, extend = pending.pop, pending.extend
    while pending:
        value = pop()
        if type(value) is dict:
            if not names.isdisjoint(value):
                for name in names.intersection(value):
                    member = value[name]
                    if type(member) is dict or type(member) is list:
                        hidden += json_text.members(member)
                    value[name] = REDACTED
            extend([each for each in value.values() if type(each) is dict or type(each) is list])
        else:
            extend([each for each in value if type(each) is dict or type(each) is list]) if type(
                value
            ) is list else None
    return hidden


def _blank_paths(document: Json, meant: Fields) -> int:
    hidden = 0
    pending: list[tuple[Json, tuple[str, ...]]] = [(document, ())]
    pop, push = pending.pop, pending.append
    matches, last = _matcher(meant), meant.last_names
    while pending:
        value, path = pop()
        if type(value) is dict:
            if last is None or not last.isdisjoint(value):
                for name in value if last is None else last.intersection(value):
                    if matches((*path, name)):
                        hidden += json_text.members(value[name])
                        value[name] = REDACTED
            for name, each in value.items():
                if type(each) is dict or type(each) is list:
                    push((each, (*path, name)))
        elif type(value) is list:
            for each in value:
                if type(each) is dict or type(each) is list:
                    push((each, path))
    return hidden


def _matcher(meant: Fields) -> Callable[[tuple[str, ...]], bool]:
    names, ends = meant.names, _ends(meant.paths)
    unnamed = ends.get(None, ())

    def matches(path: tuple[str, ...]) -> bool:
        name = path[-1]
        if name in names:
            return True
        for before in (*ends.get(name, ()), *unnamed):
            first = len(path) - 1 - len(before)
            if first >= 0 and all(want is None or want == path[first + place] for place, want in enumerate(before)):
                return True
        return False

    return matches


def _ends(paths: Iterable[FieldPath]) -> dict[str | None, list[tuple[str | None, ...]]]:
    """By the last name, what has to stand before it."""
    ends: dict[str | None, list[tuple[str | None, ...]]] = {}
    for path in paths:
        ends.setdefault(path.names[-1], []).append(path.names[:-1])
    return ends


def redact_csv(body: bytes, meant: Fields) -> bytes:
    """The cells of matching columns.

    Raises:
        UnusableError: not CSV.
    """
    lines = csv_text.rows(body)
    matches = _matcher(meant)
    blanked = [index for index, name in enumerate(lines[0]) if matches((name,))] if lines else []
    if not blanked:
        return body
    for line in lines[1:]:
        for index in blanked:
            line[index] = REDACTED
    return csv_text.write(lines)


def redact_xml(body: bytes, meant: Fields) -> bytes:
    """The content of matching elements and the values of matching attributes; prefixes of namespaces do not count.

    Raises:
        UnusableError: not XML in UTF-8.
    """
    declared = _DECLARED.match(body.removeprefix(b"\xef\xbb\xbf"))
    if declared is not None and declared[1].lower() not in (b"utf-8", b"us-ascii"):
        raise unreadable("the body is not UTF-8")
    try:
        body.decode()
    except UnicodeDecodeError:
        raise unreadable("the body is not UTF-8") from None
    if b"\0" in body:
        raise unreadable("the body holds a NUL character")
    made = xml_text.parser()
    blanking = _Blanking(body, made, _matcher(meant))
    made.StartElementHandler = blanking.start
    made.EndElementHandler = blanking.end
    xml_text.feed(made, body)
    return blanking.result()


class _Blanking:
    """Copies the text and leaves out what is meant."""

    def __init__(self, body: bytes, parser: Any, matches: Callable[[tuple[str, ...]], bool]) -> None:
        self._body = body
        self._parser = parser
        self._matches = matches
        self._path: list[str] = []
        self._copied = 0
        self._parts: list[bytes] = []
        self._inside = 0
        """How deep inside of an element that is blanked out."""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._path) >= xml_text.MAX_DEPTH:
            raise unreadable("the body is nested too deeply")
        self._path.append(_local(name))
        if self._inside:
            self._inside += 1
            return
        begin = self._parser.CurrentByteIndex
        tag = _TAG.match(self._body, begin)
        if tag is None:
            raise unreadable("the body is in an encoding that is not known")
        end = tag.end()
        path = tuple(self._path)
        whole = self._matches(path)
        if whole or any(self._matches((*path, _local(each))) for each in attributes):
            self._parts.append(
                self._body[self._copied : begin] + self._blanked_tag(self._body[begin:end], path, whole=whole)
            )
            self._copied = end
        if whole and not self._body[begin:end].endswith(b"/>"):
            self._parts.append(REDACTED.encode())
            self._inside = 1

    def end(self, _name: str) -> None:
        self._path.pop()
        if self._inside:
            self._inside -= 1
            if not self._inside:
                self._copied = self._parser.CurrentByteIndex

    def result(self) -> bytes:
        return b"".join((*self._parts, self._body[self._copied :])) if self._parts else self._body

    def _blanked_tag(self, tag: bytes, path: tuple[str, ...], *, whole: bool) -> bytes:
        """
        Args:
            whole: the element itself is meant, and with it all its attributes; declarations of namespaces are none.
        """

        def replaced(found: re.Match[bytes]) -> bytes:
            name = found[1].decode("utf-8", "replace")
            declares = name == "xmlns" or name.startswith("xmlns:")
            if not declares and (whole or self._matches((*path, _local(name)))):
                return found[1] + found[2] + f'"{REDACTED}"'.encode()
            return found[0]

        return _ATTRIBUTE.sub(replaced, tag)


def _local(name: str) -> str:
    return name.rpartition(":")[2]
