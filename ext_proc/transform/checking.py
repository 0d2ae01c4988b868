"""Requests and responses against an OpenAPI document: every problem at once, without the values that have them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import unquote, unquote_plus

import orjson

from ext_proc.transform import json_text
from ext_proc.transform.facts import Facts
from ext_proc.transform.media import media_type
from ext_proc.transform.problems import Cause, Problem, UnusableError
from policy.json_patch import Json
from policy.openapi.operations import Content, Operation, Parameter, Validator, is_json
from policy.transforms import Validation

MAX_PROBLEMS = 100
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,300})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,300})(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?")
_SEPARATORS = {"form": ",", "simple": ",", "spaceDelimited": " ", "pipeDelimited": "|"}


@dataclass(frozen=True, slots=True)
class Checked:
    """A request whose head was looked at."""

    operation: Operation | None
    """None: the document has nothing to say."""
    problems: tuple[Problem, ...]

    @property
    def wants_body(self) -> bool:
        return self.operation is not None and self.operation.body is not None


def invalid(problems: Sequence[Problem], what: str) -> UnusableError:
    return UnusableError(Cause.INVALID, f"the {what} is not as the API describes it", tuple(problems[:MAX_PROBLEMS]))


def check_head(validation: Validation, facts: Facts, *, has_body: bool) -> Checked:
    """The operation that a request asks for, and what is wrong with everything but its body."""
    operations, values = validation.document.matching(facts.path)
    method = facts.headers.get(":method", "")
    operation = next((each for each in operations if each.method == method), None)
    if operation is None and method == "HEAD":
        operation = next((each for each in operations if each.method == "GET"), None)
    if operation is None:
        if validation.pass_undocumented:
            return Checked(None, ())
        known = ", ".join(each.method for each in operations)
        text = f"{method} is not a method of this path ({known})" if operations else "the API has no such path"
        return Checked(None, (Problem("path", "", text),))
    problems = [problem for each in operation.parameters for problem in _parameter_problems(each, facts, values)]
    if operation.body is not None and operation.body.required and not has_body:
        problems.append(Problem("body", "", "is missing"))
    return Checked(operation, tuple(problems))


def body_problems(content: Content, content_type: str, body: bytes) -> list[Problem]:
    """
    Args:
        content: what the document says of it.
        body: decoded.

    Raises:
        UnusableError: it says it is JSON and is not.
    """
    if not body:
        return [Problem("body", "", "is missing")] if content.required else []
    found = _described(content, media_type(content_type))
    if found is _NOT_DESCRIBED:
        return [Problem("header", "content-type", f"is none of {', '.join(content.media_types)}")]
    if found is None or not is_json(content_type):
        return []
    return _value_problems(found, json_text.loads(body), "body", "")  # type: ignore[arg-type]  # a Validator


def response_content(operation: Operation, status: int, *, pass_undocumented: bool) -> Content | None:
    """What the document says of the body of a response with this status; None if nothing.

    Raises:
        UnusableError: it does not have this status.
    """
    for key in (str(status), f"{status // 100}XX", "default"):
        if key in operation.responses:
            return operation.responses[key]
    if pass_undocumented:
        return None
    raise invalid([Problem("", "status", f"{status} is none of {', '.join(operation.responses)}")], "response")


_NOT_DESCRIBED = object()


def _described(content: Content, base: str) -> object:
    """The validator, None for a type without a schema, or _NOT_DESCRIBED."""
    for wanted in (base, f"{base.partition('/')[0]}/*", "*/*"):
        if wanted in content.media_types:
            return content.media_types[wanted]
    return _NOT_DESCRIBED


def _value_problems(validator: Validator, value: Any, where: str, at: str) -> list[Problem]:
    """In the order of their places."""
    problems = [
        Problem(
            where, at + "".join(f"/{_escaped(str(step))}" for step in error.instance_path), str(error.message)[:300]
        )
        for error in islice(validator.iter_errors(value), MAX_PROBLEMS)
    ]
    return sorted(problems, key=lambda each: (each.at, each.text))


def _escaped(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")


def _parameter_problems(parameter: Parameter, facts: Facts, path: Mapping[str, str]) -> Iterator[Problem]:
    texts = _texts(parameter, facts, path)
    if texts is None:
        if parameter.required:
            yield Problem(parameter.place, parameter.name, "is missing")
        return
    if parameter.validator is None:
        return
    try:
        value = _value(parameter, texts)
    except ValueError as error:
        yield Problem(parameter.place, parameter.name, str(error))
        return
    yield from _value_problems(parameter.validator, value, parameter.place, parameter.name)


def _texts(parameter: Parameter, facts: Facts, path: Mapping[str, str]) -> list[str] | dict[str, str] | None:
    """Its texts in the order of the request, members by name for deepObject; None if it is not there."""
    match parameter.place:
        case "path":
            return [path[parameter.name]] if parameter.name in path else None
        case "header":
            value = facts.headers.get(parameter.name)
            return None if value is None else [value]
        case "cookie":
            return _cookies(facts.headers.get("cookie", ""), parameter.name) or None
    pairs = [each.partition("=") for each in facts.query.split("&") if each]
    if parameter.style == "deepObject":
        prefix = f"{parameter.name}["
        members = {unquote_plus(name): unquote_plus(value) for name, _, value in pairs}
        deep = {name[len(prefix) : -1]: value for name, value in members.items() if name.startswith(prefix)}
        return deep or None
    # A separator within an item is percent-encoded, so that it has to be looked for before that is taken away.
    raw = [value for name, _, value in pairs if unquote_plus(name) == parameter.name]
    return raw or None


def _cookies(line: str, name: str) -> list[str]:
    pairs = (each.partition("=") for each in line.split(";"))
    return [value.strip() for key, _, value in pairs if key.strip() == name]


def _value(parameter: Parameter, texts: list[str] | dict[str, str]) -> Json:
    if isinstance(texts, dict):
        return {name: _scalar(text, frozenset()) for name, text in texts.items()}
    decode = unquote_plus if parameter.place == "query" else unquote if parameter.place == "cookie" else str
    if parameter.is_json:
        try:
            return orjson.loads(decode(texts[0]))  # type: ignore[no-any-return]
        except orjson.JSONDecodeError:
            raise ValueError("is not JSON") from None
    if "array" in parameter.types:
        items = texts
        if not parameter.explode or parameter.place != "query":
            separator = _SEPARATORS.get(parameter.style, ",")
            spelled = {" ": ("%20", "+"), "|": ("%7C", "%7c")}.get(separator, ())
            joined = texts[0]
            for spelling in spelled:
                joined = joined.replace(spelling, separator)
            items = joined.split(separator)
        return [_scalar(decode(item.strip()), parameter.item_types) for item in items]
    if len(texts) > 1:
        raise ValueError("is given more than once")
    return _scalar(decode(texts[0]), parameter.types)


def _scalar(text: str, types: frozenset[str]) -> Json:
    """The value of the first type that the text can be; without any, a text."""
    if "string" in types:
        return text
    if "integer" in types and _INTEGER.fullmatch(text):
        return int(text)
    if "number" in types and _NUMBER.fullmatch(text):
        return float(text) if not _INTEGER.fullmatch(text) else int(text)
    if "boolean" in types and text in ("true", "false"):
        return text == "true"
    if "null" in types and text in ("", "null"):
        return None
    return text
