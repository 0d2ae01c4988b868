"""Bytes of one YAML file -> a tree of text with positions, or one clear fault per mistake.

YAML's own guesses (`NO`, `010`, `2026-09-01`) are not made: the key's type decides later. Built on the parser's events
rather than on PyYAML's composer, which accepts duplicate keys and dies on deep nesting.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import yaml

from control_plane.config.faults import Fault, Path, Position
from control_plane.config.tree import Entry, Items, Keys, Node, Text

MAX_DEPTH = 64
"""Levels of nesting; the deepest key of the model stands at about 10."""
MAX_ALIASED = 100_000
"""Nodes that aliases may add to a file; more is an alias bomb."""

_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CORE = "tag:yaml.org,2002:"
_TAGS = frozenset({None, "!", *(_CORE + name for name in ("str", "int", "float", "bool", "null", "seq", "map"))})


@dataclass(frozen=True, slots=True)
class Document:
    """What one file holds; a root that is not there comes with faults that say why."""

    root: Keys | None
    faults: tuple[Fault, ...]
    has_anchors: bool = False
    """Whether parts of it may stand for others."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """The tree of one text, whatever its root is."""

    node: Node | None
    faults: tuple[Fault, ...]
    has_anchors: bool = False


def read_document(file: str, content: bytes) -> Document:
    """Parse one file whose root is a mapping; `file` is its name in faults."""
    parsed = _read(file, content)
    root, faults = parsed.node, parsed.faults
    if isinstance(root, Keys):
        return Document(root, faults, parsed.has_anchors)
    if root is None and faults:
        return Document(None, faults)
    what = "is empty" if root is None else "has to be a mapping"
    at = Position(file, 1, 1) if root is None else root.at
    return Document(None, (*faults, Fault.at(at, (), f"{what} (version, name, listeners, ...)")))


def read_items(file: str, content: bytes) -> tuple[Items | None, tuple[Fault, ...]]:
    """Parse one file whose root is a list."""
    parsed = _read(file, content)
    root, faults = parsed.node, parsed.faults
    if root is None or isinstance(root, Items):
        return root, faults
    return None, (*faults, Fault.at(root.at, (), "has to be a list"))


def _read(file: str, content: bytes) -> Parsed:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return Parsed(None, (Fault.at(Position(file, line, 1), (), "is not UTF-8 text"),))
    return read_entries(file, text, ())


def read_entries(file: str, text: str, path: Path) -> Parsed:
    """Parse what stands at a path of a file."""
    builder = _Builder(file)
    try:
        root = builder.document(yaml.parse(text, Loader=_LOADER), path)
    except yaml.YAMLError as error:
        return Parsed(None, (*builder.faults, _syntax_fault(Position(file, 1, 1), error)))
    except _UnreadableError as error:
        return Parsed(None, (*builder.faults, Fault.at(error.at, (), error.message)))
    if isinstance(root, Text) and root.is_null:
        root = None
    return Parsed(root, tuple(builder.faults), bool(builder.anchors))


class _UnreadableError(Exception):
    """Reading on would not be safe."""

    def __init__(self, at: Position, message: str) -> None:
        super().__init__(message)
        self.at = at
        self.message = message


def _syntax_fault(start: Position, error: yaml.YAMLError) -> Fault:
    """One line out of PyYAML's four: what was found, where."""
    if not isinstance(error, yaml.MarkedYAMLError):
        line = str(getattr(error, "reason", None) or error).splitlines()[0]
        return Fault.at(start, (), f"is not YAML: {line}")
    mark = error.problem_mark or error.context_mark
    at = Position(start.file, mark.line + 1, mark.column + 1) if mark else start
    parts = [part for part in (error.context, error.problem) if part]
    hint = ""
    if error.problem and "cannot start any token" in error.problem:
        hint = " (indent with spaces, never with tabs; quote text that begins with @ ` % or a tab)"
    return Fault.at(at, (), f"is not YAML: {', '.join(parts)}{hint}")


@dataclass(slots=True)
class _Anchor:
    node: Node | None
    """None while it is being read: an alias inside its own anchor would never end."""
    size: int = 0


