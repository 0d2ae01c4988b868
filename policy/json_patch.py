"""JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7396), on plain values."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
Op = Literal["add", "remove", "replace", "move", "copy", "test"]

OPS: tuple[str, ...] = get_args(Op)
_WITH_VALUE = ("add", "replace", "test")
_WITH_SOURCE = ("move", "copy")


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation, its pointers taken apart."""

    op: Op
    path: tuple[str, ...]
    value: Json = None
    source: tuple[str, ...] = ()
    """`from` of move and copy."""


def operations(document: Json) -> tuple[Operation, ...]:
    """
    Args:
        document: a JSON Patch document.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(document, list):
        raise ValueError("a JSON Patch is a list of operations")
    return tuple(_operation(each) for each in document)


def _operation(document: Json) -> Operation:
    if not isinstance(document, dict):
        raise ValueError("an operation is an object")
    return operation(document.get("op"), document.get("path"), document)


def operation(op: object, path: object, members: Mapping[str, Json]) -> Operation:
    """
    Args:
        members: `value` and `from`, if they are there.

    Raises:
        ValueError: not an operation of RFC 6902.
    """
    if op not in OPS:
        raise ValueError(f"{op!r} is no operation of RFC 6902 ({', '.join(OPS)})")
    if not isinstance(path, str):
        raise ValueError(f"{op}: path is missing (a JSON pointer: /user/name)")
    if op in _WITH_VALUE and "value" not in members:
        raise ValueError(f"{op} {path}: value is missing")
    source = members.get("from")
    if op in _WITH_SOURCE and not isinstance(source, str):
        raise ValueError(f"{op} {path}: from is missing (a JSON pointer)")
    tokens, from_ = pointer(path), pointer(source) if isinstance(source, str) else ()
    if op == "move" and tokens[: len(from_)] == from_ and tokens != from_:
        raise ValueError(f"move {path}: lies inside of what is moved")
    return Operation(cast(Op, op), tokens, members.get("value"), from_)


def pointer(text: str) -> tuple[str, ...]:
    """The tokens of a JSON pointer (RFC 6901): `~1` is a slash, `~0` a tilde.

    Raises:
        ValueError: not a pointer.
    """
    if text and not text.startswith("/"):
        raise ValueError(f"{text!r} is no JSON pointer (it begins with /)")
    tokens = text.split("/")[1:]
    if any("~" in token.replace("~0", "").replace("~1", "") for token in tokens):
        raise ValueError(f"{text!r} is no JSON pointer (~ is written ~0)")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in tokens)


def patched(document: Json, patch: Iterable[Operation]) -> Json:
    """All operations in their order; the document is changed or not, what is returned counts.

    Raises:
        LookupError: a path does not exist.
        ValueError: a `test` fails.
    """
    root: list[Json] = [document]  # so that the whole document has a parent too
    for each in patch:
        _apply(root, each)
    return root[0]


def _apply(root: list[Json], each: Operation) -> None:
    tokens = ("0", *each.path)
    match each.op:
        case "add":
            _add(root, tokens, copy.deepcopy(each.value))
        case "remove":
            _remove(root, tokens)
        case "replace":
            _get(root, tokens)
            _replace(root, tokens, copy.deepcopy(each.value))
        case "move":
            if each.source != each.path:
                _add(root, tokens, _remove(root, ("0", *each.source)))
            else:
                _get(root, tokens)
        case "copy":
            _add(root, tokens, copy.deepcopy(_get(root, ("0", *each.source))))
        case "test":
            if not equal(_get(root, tokens), each.value):
                raise ValueError(f"/{'/'.join(each.path)} is not what `test` wants")


def equal(one: Json, other: Json) -> bool:
    """RFC 6902 section 4.6; Python alone thinks that 1 is True."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def _get(document: Json, tokens: Sequence[str]) -> Json:
    for token in tokens:
        if isinstance(document, list):
            document = document[_index(token, len(document) - 1)]
        elif isinstance(document, dict) and token in document:
            document = document[token]
        else:
            raise LookupError(f"there is no {token!r}")
    return document


def _add(document: Json, tokens: Sequence[str], value: Json) -> None:
    if len(tokens) == 1:
        _replace(document, tokens, value)
        return
    parent, last = _get(document, tokens[:-1]), tokens[-1]
    if isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else _index(last, len(parent)), value)
    elif isinstance(parent, dict):
        parent[last] = value
    else:
        raise LookupError(f"{last!r} has no object or list around it")


def _replace(document: Json, tokens: Sequence[str], value: Json) -> None:
    parent, last = _get(document, tokens[:-1]), tokens[-1]
    if isinstance(parent, list):
        parent[_index(last, len(parent) - 1)] = value
    elif isinstance(parent, dict):
        parent[last] = value


def _remove(document: Json, tokens: Sequence[str]) -> Json:
    parent, last = _get(document, tokens[:-1]), tokens[-1]
    if len(tokens) == 1 and isinstance(parent, list):
        removed, parent[0] = parent[0], None
        return removed
    if isinstance(parent, list):
        return parent.pop(_index(last, len(parent) - 1))
    if isinstance(parent, dict) and last in parent:
        return parent.pop(last)
    raise LookupError(f"there is no {last!r}")


def _index(token: str, largest: int) -> int:
    if not token.isascii() or not token.isdigit() or (token.startswith("0") and token != "0") or len(token) > 9:
        raise LookupError(f"{token!r} is no index of a list")
    index = int(token)
    if index > largest:
        raise LookupError(f"there is no element {index}")
    return index


def merged(document: Json, patch: Json) -> Json:
    """RFC 7396: null removes a member, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = document if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result
