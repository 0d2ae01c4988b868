"""Changes of path, query and header fields that depend on the request.

Values that come from a request are quoted for the place where they go: a claim cannot end a path segment, begin
another parameter, or end a header line.
"""

import re
from collections.abc import Mapping
from urllib.parse import quote, quote_plus, unquote_plus

from ext_proc.transform.facts import Facts
from ext_proc.transform.problems import Cause, UnusableError
from policy.processing import HeaderChanges
from policy.templates import Template, Variable
from policy.transforms import Rules, Values

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def renames(rules: Values, headers: Mapping[str, str]) -> HeaderChanges:
    """
    Args:
        headers: of the message.
    """
    there = [(name, to) for name, to in rules.rename if name in headers]
    to_set = {to: headers[name] for name, to in there}
    return HeaderChanges(
        remove=tuple(name for name, _ in there if name not in to_set),
        set=tuple(to_set.items()),
    )


def filled(rules: Values, facts: Facts) -> HeaderChanges:
    """The fields whose values a request fills in.

    One that should be set and has no value is removed: what the client sent in its place must not pass for it.

    Raises:
        UnusableError: a value that would break the header line.
    """
    to_set = [(name, text.render(facts.value_of)) for name, text in rules.set]
    added = [(name, text.render(facts.value_of)) for name, text in rules.add]
    return HeaderChanges(
        remove=tuple(name for name, value in to_set if value is None),
        set=tuple((name, _line(name, value)) for name, value in to_set if value is not None),
        append=tuple((name, _line(name, value)) for name, value in added if value is not None),
    )


def _line(name: str, value: str) -> str:
    """The value as one character an octet."""
    if _CONTROL.search(value):
        raise UnusableError(Cause.FAILED, f"the value for {name} holds a control character")
    return value.encode("utf-8", "replace").decode("latin-1")


def target(rules: Rules, facts: Facts) -> str | None:
    """The new path with query, or None if both stay.

    Raises:
        UnusableError: a part of the path has no value, or one that would lead elsewhere.
    """
    path, query = facts.path, facts.query
    if rules.path is not None:
        path = _path(rules.path, facts)
    if rules.query:
        query = changed_query(rules.query, query, facts)
    if rules.path is None and not rules.query:
        return None
    return f"{path}?{query}" if query else path


def _path(text: Template, facts: Facts) -> str:
    def value_of(variable: Variable) -> str:
        value = facts.value_of(variable)
        if value is None:
            raise UnusableError(Cause.FAILED, f"the request has no {variable.kind} {variable.name}".rstrip())
        several = variable.kind == "path" and "/" in value
        segments = value.split("/") if several else [value]
        if any(segment in (".", "..") for segment in segments) or (
            not several and not value and not _may_be_empty(text)
        ):
            raise UnusableError(Cause.FAILED, f"{variable.kind} {variable.name} cannot be a part of a path")
        return "/".join(quote(segment, safe="") for segment in segments)

    path = text.render(value_of) or "/"
    if "//" in path or not {".", ".."}.isdisjoint(path.split("/")):
        raise UnusableError(Cause.FAILED, "the request's values make no path")
    return path


def _may_be_empty(text: Template) -> bool:
    """A last part that takes what is left may be nothing."""
    last = text.parts[-1]
    return isinstance(last, Variable) and last.kind == "path"


def changed_query(rules: Values, query: str, facts: Facts) -> str:
    """Parameters keep their order and, where nothing changes them, their spelling."""
    renamed, replaced = dict(rules.rename), {name for name, _ in rules.set}
    dropped = {*rules.remove, *replaced}
    kept: list[str] = []
    for parameter in query.split("&") if query else ():
        key, equals, value = parameter.partition("=")
        name = unquote_plus(key)
        if name in renamed:
            name = renamed[name]
            parameter = f"{quote_plus(name)}{equals}{value}"
        if name not in dropped:
            kept.append(parameter)
    for name, text in (*rules.set, *rules.add):
        filled = text.render(facts.value_of)
        if filled is not None:
            kept.append(f"{quote_plus(name)}={quote_plus(filled)}")
    return "&".join(kept)
