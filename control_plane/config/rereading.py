"""Reading a file again after an edit: what stands before and behind the edited routes or services is kept.

The parser needs no more than the edited entries' lines, because a list or mapping in block style begins each entry on a
line of its own, at one column. Whether the new lines are entries and nothing else is tried with a sentinel: an entry of
our own behind them, which has to come out as the next one. Whatever is not clear is read as a whole.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from control_plane.config.faults import Position
from control_plane.config.reading import Document, read_document, read_entries
from control_plane.config.tree import Entry, Items, Keys, Node, Text

SECTIONS = ("routes", "services")
"""Those that grow; their entries are kept."""
_OTHER_LINE_BREAKS = ("\r", "\x85", "\u2028", "\u2029")
_SENTINEL = "a-name-that-no-service-has"


@dataclass(frozen=True, slots=True)
class _Section:
    """Where the entries of one section stand."""

    key: str
    column: int
    """Of the dashes, or of the keys; the first is 0."""
    starts: tuple[int, ...]
    """The line of each entry; the first line of the file is 0. Never empty."""
    end: int
    """The line behind the last entry."""

    def ends(self, place: int) -> int:
        return self.starts[place + 1] if place + 1 < len(self.starts) else self.end


@dataclass(frozen=True, slots=True)
class _Read:
    """A file without faults."""

    content: bytes
    lines: Sequence[str]
    root: Keys
    sections: tuple[_Section, ...]


@dataclass(slots=True)
class Documents:
    """Reads files, and knows what was read of each of them."""

    is_exact: bool = True
    """Whether every position in the trees of the last files is that of the node; others come out of `locate` only."""
    _known: dict[str, _Read] = field(default_factory=dict)

    def read(self, file: str, content: bytes) -> Document:
        """As `read_document`; entries that have not changed are the very same nodes again."""
        known = self._known.pop(file, None)
        again = _again(known, file, content) if known is not None else None
        if again is not None:
            self.is_exact = self.is_exact and known is not None and len(again.lines) == len(known.lines)
            self._known[file] = again
            return Document(again.root, ())
        document = read_document(file, content)
        if document.root is not None and not document.faults and not document.has_anchors:
            self._known[file] = _remembered(content, document.root)
        return document

    def forget(self) -> None:
        """Read everything as a whole next time."""
        self._known.clear()
        self.is_exact = True

    def keep_only(self, files: Collection[str]) -> None:
        """Forget the others."""
        for file in self._known.keys() - set(files):
            del self._known[file]


def _remembered(content: bytes, root: Keys) -> _Read:
    text = content.decode("utf-8-sig")
    lines = text.split("\n")
    if any(other in text for other in _OTHER_LINE_BREAKS) or "<<" in text or lines[-1]:
        return _Read(content, lines, root, ())
    found = (_section(key, root, lines) for key in SECTIONS)
    return _Read(content, lines, root, tuple(section for section in found if section is not None))


def _section(key: str, root: Keys, lines: Sequence[str]) -> _Section | None:
    node = root.entries[key].value if key in root.entries else None
    if not isinstance(node, (Items, Keys)):
        return None
    starts = tuple(position.line - 1 for position in _entries_at(node))
    column = node.at.column - 1
    if not starts or not all(_begins_entry(lines[line], column, node) for line in starts):
        return None
    if sorted(set(starts)) != list(starts):
        return None
    behind = (entry.key_at.line - 1 for entry in root.entries.values())
    return _Section(key, column, starts, min((line for line in behind if line > starts[-1]), default=len(lines) - 1))


def _entries_at(node: Items | Keys) -> Iterator[Position]:
    if isinstance(node, Items):
        yield from (item.at for item in node.items)
    else:
        yield from (entry.key_at for entry in node.entries.values())


def _begins_entry(line: str, column: int, node: Items | Keys) -> bool:
    begin = line[column : column + 3]
    if line[:column].strip(" ") or not begin:
        return False
    if isinstance(node, Items):
        return len(begin) == 3 and begin.startswith("- ") and begin[2] not in " #"
    return begin[0].isalnum()


def _again(known: _Read, file: str, content: bytes) -> _Read | None:
    """What the new content is, if it differs from the known one in entries of one section only."""
    if content == known.content:
        return known
    try:
        lines = content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        return None
    first, behind = _difference(known.lines, lines)
    for section in known.sections:
        if section.starts[0] <= first and behind <= section.end and not lines[-1]:
            return _Edit(known, section, lines, first, behind).result(file, content)
    return None


def _difference(old: Sequence[str], new: Sequence[str]) -> tuple[int, int]:
    """The first line that differs, and the line in `old` behind the last one."""
    shorter = min(len(old), len(new))
    first = next((place for place in range(shorter) if old[place] != new[place]), shorter)
    rest = shorter - first
    same = next((back for back in range(rest) if old[-1 - back] != new[-1 - back]), rest)
    return first, len(old) - same


@dataclass(frozen=True, slots=True)
class _Edit:
    """New lines in place of some entries of a section."""

    known: _Read
    section: _Section
    lines: Sequence[str]
    first: int
    behind: int

    def result(self, file: str, content: bytes) -> _Read | None:
        section, root = self.section, self.known.root
        node = root.entries[section.key].value
        assert isinstance(node, (Items, Keys))
        begin = end = bisect_right(section.starts, self.first) - 1
        while begin > 0 and not _begins_entry(self.lines[section.starts[begin]], section.column, node):
            begin -= 1  # of the entry there is a comment left, or nothing
        while section.ends(end) < self.behind:
            end += 1
        more = len(self.lines) - len(self.known.lines)
        chunk = self.lines[section.starts[begin] : section.ends(end) + more]
        if not chunk or not _begins_entry(chunk[0], section.column, node) or "<<" in "".join(chunk):
            return None
        if any(other in line for line in chunk for other in _OTHER_LINE_BREAKS):
            return None
        read = self._parsed(file, chunk, section.starts[begin], node)
        if read is None:
            return None
        edited = _spliced(node, begin, end + 1, read, more)
        if edited is None:
            return None
        starts = tuple(position.line - 1 for position in _entries_at(read))
        if not all(_begins_entry(self.lines[line], section.column, node) for line in starts):
            return None
        changed = replace(
            section,
            starts=(*section.starts[:begin], *starts, *(line + more for line in section.starts[end + 1 :])),
            end=section.end + more,
        )
        return self._with(content, edited, changed, more)

    def _parsed(self, file: str, chunk: Sequence[str], line: int, node: Items | Keys) -> Items | Keys | None:
        """The entries of these lines, without the sentinel behind them; None if they are more or less than entries."""
        mark = "- " if isinstance(node, Items) else ""
        sentinel = f"{' ' * self.section.column}{mark}{_SENTINEL}:"
        document = read_entries(file, "\n" * line + "\n".join((*chunk, sentinel, "")), (self.section.key,))
        root = document.node
        if document.faults or document.has_anchors or root is None or root.at.column - 1 != self.section.column:
            return None
        last = line + len(chunk) + 1
        if isinstance(node, Items):
            if not isinstance(root, Items) or not _is_sentinel(root.items[-1], last):
                return None
            return replace(root, items=root.items[:-1], indices=root.indices[:-1])
        if not isinstance(root, Keys) or not _is_sentinel(root, last):
            return None
        return replace(root, entries={key: entry for key, entry in root.entries.items() if key != _SENTINEL})

    def _with(self, content: bytes, edited: Items | Keys, changed: _Section, more: int) -> _Read:
        """The file with the edited section; what stands behind it has moved by so many lines."""
        entries: dict[str, Entry] = {}
        for key, entry in self.known.root.entries.items():
            if key == changed.key:
                entries[key] = entry._replace(value=edited)
            elif more and entry.key_at.line - 1 >= self.section.end:
                entries[key] = Entry(_moved_at(entry.key_at, more), _moved(entry.value, more, lazily=key in SECTIONS))
            else:
                entries[key] = entry
        root = replace(self.known.root, entries=entries)
        sections = tuple(
            changed if one is self.section else _moved_section(one, more if one.starts[0] >= self.section.end else 0)
            for one in self.known.sections
        )
        return _Read(content, self.lines, root, sections)


def _is_sentinel(node: Node, line: int) -> bool:
    if not isinstance(node, Keys) or not node.entries:
        return False
    key, entry = list(node.entries.items())[-1]
    return key == _SENTINEL and entry.key_at.line == line


def _spliced(node: Items | Keys, begin: int, end: int, read: Items | Keys, more: int) -> Items | Keys | None:
    """The section with what was read in place of the entries from `begin` to `end`; None if a key is there twice."""
    if isinstance(node, Items) and isinstance(read, Items):
        shifts = node.shifts or (0,) * len(node.items)
        items = (*node.items[:begin], *read.items, *node.items[end:])
        moved = (*shifts[:begin], *(0,) * len(read.items), *(shift + more for shift in shifts[end:]))
        return replace(node, items=items, indices=tuple(range(len(items))), shifts=moved)
    assert isinstance(node, Keys)
    assert isinstance(read, Keys)
    known = list(node.entries.items())
    before, after = dict(known[:begin]), dict(known[end:])
    entries = {**before, **read.entries, **after}
    if len(entries) != len(before) + len(read.entries) + len(after):
        return None
    shifts_by_key = {key: shift for key, shift in node.shifts.items() if key in before}
    shifts_by_key.update((key, node.shifts.get(key, 0) + more) for key in after)
    return replace(node, entries=entries, shifts=shifts_by_key)


def _moved_section(section: _Section, lines: int) -> _Section:
    if not lines:
        return section
    return replace(section, starts=tuple(start + lines for start in section.starts), end=section.end + lines)


def _moved_at(at: Position, lines: int) -> Position:
    return at._replace(line=at.line + lines)


def _moved(node: Node, lines: int, *, lazily: bool = False) -> Node:
    """The node so many lines further down.

    Args:
        lazily: its entries stay the same nodes, with a note of how far they have moved.
    """
    if isinstance(node, Text):
        return node._replace(at=_moved_at(node.at, lines))
    at = _moved_at(node.at, lines)
    if isinstance(node, Items):
        if lazily:
            return replace(node, at=at, shifts=tuple(s + lines for s in node.shifts or (0,) * len(node.items)))
        return replace(node, at=at, items=tuple(_moved(item, lines) for item in node.items))
    if lazily:
        shifts: Mapping[str, int] = {key: node.shifts.get(key, 0) + lines for key in node.entries}
        return replace(node, at=at, shifts=shifts)
    entries = {
        key: Entry(_moved_at(entry.key_at, lines), _moved(entry.value, lines)) for key, entry in node.entries.items()
    }
    return replace(node, at=at, entries=entries)
