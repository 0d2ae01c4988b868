"""A ConfigMap as files: written the way the kubelet writes a mounted one, for the same watcher of files to see.

So the gateway file may come from the API server without a mounted volume, at once instead of at the kubelet's next sync
(up to a minute), and what was written last is still there after a restart without an API server.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

_CURRENT = "..data"
_VERSION = re.compile(r"[.][.][0-9a-f]{16}([.]unfinished)?")


class ConfigMapFiles:
    """Each key is a file in one directory; all of them change at once, by the swap of one symlink.

    Nothing else in that directory is touched, and no file of another origin is replaced.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, key: str) -> Path:
        return self.directory / key

    def write(self, content: Mapping[str, bytes]) -> None:
        """Replace all files. Raises OSError, also for a key whose name is taken by a file that was not written here."""
        for key in content:
            if self.path(key).exists() and not self._is_ours(self.path(key)):
                raise FileExistsError(17, "is in the way", str(self.path(key)))
        digest = hashlib.sha256(repr(sorted(content.items())).encode()).hexdigest()[:16]
        version = self.directory / f"..{digest}"
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not version.exists():
            unfinished = self.directory / f"..{digest}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(mode=0o700)
            for key, value in content.items():
                (unfinished / key).write_bytes(value)
            unfinished.rename(version)
        self._point(self.directory / _CURRENT, version.name)
        for key in content:
            self._point(self.directory / key, f"{_CURRENT}/{key}")
        self._clean(version.name, content)

    def _point(self, link: Path, target: str) -> None:
        if link.is_symlink() and os.readlink(link) == target:
            return
        fresh = link.with_name(link.name + ".fresh")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        fresh.replace(link)

    def _clean(self, version: str, content: Mapping[str, bytes]) -> None:
        for entry in self.directory.iterdir():
            if entry.name in (_CURRENT, version) or entry.name in content:
                continue
            if self._is_ours(entry):
                entry.unlink()
            elif _VERSION.fullmatch(entry.name):
                shutil.rmtree(entry)

    def _is_ours(self, entry: Path) -> bool:
        return entry.is_symlink() and os.readlink(entry) == f"{_CURRENT}/{entry.name}"
