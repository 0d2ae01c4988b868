"""From the name of a file to a Gateway, or to every fault of it at once.

Pure but for the `Files` that it is given. The order: text to tree, variables, includes, form (`shape`), rules, named
files; what is faulty in one step is cut out for the next, so that no step has to stop at the first fault.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain
from posixpath import dirname, join
from typing import Protocol

from control_plane.config.effective import EffectiveRoutes
from control_plane.config.faults import Fault, Path, Position
from control_plane.config.interpolation import Filling
from control_plane.config.materials import Materials, named_files, read_materials, with_joined_paths
from control_plane.config.model.gateway import Gateway
from control_plane.config.rereading import Documents
from control_plane.config.rules.everything import check_everything
from control_plane.config.rules.report import Check, Declared, Report
from control_plane.config.rules.routes import CheckedRoutes
from control_plane.config.shape import Sections, shape
from control_plane.config.tree import Entry, Items, Keys, Text, without

_INCLUDED = ("services", "routes", "rate_limits")
"""What an included file may hold."""


class Files(Protocol):
    """Where files come from: the disk, or a mapping in tests."""

    def read(self, path: str) -> bytes:
        """Return the content; raises OSError."""

    def glob(self, pattern: str) -> Sequence[str]:
        """Return the files that match a pattern (*, ?, [], **), in any order."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of one gateway.yaml."""

    gateway: Gateway | None
    """None if and only if there are faults."""
    faults: tuple[Fault, ...]
    """In the order of the files' lines."""
    warnings: tuple[Fault, ...]
    materials: Materials
    sources: tuple[str, ...]
    """Every file that was read or looked for: a change of one of them can change the result."""


@dataclass(slots=True)
class Memory:
    """Of the last version of a configuration: reading the next one costs what differs. Not for two threads at once."""

    documents: Documents = field(default_factory=Documents)
    sections: Sections = field(default_factory=Sections)
    effective: EffectiveRoutes = field(default_factory=EffectiveRoutes)
    checked: CheckedRoutes = field(default_factory=CheckedRoutes)


def load(
    path: str,
    files: Files,
    environment: Mapping[str, str],
    *,
    now: datetime | None = None,
    memory: Memory | None = None,
) -> Loaded:
    """Read and check a configuration with everything that it includes and names.

    Args:
        path: of gateway.yaml. Relative names in a file start at that file's folder.
        files: reads it and all others.
        environment: for `${NAME}`.
        now: what passed sunsets and expired certificates are compared with; None compares nothing.
        memory: of earlier calls; the result is the same without, but for routes and services that have not changed
            being the very same objects with it.
    """
    memory = memory or Memory()
    loaded = _load(path, files, environment, now, memory)
    if loaded.faults and not memory.documents.is_exact:
        memory.documents.forget()
        loaded = _load(path, files, environment, now, memory)
    memory.documents.keep_only(loaded.sources)
    return loaded


def _load(path: str, files: Files, environment: Mapping[str, str], now: datetime | None, memory: Memory) -> Loaded:
    loading = _Loading(files, Filling(environment, files), memory.documents)
    root = loading.document(path)
    if root is None:
        return loading.result(None, {})
    root = loading.with_includes(root)
    declared = Declared.of(root)
    shaped = shape(root, memory.sections)
    loading.faults += shaped.faults
    if shaped.gateway is None:
        return loading.result(None, {})
    report = Report(shaped.tree)
    routes = memory.effective.of(shaped.gateway)
    # What was cut out of a tree with faults hides more of them: nothing is concluded from it.
    checked = CheckedRoutes() if loading.faults else memory.checked
    check_everything(Check(shaped.gateway, routes, declared, report, now), checked)
    materials = read_materials(shaped.gateway, files, report, now)
    loading.sources += [file for _, file in named_files(shaped.gateway)]
    loading.faults += report.faults
    loading.warnings += report.warnings
    return loading.result(shaped.gateway, materials)


