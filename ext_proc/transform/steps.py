"""What a body's steps do to the document that it stands for."""

from collections.abc import Callable, Iterator
from typing import Any, assert_never

from ext_proc.transform.problems import Cause, UnusableError
from ext_proc.transform.redact import blank
from policy.fields import Fields
from policy.json_patch import Json, merged, patched
from policy.templates import Template, Variable
from policy.transforms import (
    Convert,
    Filled,
    Merge,
    Patch,
    Redact,
    Remove,
    Rename,
    Set,
    SetValue,
    Step,
    UnwrapRequest,
    UnwrapResponse,
    WrapRequest,
    WrapResponse,
)

ValueOf = Callable[[Variable], str | None]


def applied(step: Step, document: Json, value_of: ValueOf, status: int = 200) -> Json:
    """The document after one step; it may be the same object, changed.

    Args:
        status: of a response.

    Raises:
        UnusableError: the step does not apply.
    """
    match step:
        case Redact():
            blank(document, step.fields)
            return document
        case Remove():
            return _removed(document, step.fields)
        case Rename():
            for fields, to in step.fields:
                _rename(document, fields, to)
            return document
        case Set():
            for each in step.values:
                _set(document, each, value_of)
            return document
        case Patch():
            try:
                return patched(document, step.operations)
            except (ValueError, LookupError) as error:
                raise _failed(f"json_patch: {error.args[0]}") from None
        case Merge():
            return merged(document, step.patch)
        case Convert():
            return document
        case WrapRequest() | UnwrapRequest():
            return graphql_request(step, document, value_of)
        case WrapResponse() | UnwrapResponse():
            return _graphql_response(step, document, status)
        case _:
            assert_never(step)


def _failed(text: str) -> UnusableError:
    return UnusableError(Cause.FAILED, text)


def places(document: Json, fields: Fields) -> Iterator[tuple[Any, Any]]:
    """Every object or list with the name or index of a member that is meant; do not change anything meanwhile."""
    for path in fields.queries:
        yield from path.places(document)
    if not fields.names and not fields.paths:
        return
    pending: list[tuple[Json, tuple[str, ...]]] = [(document, ())]
    while pending:
        value, path_here = pending.pop()
        if isinstance(value, list):
            pending.extend((item, path_here) for item in value)
        elif isinstance(value, dict):
            for name, member in value.items():
                inner = (*path_here, name)
                if name in fields.names or any(each.matches(inner) for each in fields.paths):
                    yield value, name
                pending.append((member, inner))


def _removed(document: Json, fields: Fields) -> Json:
    found = {(id(parent), key): parent for parent, key in places(document, fields)}
    # From behind, so that the indices of a list stay right.
    for (_, key), parent in sorted(found.items(), key=lambda each: _order(each[0][1]), reverse=True):
        if isinstance(parent, dict):
            parent.pop(key, None)
        else:
            del parent[key]
    return document


def _order(key: str | int) -> int:
    return key if isinstance(key, int) else 0


def _rename(document: Json, fields: Fields, to: str) -> None:
    found = {(id(parent), key): parent for parent, key in places(document, fields) if isinstance(parent, dict)}
    for (_, key), parent in found.items():
        if key == to or key not in parent:
            continue
        members = [(to if name == key else name, value) for name, value in parent.items() if name != to]
        parent.clear()
        parent.update(members)


def _set(document: Json, each: SetValue, value_of: ValueOf) -> None:
    def value() -> Json:
        return each.value.value if each.value.filled is None else filled(each.value.filled, value_of)

    steps = each.path.steps
    if steps is not None:
        _set_one(document, steps, value())
        return
    for parent, key in each.path.places(document):
        parent[key] = value()


def _set_one(document: Json, steps: tuple[str | int, ...], value: Json) -> None:
    """Objects that are not there are made; lists are not, nor is anything else made into an object."""
    parent: Any = document
    for step in steps[:-1]:
        if isinstance(parent, dict) and isinstance(step, str):
            parent = parent.setdefault(step, {})
        elif isinstance(parent, list) and isinstance(step, int) and -len(parent) <= step < len(parent):
            parent = parent[step]
        else:
            raise _failed(f"set: the body has no place for {_path(steps)}")
    last = steps[-1]
    if isinstance(parent, list) and last == len(parent):
        parent.append(None)
    is_member = isinstance(parent, dict) and isinstance(last, str)
    is_item = isinstance(parent, list) and isinstance(last, int) and -len(parent) <= last < len(parent)
    if not is_member and not is_item:
        raise _failed(f"set: the body has no place for {_path(steps)}")
    parent[last] = value


def _path(steps: tuple[str | int, ...]) -> str:
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def filled(value: Filled, value_of: ValueOf) -> Json:
    """A value with its templates filled in; a text without a value is null."""
    if isinstance(value, Template):
        return value.render(value_of)
    if isinstance(value, dict):
        return {name: filled(member, value_of) for name, member in value.items()}
    if isinstance(value, list):
        return [filled(item, value_of) for item in value]
    return value


def graphql_request(step: WrapRequest | UnwrapRequest, document: Json, value_of: ValueOf) -> Json:
    """
    Args:
        document: the body; None if there is none.

    Raises:
        UnusableError: the body is no object, or no GraphQL request.
    """
    if isinstance(step, UnwrapRequest):
        variables = document.get("variables") if isinstance(document, dict) else None
        if not isinstance(document, dict) or not isinstance(document.get("query"), str):
            raise _failed("graphql: the body is not a GraphQL request (query, variables)")
        return variables if isinstance(variables, dict) else {}
    if document is not None and not isinstance(document, dict):
        raise _failed("graphql: the body is not an object, so it cannot be variables")
    given: dict[str, Json] = dict(document or {})
    given.update({name: text.render(value_of) for name, text in step.variables})
    wrapped: dict[str, Json] = {"query": step.query, "variables": given}
    if step.operation:
        wrapped["operationName"] = step.operation
    return wrapped


def _graphql_response(step: WrapResponse | UnwrapResponse, document: Json, status: int) -> Json:
    if isinstance(step, WrapResponse):
        if status < 400:
            return {"data": {step.field: document}}
        error: dict[str, Json] = {
            "message": _message(document, status),
            "path": [step.field],
            "extensions": {"status": status, "body": document},
        }
        return {"data": {step.field: None}, "errors": [error]}
    data = document.get("data") if isinstance(document, dict) else None
    if data is None:
        raise _failed("graphql: the service answered with errors alone")
    if not step.field:
        return data
    if not isinstance(data, dict) or step.field not in data:
        raise _failed(f"graphql: the data has no {step.field}")
    if data[step.field] is None and isinstance(document, dict) and document.get("errors"):
        raise _failed("graphql: the service answered with errors alone")
    return data[step.field]


def _message(document: Json, status: int) -> str:
    if isinstance(document, dict):
        for name in ("detail", "message", "title", "error"):
            text = document.get(name)
            if isinstance(text, str):
                return text
    return f"the service answered {status}"
