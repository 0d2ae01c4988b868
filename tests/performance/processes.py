"""Programs under measurement: started on free ports of 127.0.0.1, watched for their CPU time, ended for sure."""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

HOST = "127.0.0.1"
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_POLL_S = 0.02


class BenchError(Exception):
    """A run that cannot be measured; its text is for the person at the terminal."""


class Program:
    """One started program and everything it started itself."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log

    def cpu_seconds(self) -> float:
        """User and system time so far, of the program and its living descendants."""
        return cpu_seconds(self._process.pid)

    def check_alive(self) -> None:
        if self._process.poll() is not None:
            raise BenchError(f"{self.name} ended with status {self._process.returncode}:\n{self.log_tail()}")

    def log_tail(self, lines: int = 15) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def end(self) -> None:
        """SIGTERM, and SIGKILL for who is still there after 5 s."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def cpu_seconds(pid: int) -> float:
    """User and system time so far, of a process and its living descendants."""
    return sum(_cpu_ticks(each) for each in _descendants(pid)) / TICKS_PER_SECOND


@contextmanager
def program(
    name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Program]:
    """Run a command inside the block; its output goes to `NAME.log` in the folder."""
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **(environment or {})}
        )
    started = Program(name, process, log)
    try:
        yield started
    finally:
        started.end()


def wait_until(condition: Callable[[], bool], what: str, programs: Sequence[Program], timeout_s: float = 20.0) -> None:
    """Return when the condition holds.

    Raises:
        BenchError: one of the programs ended, or the time is up; the message says which and shows the logs.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        _check_alive(programs)
        if time.monotonic() > deadline:
            logs = "\n".join(f"--- {watched.name}\n{watched.log_tail()}" for watched in programs)
            raise BenchError(f"{what} did not happen within {timeout_s:.0f} s\n{logs}")
        time.sleep(_POLL_S)
    # The condition may be another's doing, of a process that has taken the port before ours could.
    _check_alive(programs)


def _check_alive(programs: Sequence[Program]) -> None:
    for watched in programs:
        watched.check_alive()


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((HOST, port)) == 0


def answer_of(url: str, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str]] | None:
    """Status and headers (lower case) of one GET, None if nobody answers."""
    request = urllib.request.Request(url, headers=dict(headers))
    try:
        with urllib.request.urlopen(request, timeout=2) as response:
            response.read()
            return response.status, {name.lower(): value for name, value in response.headers.items()}
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {name.lower(): value for name, value in error.headers.items()}
    except OSError:
        return None


def _descendants(pid: int) -> list[int]:
    found = [pid]
    for candidate in found:  # grows while it is walked
        for children in Path(f"/proc/{candidate}/task").glob("*/children"):
            try:
                found += map(int, children.read_text().split())
            except OSError:  # the thread ended meanwhile
                continue
    return found


def _cpu_ticks(pid: int) -> int:
    """utime + stime of proc(5); the program's name may hold spaces and parentheses, so count from the last one."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])