@dataclass(slots=True)
class _Builder:
    """Folds the events of one document into a tree."""

    file: str
    faults: list[Fault] = field(default_factory=list)
    anchors: dict[str, _Anchor] = field(default_factory=dict)
    aliased: int = 0

    def document(self, events: Iterator[yaml.Event], path: Path = ()) -> Node | None:
        """Return the only document's root, None for an empty file."""
        root: Node | None = None
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _UnreadableError(self._at(event), "has a second YAML document (one per file)")
            elif isinstance(event, yaml.NodeEvent):
                root, _ = self._node(event, events, path)
        return root

    def _at(self, event: yaml.Event) -> Position:
        mark = event.start_mark
        return Position(self.file, mark.line + 1, mark.column + 1) if mark else Position(self.file, 1, 1)

    def _fault(self, at: Position, path: Path, message: str) -> None:
        self.faults.append(Fault.at(at, path, message))

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event], path: Path) -> tuple[Node, int]:
        """Return the node that begins with this event, and how many nodes it holds."""
        at = self._at(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, at, path)
        if len(path) > MAX_DEPTH:
            raise _UnreadableError(at, f"is nested too deeply (at most {MAX_DEPTH} levels)")
        if not isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)):  # pragma: no cover - the grammar
            raise _UnreadableError(at, "is not YAML")
        if event.tag not in _TAGS:
            self._fault(at, path, f"has a tag that means nothing here: {event.tag} (write the value without it)")
        anchor = _Anchor(None)
        if event.anchor:
            self.anchors[event.anchor] = anchor
        anchor.node, anchor.size = self._content(event, events, at, path)
        return anchor.node, anchor.size

    def _content(self, event: yaml.Event, events: Iterator[yaml.Event], at: Position, path: Path) -> tuple[Node, int]:
        if isinstance(event, yaml.ScalarEvent):
            return Text(at, event.value, plain=not event.style and event.tag is None), 1
        if isinstance(event, yaml.SequenceStartEvent):
            return self._items(events, at, path)
        return self._keys(events, at, path)

    def _alias(self, event: yaml.AliasEvent, at: Position, path: Path) -> tuple[Node, int]:
        anchor = self.anchors.get(event.anchor or "")
        if anchor is None or anchor.node is None:
            reason = "is not defined above" if anchor is None else "holds itself"
            self._fault(at, path, f"the anchor {event.anchor!r} {reason}")
            return Text(at, "", plain=False), 1
        self.aliased += anchor.size
        if self.aliased > MAX_ALIASED:
            raise _UnreadableError(at, f"aliases repeat too much (at most {MAX_ALIASED:,} values in all)")
        return anchor.node, anchor.size

    def _items(self, events: Iterator[yaml.Event], at: Position, path: Path) -> tuple[Node, int]:
        items: list[Node] = []
        total = 1
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            node, size = self._node(event, events, (*path, len(items)))
            items.append(node)
            total += size
        return Items(at, tuple(items), tuple(range(len(items)))), total

    def _keys(self, events: Iterator[yaml.Event], at: Position, path: Path) -> tuple[Node, int]:
        entries: dict[str, Entry] = {}
        merged: list[Keys] = []
        total = 1
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key, _ = self._node(event, events, (*path, "?"))
            name = self._key_name(key, path)
            value, size = self._node(next(events), events, (*path, name or "?"))
            total += size
            if name is None:
                continue
            if name == "<<" and isinstance(key, Text) and key.plain:
                merged += self._merged(value, (*path, name))
            elif name in entries:
                first = entries[name].key_at
                self._fault(key.at, (*path, name), f"is given twice (first in line {first.line})")
            else:
                entries[name] = Entry(key.at, value)
        for source in merged:
            for name, entry in source.entries.items():
                entries.setdefault(name, entry)
        return Keys(at, entries), total

    def _key_name(self, key: Node, path: Path) -> str | None:
        if isinstance(key, Text) and not key.is_null:
            return key.text
        self._fault(key.at, path, "has a key that is not text (a name before the colon)")
        return None

    def _merged(self, value: Node, path: Path) -> Sequence[Keys]:
        sources = value.items if isinstance(value, Items) else (value,)
        mappings = [source for source in sources if isinstance(source, Keys)]
        if len(mappings) != len(sources):
            self._fault(value.at, path, "can merge mappings only (<<: *anchor)")
        return mappings
