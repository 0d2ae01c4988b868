"""Configuration files on disk: read with a record of what was read, and watched for changes.

Watching is polling: a ConfigMap's symlinks are swapped, editors rename, network and container file systems send no
events; a stat of each file every 150 ms sees all of that and costs microseconds.
"""

import asyncio
import glob
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

_Stat = tuple[str, int, int, int]
"""Resolved path, inode, modification time in ns, size."""


class DiskFiles:
    """The `Files` of `control_plane.config.loading`."""

    def read(self, path: str) -> bytes:
        with open(path, "rb") as file:
            return file.read()

    def glob(self, pattern: str) -> Sequence[str]:
        return glob.glob(pattern, recursive=True)


@dataclass(slots=True)
class Recording:
    """Reads files and remembers all that the result depends on."""

    contents: dict[str, bytes] = field(default_factory=dict)
    matches: dict[str, tuple[str, ...]] = field(default_factory=dict)
    stats: dict[str, _Stat | None] = field(default_factory=dict)
    """Taken before the file was read, so that a change while reading is one to be seen; None: there is no file."""
    files: DiskFiles = field(default_factory=DiskFiles)

    def read(self, path: str) -> bytes:
        self.stats[path] = _stat(path)
        try:
            content = self.files.read(path)
        except ValueError as error:  # a NUL in the name
            raise OSError(str(error)) from error
        self.contents[path] = content
        return content

    def glob(self, pattern: str) -> Sequence[str]:
        found = self.matches[pattern] = tuple(sorted(self.files.glob(pattern)))
        return found

    def is_current(self) -> bool:
        """Whether reading again would give the same."""
        return all(_stat(path) == seen for path, seen in self.stats.items()) and all(
            tuple(sorted(self.files.glob(pattern))) == seen for pattern, seen in self.matches.items()
        )


@dataclass(frozen=True, slots=True)
class Replay:
    """Files as they once were."""

    contents: Mapping[str, bytes]
    matches: Mapping[str, tuple[str, ...]]

    def read(self, path: str) -> bytes:
        if path not in self.contents:
            raise FileNotFoundError(2, "was not there when this configuration was kept", path)
        return self.contents[path]

    def glob(self, pattern: str) -> Sequence[str]:
        return self.matches.get(pattern, ())


@dataclass(frozen=True, slots=True)
class Watch:
    """Waits for files to change and then to be at rest."""

    poll_s: float = 0.15
    quiet_s: float = 0.1
    """A change counts when nothing has changed for so long: editors and copies write in several steps."""
    limit_s: float = 0.8
    """A file that never comes to rest is read after so long all the same."""
    clock: Callable[[], float] = time.monotonic

    async def changed(self, recording: Recording) -> None:
        """Return when what was recorded is no longer what is on disk."""
        paths, patterns = tuple(recording.stats), tuple(recording.matches)
        while await asyncio.to_thread(recording.is_current):  # noqa: ASYNC110 - the disk sets no event
            await asyncio.sleep(self.poll_s)
        began = self.clock()
        seen = await asyncio.to_thread(_look, paths, patterns)
        while self.clock() - began < self.limit_s:
            await asyncio.sleep(self.quiet_s)
            now = await asyncio.to_thread(_look, paths, patterns)
            if now == seen:
                return
            seen = now


def _look(paths: Sequence[str], patterns: Sequence[str]) -> tuple[object, ...]:
    files = DiskFiles()
    return (*(_stat(path) for path in paths), *(tuple(sorted(files.glob(pattern))) for pattern in patterns))


def _stat(path: str) -> _Stat | None:
    try:
        found = os.stat(path)
        return os.path.realpath(path), found.st_ino, found.st_mtime_ns, found.st_size
    except (OSError, ValueError):
        return None
