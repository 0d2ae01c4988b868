"""The files that a configuration names, from the disk."""

from collections.abc import Sequence
from glob import glob
from pathlib import Path


class DiskFiles:
    """`control_plane.config.loading.Files` of this machine."""

    def read(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def glob(self, pattern: str) -> Sequence[str]:
        return sorted(glob(pattern, recursive=True))
