"""Which snapshots were served, and what differs between any two of them.

Kept are changes, not snapshots: of each publication the resources that it added, changed and removed, before and
after; of secrets only that they changed.

Memory is bounded twice, by entries and by the bytes of what is kept. When there is no room, runs of changes of
endpoints alone are joined first, so that a busy cluster does not push the last change of the configuration out.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from control_plane.resource_types import CACHE_PURGE, CLUSTER_LOAD_ASSIGNMENT, SECRET
from control_plane.snapshot import Changes, Resource, Snapshot

MOST_ENTRIES = 200
MOST_BYTES = 32 << 20
_ALONE = frozenset({CLUSTER_LOAD_ASSIGNMENT, CACHE_PURGE})

ResourceKey = tuple[str, str]
"""Type URL and name."""


@dataclass(frozen=True, slots=True)
class Change:
    """One resource, before and after; None: it was not there."""

    before: Resource | None
    after: Resource | None

    @property
    def kind(self) -> str:
        """added, changed or removed."""
        if self.before is None:
            return "added"
        return "changed" if self.after is not None else "removed"


@dataclass(frozen=True, slots=True)
class Entry:
    """A publication, or several joined ones."""

    generation: int
    """Of the snapshot that it led to."""
    first_generation: int
    """Of the first of the joined ones."""
    at: float
    """Seconds since the epoch, of the last one."""
    changes: Mapping[ResourceKey, Change]
    is_minor: bool
    """Whether only endpoints have changed, or a cache was purged."""
    size: int
    """Bytes of what is kept, roughly."""


def _entry(first_generation: int, generation: int, at: float, changes: Mapping[ResourceKey, Change]) -> Entry:
    size = sum(
        200 + len(resource.body)
        for change in changes.values()
        for resource in (change.before, change.after)
        if resource is not None
    )
    return Entry(generation, first_generation, at, changes, all(url in _ALONE for url, _ in changes), size)


class UnknownGenerationError(Exception):
    """It was never served, or is too long ago."""


class History:
    """Of one gateway, the newest entries."""

    def __init__(self, most_entries: int = MOST_ENTRIES, most_bytes: int = MOST_BYTES) -> None:
        self._entries: deque[Entry] = deque()
        self._most_entries = most_entries
        self._most_bytes = most_bytes
        self._bytes = 0

    def entries(self) -> tuple[Entry, ...]:
        """The newest first."""
        return tuple(reversed(self._entries))

    def note(self, generation: int, at: float, before: Snapshot, after: Snapshot, changes: Changes) -> None:
        """`after` is served from now on as this generation; the changes are what differs."""
        entry = _entry(generation, generation, at, dict(_changed(before, after, changes)))
        self._entries.append(entry)
        self._bytes += entry.size
        while len(self._entries) > self._most_entries or (self._bytes > self._most_bytes and len(self._entries) > 1):
            self._make_room()

    def difference(self, older: int, newer: int) -> Mapping[ResourceKey, Change]:
        """What differs between two generations, by type and name.

        Raises:
            UnknownGenerationError: one of them is not known (any more).
        """
        generations = {one for entry in self._entries for one in (entry.first_generation - 1, entry.generation)}
        if older not in generations or newer not in generations:
            raise UnknownGenerationError(f"generations {older} and {newer} are not both known")
        found: dict[ResourceKey, Change] = {}
        for entry in self._entries:
            if older < entry.generation <= newer:
                _join(found, entry.changes)
        return {key: found[key] for key in sorted(found)}

    def _make_room(self) -> None:
        """Join runs in the older half, all at once: for each publication alone it would cost too much."""
        entries = list(self._entries)
        kept: list[Entry] = []
        run: list[Entry] = []
        for entry in entries[: len(entries) // 2]:
            if not entry.is_minor:
                kept += [*_joined(run), entry]
                run = []
            else:
                run.append(entry)
        kept += [*_joined(run), *entries[len(entries) // 2 :]]
        if len(kept) == len(entries):
            del kept[0]
        self._entries = deque(kept)
        self._bytes = sum(entry.size for entry in kept)


def _changed(before: Snapshot, after: Snapshot, changes: Changes) -> Iterator[tuple[ResourceKey, Change]]:
    for type_url, names in changes.items():
        old, new = before.of_type(type_url), after.of_type(type_url)
        for name in names:
            yield (type_url, name), Change(_kept(old.get(name)), _kept(new.get(name)))


def _kept(resource: Resource | None) -> Resource | None:
    """A secret that was replaced shall not stay in memory for people to look back at."""
    if resource is None or resource.type_url != SECRET:
        return resource
    return replace(resource, body=b"")


def _joined(run: list[Entry]) -> list[Entry]:
    """One entry for all of them; none for none."""
    if len(run) < 2:
        return run
    changes: dict[ResourceKey, Change] = {}
    for entry in run:
        _join(changes, entry.changes)
    return [_entry(run[0].first_generation, run[-1].generation, run[-1].at, changes)]


def _join(into: dict[ResourceKey, Change], later: Mapping[ResourceKey, Change]) -> None:
    """Add what came later; what is as it was before is no change."""
    for key, change in later.items():
        before = into[key].before if key in into else change.before
        if (before.version if before else None) == (change.after.version if change.after else None):
            into.pop(key, None)
        else:
            into[key] = Change(before, change.after)
