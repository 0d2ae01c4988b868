"""The folder of one running gateway: a lock that tells whether it runs, pids and addresses, logs, Envoy's bootstrap.

lock         held (flock) by the supervisor as long as it lives, contains its pid
state.json   pids of all processes, addresses, the configuration file
envoy.json   Envoy's bootstrap
logs/        one file a process; these stay
control-plane/   the last good configuration; stays
analytics/       who used what (usage.sqlite); stays
"""

import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self


class AlreadyRunningError(Exception):
    """Another supervisor holds this folder."""

    def __init__(self, pid: int) -> None:
        super().__init__(f"a gateway already runs here (pid {pid})")
        self.pid = pid


@dataclass(frozen=True, slots=True)
class State:
    """What others may know about a running gateway."""

    supervisor: int
    config: str
    addresses: Mapping[str, str]
    """By name: "listener public" -> "0.0.0.0:10000"."""
    processes: Mapping[str, int]
    """pids by name."""


class StateDir:
    """Paths, and what is read and written there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "logs"
        self.bootstrap = path / "envoy.json"
        self.control_plane = path / "control-plane"
        self.analytics = path / "analytics"
        self._lock = path / "lock"
        self._state = path / "state.json"

    def lock(self) -> "Lock":
        """Hold the folder; raises AlreadyRunningError, or OSError if the folder cannot be made."""
        self.path.mkdir(parents=True, exist_ok=True)
        return Lock(self._lock)

    def holder(self) -> int | None:
        """The pid of the supervisor that runs here, None if there is none."""
        try:
            descriptor = os.open(self._lock, os.O_RDWR)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return _pid_in(descriptor)
        finally:
            os.close(descriptor)
        return None

    def write_state(self, state: State) -> None:
        """Whole or not at all: readers may come at any time."""
        document = {
            "supervisor": state.supervisor,
            "config": state.config,
            "addresses": dict(state.addresses),
            "processes": dict(state.processes),
        }
        draft = self._state.with_suffix(".new")
        draft.write_text(json.dumps(document, indent=2) + "\n")
        draft.replace(self._state)

    def read_state(self) -> State | None:
        """None if nothing was written, or by another version of this program."""
        try:
            document = json.loads(self._state.read_text())
            return State(document["supervisor"], document["config"], document["addresses"], document["processes"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def sweep(self) -> None:
        """Remove what belongs to a running gateway only; never called while somebody else holds the lock."""
        for path in (self.bootstrap, self._state, self._state.with_suffix(".new"), self._lock):
            path.unlink(missing_ok=True)


class Lock:
    """A held lock; survives fork(), ends with the last process that has it open. Not inherited by commands."""

    def __init__(self, path: Path) -> None:
        while True:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = _pid_in(self._descriptor)
                os.close(self._descriptor)
                raise AlreadyRunningError(pid) from None
            if _same_file(self._descriptor, path):
                break
            os.close(self._descriptor)  # its last holder removed it between our two steps
        self.claim()

    def claim(self) -> None:
        """Write the pid of the present process (again after a fork)."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)

    def close(self) -> None:
        with suppress(OSError):
            os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _pid_in(descriptor: int) -> int:
    text = os.pread(descriptor, 32, 0)
    return int(text) if text.isdigit() else 0


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
