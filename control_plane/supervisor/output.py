"""Where lines go: to the terminal with the name of their process in front, and to one file a process."""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

COLOURS = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")
"""ANSI codes; red is left for trouble."""
QUEUED_LINES = 10_000
FILE_LIMIT_BYTES = 32 * 1024 * 1024


class Terminal:
    """Writes lines from a thread: a terminal that is stopped (Ctrl-S) or slow must not stop the supervisor.

    Lines that find the queue full are dropped; the files have them.
    """

    def __init__(self, stream: TextIO) -> None:
        self.colours = stream.isatty()
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(QUEUED_LINES)
        self._thread = threading.Thread(target=self._write, name="terminal", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            return

    def close(self) -> None:
        """Wait a moment for what is queued."""
        try:
            self._lines.put(None, timeout=1.0)
        except queue.Full:
            return
        self._thread.join(timeout=1.0)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._stream.write(line + "\n")
                if self._lines.empty():
                    self._stream.flush()
            except (OSError, ValueError):
                return  # the terminal is gone; the files have everything


class LogFile:
    """One process's lines; begins anew when full, the full one stays as NAME.log.1."""

    def __init__(self, path: Path, limit_bytes: int = FILE_LIMIT_BYTES) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._rotate()

    def write(self, line: str) -> None:
        self._file.write(line + "\n")
        if self._file.tell() > self._limit_bytes:
            self._file.close()
            self._rotate()

    def close(self) -> None:
        self._file.close()

    def _rotate(self) -> None:
        if self._path.exists():
            self._path.replace(self._path.with_name(self._path.name + ".1"))
        self._file = self._path.open("w", encoding="utf-8", buffering=1)


class Output:
    """All lines of all processes; `say` is the supervisor's own voice."""

    def __init__(
        self, names: Sequence[str], folder: Path, terminal: Terminal, *, follow: bool, stamp: Callable[[], str]
    ) -> None:
        """Args:
        folder: gets NAME.log for each name.
        follow: whether the processes' lines go to the terminal too.
        stamp: what stands before each line of `say`; a time, where nobody watches.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._files: Mapping[str, LogFile] = {name: LogFile(folder / f"{name}.log") for name in names}
        self._terminal = terminal
        self._follow = follow
        self._stamp = stamp
        self._prefixes = prefixes(names, colours=terminal.colours)

    def line(self, name: str, text: str) -> None:
        self._files[name].write(text)
        if self._follow:
            self._terminal.put(self._prefixes[name] + text)

    def say(self, text: str, *, trouble: bool = False) -> None:
        stamped = self._stamp() + text
        self._terminal.put(f"\033[31m{stamped}\033[0m" if trouble and self._terminal.colours else stamped)

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._terminal.close()


def prefixes(names: Sequence[str], *, colours: bool) -> dict[str, str]:
    """`ext_authz     | ` for each name, all equally wide, each in a colour of its own."""
    width = max(map(len, names), default=0)
    plain = {name: f"{name:<{width}} |" for name in names}
    if not colours:
        return {name: f"{text} " for name, text in plain.items()}
    return {
        name: f"\033[{COLOURS[index % len(COLOURS)]}m{text}\033[0m " for index, (name, text) in enumerate(plain.items())
    }