@dataclass(slots=True)
class _Loading:
    files: Files
    filling: Filling
    documents: Documents
    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)

    def result(self, gateway: Gateway | None, materials: Materials) -> Loaded:
        faults = tuple(sorted(dict.fromkeys([*self.faults, *self.filling.faults])))
        return Loaded(
            gateway=None if faults else gateway,
            faults=faults,
            warnings=tuple(sorted(dict.fromkeys(self.warnings))),
            materials={} if faults else materials,
            sources=tuple(dict.fromkeys([*self.sources, *self.filling.read])),
        )

    def document(self, path: str, named_at: Position | None = None, named_by: Path = ()) -> Keys | None:
        """Read one file and fill in its values; None if it cannot be read."""
        self.sources.append(path)
        try:
            content = self.files.read(path)
        except OSError as error:
            at = named_at or Position(path, 0, 0)
            name = f" {path}" if named_at else ""
            self.faults.append(Fault.at(at, named_by, f"cannot read{name}: {error.strerror or error}"))
            return None
        document = self.documents.read(path, content)
        self.faults += document.faults
        if document.root is None:
            return None
        entries = {key: entry for key, entry in document.root.entries.items() if not key.startswith("x-")}
        root = replace(document.root, entries=entries)
        if b"${" in content:
            filled, failed = self.filling.filled(root, dirname(path))
            root = without(filled, failed)
        return with_joined_paths(root)

    def with_includes(self, root: Keys) -> Keys:
        """Return the tree with the services, routes and limits of every included file behind its own."""
        read = {root.at.file}
        for path, pattern in _patterns(root):
            for file in self._matching(root, path, pattern):
                if file not in read:
                    read.add(file)
                    included = self.document(file, pattern.at, path)
                    root = self._merged(root, included) if included is not None else root
        return root

    def _matching(self, root: Keys, path: Path, pattern: Text) -> Sequence[str]:
        full = join(dirname(root.at.file), pattern.text)
        if not any(wildcard in pattern.text for wildcard in "*?["):
            return [full]
        self.sources.append(dirname(full) or ".")
        try:
            found = sorted(self.files.glob(full))
        except OSError as error:
            self.faults.append(Fault.at(pattern.at, path, f"cannot list {full}: {error.strerror or error}"))
            return []
        if not found:
            self.warnings.append(Fault.at(pattern.at, path, f"matches no file ({full})"))
        return found

    def _merged(self, root: Keys, included: Keys) -> Keys:
        entries = dict(root.entries)
        for key, entry in included.entries.items():
            if key not in _INCLUDED:
                message = f"cannot stand in an included file (allowed: {', '.join(_INCLUDED)})"
                self.faults.append(Fault.at(entry.key_at, (key,), message))
            elif isinstance(entry.value, Text) and entry.value.is_null:
                continue
            elif not isinstance(entry.value, Items if key == "routes" else Keys):
                what = "list" if key == "routes" else "mapping"
                self.faults.append(Fault.at(entry.key_at, (key,), f"has to be a {what}"))
            else:
                entries[key] = self._joined(key, entries.get(key), entry)
        return Keys(root.at, entries, root.cut | included.cut)

    def _joined(self, key: str, own: Entry | None, other: Entry) -> Entry:
        if own is None or (isinstance(own.value, Text) and own.value.is_null):
            return other
        if isinstance(own.value, Items) and isinstance(other.value, Items):
            mine, theirs = own.value, other.value
            return Entry(own.key_at, _appended(mine, theirs))
        if not isinstance(own.value, Keys) or not isinstance(other.value, Keys):
            return own
        entries = dict(own.value.entries)
        for name, entry in other.value.entries.items():
            if name in entries:
                first = entries[name].key_at
                message = f"is given twice (first in {first.file}, line {first.line})"
                self.faults.append(Fault.at(entry.key_at, (key, name), message))
            entries.setdefault(name, entry)
        shifts = {**other.value.shifts, **own.value.shifts}
        return Entry(own.key_at, Keys(own.value.at, entries, own.value.cut | other.value.cut, shifts))


def _appended(mine: Items, theirs: Items) -> Items:
    shifts = (one.shifts or (0,) * len(one.items) for one in (mine, theirs))
    return Items(mine.at, mine.items + theirs.items, mine.indices + theirs.indices, tuple(chain(*shifts)))


def _patterns(root: Keys) -> Sequence[tuple[Path, Text]]:
    include = root.entries.get("include")
    if include is None or not isinstance(include.value, Items):
        return []
    items = enumerate(include.value.items)
    return [(("include", place), item) for place, item in items if isinstance(item, Text) and item.text]
