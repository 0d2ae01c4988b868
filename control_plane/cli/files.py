"""Configuration files as gatewayctl is given them: on disk, or `-` for standard input."""

import sys
from collections.abc import Callable, Sequence
from glob import glob
from pathlib import Path

STDIN = "-"


def _read_stdin() -> bytes:
    return sys.stdin.buffer.read()


class CommandLineFiles:
    """The `Files` of `control_plane.config.loading`; standard input is read once and kept."""

    def __init__(self, read_stdin: Callable[[], bytes] = _read_stdin) -> None:
        self._read_stdin = read_stdin
        self._stdin: bytes | None = None

    def read(self, path: str) -> bytes:
        """Return the content; raises OSError."""
        if path != STDIN:
            try:
                return Path(path).read_bytes()
            except ValueError as error:  # a NUL in the name
                raise OSError(str(error)) from None
        if self._stdin is None:
            self._stdin = self._read_stdin()
        return self._stdin

    def glob(self, pattern: str) -> Sequence[str]:
        """Return the files that match; `**` is any depth."""
        return [path for path in glob(pattern, recursive=True) if Path(path).is_file()]
