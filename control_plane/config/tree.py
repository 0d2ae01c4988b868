"""A YAML document as values that know where they stand: what the model is read from and faults are located in.

Every scalar is text. Parts can be cut out (`without`): a file with faults is checked further without its faulty parts,
so that all its faults are found at once; what was cut leaves a mark, so that nobody complains about the hole.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias, Union

from control_plane.config.faults import Path, Position

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


Node: TypeAlias = Union["Text", "Items", "Keys"]


class Text(NamedTuple):
    """One scalar. (Named tuples: there is one for each value of a file, and they are made three times as fast.)"""

    at: Position
    text: str
    plain: bool = False
    """Written without quotes, and not filled in: YAML's null is meant only then."""

    @property
    def is_null(self) -> bool:
        """Nothing, `~` or `null`."""
        return self.plain and self.text in _NULLS

    @property
    def is_empty(self) -> bool:
        """Nothing at all after the colon or the dash."""
        return self.plain and not self.text


@dataclass(frozen=True, slots=True)
class Items:
    """One sequence."""

    at: Position
    items: tuple["Node", ...]
    indices: tuple[int, ...]
    """The place of each item in its file; they differ from 0, 1, 2 after cuts and includes."""
    shifts: tuple[int, ...] = ()
    """By how many lines each item has moved since it was read; () for not at all."""


class Entry(NamedTuple):
    """One key of a mapping with its value."""

    key_at: Position
    value: Node


@dataclass(frozen=True, slots=True)
class Keys:
    """One mapping."""

    at: Position
    entries: Mapping[str, Entry]
    cut: frozenset[str] = frozenset()
    """Keys that were cut out, or lost something deeper."""
    shifts: Mapping[str, int] = field(default_factory=dict)
    """By how many lines entries have moved since they were read; those that are not named have not."""


@dataclass(frozen=True, slots=True)
class Located:
    """The end of a path, or of as much of it as there is."""

    node: Node
    at: Position
    """Of the value."""
    key_at: Position
    """Of the key that holds it; of the value itself in a list."""
    path: Path
    """As it stands in the file."""
    rest: Path
    """What there was no node for; () if the whole path was found."""

    @property
    def shown_at(self) -> Position:
        """Where an operator looks first: at a scalar itself, else at the key that holds the block."""
        return self.at if isinstance(self.node, Text) else self.key_at


def locate(root: Node, path: Path) -> Located:
    """Follow a path as far as it goes."""
    node, key_at, walked, lines = root, root.at, list[str | int](), 0
    rest: Path = ()
    for taken, step in enumerate(path):
        if isinstance(node, Keys) and isinstance(step, str) and step in node.entries:
            entry = node.entries[step]
            lines += node.shifts.get(step, 0)
            node, key_at = entry.value, entry.key_at
            walked.append(step)
        elif isinstance(node, Items) and isinstance(step, int) and 0 <= step < len(node.items):
            lines += node.shifts[step] if node.shifts else 0
            walked.append(node.indices[step])
            node = node.items[step]
            key_at = node.at
        else:
            rest = path[taken:]
            break
    return Located(node, _below(node.at, lines), _below(key_at, lines), tuple(walked), rest)


def _below(at: Position, lines: int) -> Position:
    return at._replace(line=at.line + lines) if lines else at


def without(root: Keys, paths: Collection[Path]) -> Keys:
    """Return the tree without what stands at these paths; lists close up.

    A path to a key that is not there only leaves the mark of a cut.
    """
    cut = _cut(root, sorted({path for path in paths if path}, key=len))
    return cut if isinstance(cut, Keys) else root


def _cut(node: Node, paths: list[Path]) -> Node:
    if not paths or isinstance(node, Text):
        return node
    by_step: dict[str | int, list[Path]] = {}
    for path in paths:
        by_step.setdefault(path[0], []).append(path[1:])
    if isinstance(node, Keys):
        return _cut_keys(node, by_step)
    kept = [place for place in range(len(node.items)) if () not in by_step.get(place, [])]
    return Items(
        node.at,
        tuple(_cut(node.items[place], by_step.get(place, [])) for place in kept),
        tuple(node.indices[place] for place in kept),
        tuple(node.shifts[place] for place in kept) if node.shifts else (),
    )


def _cut_keys(node: Keys, by_step: Mapping[str | int, list[Path]]) -> Keys:
    entries = {
        key: entry._replace(value=_cut(entry.value, by_step[key])) if key in by_step else entry
        for key, entry in node.entries.items()
        if () not in by_step.get(key, [])
    }
    return replace(node, entries=entries, cut=node.cut | {step for step in by_step if isinstance(step, str)})


class Empty:
    """Stands for a key without a value, so that whatever type is wanted refuses it."""


EMPTY = Empty()

Tree: TypeAlias = "str | Empty | list[Tree] | dict[str, Tree]"
"""Plain values for pydantic."""


def plain(node: Node) -> Tree:
    """Return the tree without positions; keys whose value is an explicit null are left out, as if absent."""
    if isinstance(node, Text):
        return EMPTY if node.is_null else node.text
    if isinstance(node, Items):
        return [plain(item) for item in node.items]
    return {
        key: plain(entry.value)
        for key, entry in node.entries.items()
        if not (isinstance(entry.value, Text) and entry.value.is_null and not entry.value.is_empty)
    }


def texts(node: Node, path: Path = ()) -> Iterator[tuple[Path, Text]]:
    """Every scalar with its path."""
    if isinstance(node, Text):
        yield path, node
    elif isinstance(node, Items):
        for place, item in enumerate(node.items):
            yield from texts(item, (*path, place))
    else:
        for key, entry in node.entries.items():
            yield from texts(entry.value, (*path, key))
