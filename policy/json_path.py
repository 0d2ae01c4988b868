"""JSONPath (RFC 9535), compiled once into steps that find the members which it means."""

from collections.abc import Iterable, Sequence, ValuesView
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal, TypeAlias

from jsonpath import JSONPath, JSONPathEnvironment
from jsonpath.exceptions import JSONPathError
from jsonpath.segments import JSONPathChildSegment, JSONPathRecursiveDescentSegment
from jsonpath.selectors import IndexSelector, NameSelector, WildcardSelector

from policy.json_patch import Json

_ENVIRONMENT = JSONPathEnvironment(strict=True)


class _Every(Enum):
    ONE = "*"


EVERY: Final = _Every.ONE
Selector: TypeAlias = str | int | Literal[_Every.ONE]
"""A member's name, an index (from behind if it is negative), or every child."""


@dataclass(frozen=True, slots=True)
class _Step:
    selector: Selector
    descends: bool
    """It looks into what is inside at any depth, too."""


Place: TypeAlias = tuple[Any, Any]
"""An object and the name of one of its members, or a list and an index."""


class Query:
    """One JSONPath that means members, never the whole document."""

    __slots__ = ("_path", "_plan", "text")

    def __init__(self, text: str) -> None:
        """
        Raises:
            ValueError: no JSONPath, or one that means the whole document.
        """
        self.text = text
        self._path = _compiled(text)
        self._plan = _steps(self._path)

    @property
    def steps(self) -> tuple[str | int, ...] | None:
        """Names and indices of a path that can mean one member only; None for any other."""
        steps: list[str | int] = []
        for step in self._plan or ():
            if step.descends or step.selector is EVERY:
                return None
            steps.append(step.selector)
        return tuple(steps) or None

    def places(self, document: Json) -> list[Place]:
        """What it means, in the document's order; a filter or a union may mean a member twice."""
        if self._plan is not None:
            return _places(document, self._plan)
        found = self._path.finditer(document)
        return [(each.parent.obj, each.parts[-1]) for each in found if each.parent is not None]


def _compiled(text: str) -> JSONPath:
    try:
        compiled = _ENVIRONMENT.compile(text)
    except (JSONPathError, RecursionError) as error:
        reason = str(error).partition("\n")[0] or "nested too deeply"
        raise ValueError(f"{text!r} is not a JSONPath: {reason} ($.user.name, $..password, $.items[*].id)") from None
    if not isinstance(compiled, JSONPath):
        raise ValueError(f"{text!r} is several JSONPaths (one for each field)")
    if not compiled.segments:
        raise ValueError(f"{text!r} is the whole document (a member: $.name)")
    return compiled


def _steps(path: JSONPath) -> tuple[_Step, ...] | None:
    """None: a path with a filter, a slice or a union, which the library walks."""
    steps: list[_Step] = []
    for segment in path.segments:
        descends = isinstance(segment, JSONPathRecursiveDescentSegment)
        if len(segment.selectors) != 1 or not (descends or isinstance(segment, JSONPathChildSegment)):
            return None
        match segment.selectors[0]:
            case NameSelector(name=name):
                steps.append(_Step(name, descends))
            case IndexSelector(index=index):
                steps.append(_Step(index, descends))
            case WildcardSelector():
                steps.append(_Step(EVERY, descends))
            case _:
                return None
    return tuple(steps)


def _places(document: Json, steps: Sequence[_Step]) -> list[Place]:
    parents: list[Any] = [document]
    for step in steps[:-1]:
        parents = _children(_seen(parents, step), step.selector)
    return _members(_seen(parents, steps[-1]), steps[-1].selector)


def _members(parents: Sequence[Any], selector: Selector) -> list[Place]:
    if isinstance(selector, str):
        return [(parent, selector) for parent in parents if type(parent) is dict and selector in parent]
    if isinstance(selector, int):
        lists = [parent for parent in parents if type(parent) is list]
        return [(each, selector % len(each)) for each in lists if _holds(each, selector)]
    return [(parent, key) for parent in parents for key in _keys(parent)]


def _children(parents: Sequence[Any], selector: Selector) -> list[Any]:
    if isinstance(selector, str):
        return [parent[selector] for parent in parents if type(parent) is dict and selector in parent]
    if isinstance(selector, int):
        lists = [parent for parent in parents if type(parent) is list]
        return [each[selector] for each in lists if _holds(each, selector)]
    return [child for parent in parents for child in _inside(parent)]


def _seen(parents: list[Any], step: _Step) -> list[Any]:
    """The objects and lists that a step looks into: an outer one before its inner ones, in the document's order."""
    if not step.descends:
        return parents
    seen: list[Any] = []
    pending = parents[::-1]
    while pending:
        value = pending.pop()
        inside = _inside(value)
        if inside:
            seen.append(value)
            pending.extend([each for each in inside if type(each) is dict or type(each) is list][::-1])
    return seen


def _holds(items: Sequence[object], index: int) -> bool:
    return -len(items) <= index < len(items)


def _inside(value: Any) -> Sequence[Any] | ValuesView[Any]:
    if type(value) is dict:
        return value.values()
    return value if type(value) is list else ()


def _keys(parent: Any) -> Iterable[str | int]:
    if type(parent) is dict:
        return parent
    return range(len(parent)) if type(parent) is list else ()
