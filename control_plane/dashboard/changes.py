"""What was served when, and what differs between any two of it, line by line."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import unified_diff

import yaml

from control_plane.dashboard.paging import PAGE_SIZE
from control_plane.dashboard.scene import Scene
from control_plane.dashboard.wording import count
from control_plane.history import Change, Entry, ResourceKey, UnknownGenerationError
from control_plane.resource_types import DELIVERY_ORDER, SECRET, short_name
from control_plane.snapshot import Resource
from control_plane.translate.rendering import rendered_resource

_ORDER = {type_url: place for place, type_url in enumerate(DELIVERY_ORDER)}
_MOST_LINES = 2_000
"""Of a whole page; what is beyond is told by name only."""


@dataclass(frozen=True, slots=True)
class EntryRow:
    """One snapshot that was served."""

    gateway: str
    entry: Entry
    summary: str
    names: str
    """The first few of what changed."""
    is_current: bool


def rows(scene: Scene, gateway: str, most: int = 10_000) -> list[EntryRow]:
    """The newest first."""
    feed = scene.store.feeds.get(gateway)
    if feed is None:
        return []
    entries = feed.history.entries()[:most]
    return [_row(gateway, entry, index == 0) for index, entry in enumerate(entries)]


def _row(gateway: str, entry: Entry, is_current: bool) -> EntryRow:
    by_type: dict[str, dict[str, int]] = {}
    for (type_url, _), change in entry.changes.items():
        counts = by_type.setdefault(type_url, {})
        counts[change.kind] = counts.get(change.kind, 0) + 1
    parts = [_part(type_url, counts) for type_url, counts in sorted(by_type.items(), key=lambda item: _place(item[0]))]
    if entry.first_generation == 1:
        parts = [f"The first snapshot: {count(len(entry.changes), 'resource')}"]
    names = sorted({name for _, name in entry.changes})
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return EntryRow(
        gateway, entry, "; ".join(parts) or "back to what was before", ", ".join(names[:6]) + more, is_current
    )


def _part(type_url: str, counts: dict[str, int]) -> str:
    said = ", ".join(f"{counts[word]} {word}" for word in ("added", "changed", "removed") if word in counts)
    return f"{short_name(type_url)} {said}"


def _place(type_url: str) -> int:
    return _ORDER.get(type_url, len(_ORDER))


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a diff: its sign (+, -, @ or blank) and its text."""

    sign: str
    text: str


@dataclass(frozen=True, slots=True)
class Changed:
    """One resource that differs."""

    type: str
    name: str
    kind: str
    """added, changed or removed."""
    before: str
    """Its version; "" for none."""
    after: str
    lines: Sequence[Line]
    note: str
    """Why there are no lines, or not all."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Between two generations."""

    gateway: str
    older: int
    newer: int
    resources: Sequence[Changed]
    summary: str
    total: int


def difference(scene: Scene, gateway: str, older: int, newer: int) -> Difference:
    """Raises UnknownGenerationError."""
    feed = scene.store.feeds.get(gateway)
    if feed is None:
        raise UnknownGenerationError(f"there is no gateway {gateway!r}")
    older, newer = min(older, newer), max(older, newer)
    found = feed.history.difference(older, newer)
    keys = sorted(found, key=lambda key: (_place(key[0]), key[1]))
    resources, left = [], _MOST_LINES
    for key in keys[:PAGE_SIZE]:
        resources.append(one := _changed(key, found[key], left))
        left -= len(one.lines)
    kinds = [change.kind for change in found.values()]
    said = [f"{kinds.count(word)} {word}" for word in ("added", "changed", "removed") if word in kinds]
    summary = f"{count(len(found), 'resource')} differ{'s' if len(found) == 1 else ''}: {', '.join(said)}"
    return Difference(gateway, older, newer, resources, summary if found else "Nothing differs.", len(found))


def _changed(key: ResourceKey, change: Change, room: int) -> Changed:
    type_url, name = key
    versions = [one.version if one is not None else "" for one in (change.before, change.after)]
    note, lines = "", list[Line]()
    if type_url == SECRET:
        note = "The content of secrets is not shown."
    elif room <= 0:
        note = "Too much to show here."
    else:
        lines = list(_lines(change.before, change.after))
        if len(lines) > room:
            lines, note = lines[:room], "What follows is too much to show here."
    return Changed(short_name(type_url), name, change.kind, versions[0], versions[1], lines, note)


def _lines(before: Resource | None, after: Resource | None) -> Iterator[Line]:
    old, new = (_text(one) if one is not None else [] for one in (before, after))
    for line in list(unified_diff(old, new, n=3, lineterm=""))[2:]:
        yield Line(line[0], line[1:] if line[0] != "@" else line)


def _text(resource: Resource) -> list[str]:
    plain = rendered_resource(resource)
    return yaml.safe_dump(plain, sort_keys=False, width=100, allow_unicode=True).splitlines()
