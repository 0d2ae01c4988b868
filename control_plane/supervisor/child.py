"""One running process: its pid, its lines, its end."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from control_plane.supervisor.processes import Process

TETHER = str(Path(__file__).with_name("tether.py"))
LINE_LIMIT_BYTES = 256 * 1024
LAST_LINES_S = 0.5
"""How long to read on after the end, in case a grandchild holds the pipe open."""


class Child:
    """Start with `await Child.start(...)`, then `await wait()`, which also reads the lines."""

    def __init__(self, process: asyncio.subprocess.Process, pipe: int, on_line: Callable[[str], None]) -> None:
        self._process = process
        self._pipe = pipe
        self._on_line = on_line

    @classmethod
    async def start(cls, process: Process, on_line: Callable[[str], None]) -> "Child":
        """In a session of its own: Ctrl-C reaches the supervisor alone, which stops its children in order.

        The pipe is ours and not asyncio's, whose wait() may last until every holder of the pipe is gone.
        """
        ours, theirs = os.pipe()
        try:
            started = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", TETHER, str(os.getpid()), *process.command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                env=dict(process.environment),
                start_new_session=True,
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        return cls(started, ours, on_line)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> int:
        """Hand over every line until the process has ended; return its returncode (negative: a signal's number)."""
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self._read(), name=f"lines of {self.pid}")
            returncode = await self._process.wait()
            await asyncio.wait({reading}, timeout=LAST_LINES_S)
            reading.cancel()
        return returncode

    def terminate(self) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.terminate()

    def kill_group(self) -> None:
        """The process and whatever it started; harmless when all of them are gone."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def _read(self) -> None:
        reader = asyncio.StreamReader(limit=LINE_LIMIT_BYTES)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(self._pipe, "rb", buffering=0)
        )
        try:
            while line := await _line(reader):
                self._on_line(line.decode(errors="replace").rstrip("\r\n"))
        finally:
            transport.close()


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readline()
    except ValueError:  # longer than the limit; readline has dropped what it held
        return b"[a line that is too long was left out]\n"
