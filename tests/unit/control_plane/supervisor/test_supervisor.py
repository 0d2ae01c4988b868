"""Real processes, kept running and stopped."""

import asyncio
import io
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from control_plane.supervisor.child import TETHER
from control_plane.supervisor.lifecycle import RestartPolicy
from control_plane.supervisor.output import Output, Terminal
from control_plane.supervisor.processes import Process, TcpProbe
from control_plane.supervisor.supervisor import NotReadyError, Supervisor
from tests.ports import free_port

SERVE = """
import socket, sys, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("serving", flush=True)
time.sleep(60)
"""


def _server(name: str, port: int, after: frozenset[str] = frozenset()) -> Process:
    command = (sys.executable, "-I", "-S", "-c", SERVE, str(port))
    return Process(name, command, {}, (TcpProbe(port),), after)


@dataclass
class _Running:
    supervisor: Supervisor
    folder: Path
    pids: dict[str, int] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)

    def changed(self, pids: Mapping[str, int]) -> None:
        self.order += [name for name in pids if name not in self.pids]
        self.order += [f"-{name}" for name in self.pids if name not in pids]
        self.pids = dict(pids)


@asynccontextmanager
async def _running(folder: Path, *processes: Process) -> AsyncIterator[_Running]:
    terminal = Terminal(io.StringIO())
    output = Output([process.name for process in processes], folder, terminal, follow=False, stamp=lambda: "")
    running: list[_Running] = []
    supervisor = Supervisor(
        processes,
        output,
        clock=time.monotonic,
        policy=RestartPolicy(first_s=0.01),
        on_change=lambda pids: running[0].changed(pids),
    )
    running.append(_Running(supervisor, folder))
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(supervisor.run(), name="supervisor")
            try:
                yield running[0]
            finally:
                await supervisor.stop()
    finally:
        output.close()


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - it is another process that changes
            await asyncio.sleep(0.01)


async def test_a_process_that_dies_is_started_again_and_the_others_live_on(tmp_path: Path) -> None:
    """kill -9 of one changes the pid of that one only."""
    async with _running(tmp_path, _server("a", free_port()), _server("b", free_port())) as running:
        await running.supervisor.until_ready(10)
        before = dict(running.pids)
        os.kill(before["a"], signal.SIGKILL)
        await _until(lambda: running.pids.get("a", before["a"]) != before["a"])

        assert before["b"] == running.pids["b"]


async def test_what_comes_after_others_starts_last_and_stops_first(tmp_path: Path) -> None:
    """Envoy starts when there is something to serve, and drains while there still is."""
    first, second = _server("first", free_port()), _server("second", free_port(), after=frozenset({"first"}))
    async with _running(tmp_path, second, first) as running:
        await running.supervisor.until_ready(10)

    assert ["first", "second", "-second", "-first"] == running.order


async def test_nothing_is_left_after_stop(tmp_path: Path) -> None:
    """Not even what a child had started: its whole group is ended."""
    script = f"{sys.executable} -I -S -c 'import time; time.sleep(60)' & echo $!; wait"
    parent = Process("parent", ("/bin/sh", "-c", script), {}, ())
    log = tmp_path / "parent.log"
    async with _running(tmp_path, parent):
        await _until(lambda: log.exists() and log.read_text().strip().isdigit())
    grandchild = int(log.read_text())

    await _until(lambda: not _is_alive(grandchild))


def _is_alive(pid: int) -> bool:
    """A zombie that waits for a slow init counts as dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_process_that_cannot_start_is_named_with_its_last_words(tmp_path: Path) -> None:
    """The operator learns which one, how it ended and what it said."""
    broken = Process("broken", ("/bin/sh", "-c", "echo no database; exit 3"), {}, (TcpProbe(free_port()),))
    async with _running(tmp_path, broken, _server("fine", free_port())) as running:
        with pytest.raises(NotReadyError) as failure:
            await running.supervisor.until_ready(10)

    assert ["broken does not start (exit status 3)", "  no database"] == str(failure.value).splitlines()[:2]


async def test_one_that_is_never_ready_is_named_after_the_limit(tmp_path: Path) -> None:
    """It, and not the process that only waits for it, is asked for its last words."""
    silent = Process("silent", ("/bin/sh", "-c", "echo thinking; exec sleep 60"), {}, (TcpProbe(free_port()),))
    async with _running(tmp_path, silent, _server("later", free_port(), after=frozenset({"silent"}))) as running:
        with pytest.raises(NotReadyError) as failure:
            await running.supervisor.until_ready(0.5)

    assert "not ready after 0 s: later, silent\nsilent said last:\n  thinking" == str(failure.value)


async def test_a_missing_program_is_a_death_like_any_other(tmp_path: Path) -> None:
    """Told by name."""
    missing = Process("missing", ("/no/such/program",), {}, (TcpProbe(free_port()),))
    async with _running(tmp_path, missing) as running:
        with pytest.raises(NotReadyError, match="cannot run /no/such/program: No such file or directory"):
            await running.supervisor.until_ready(10)


async def test_kill_ends_what_does_not_listen(tmp_path: Path) -> None:
    """A second Ctrl-C does not wait."""
    deaf = Process("deaf", ("/bin/sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"), {}, ())
    log = tmp_path / "deaf.log"
    async with asyncio.timeout(10), _running(tmp_path, deaf) as running:
        await _until(lambda: log.exists() and "up" in log.read_text())
        running.supervisor.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
async def test_children_die_with_their_supervisor(tmp_path: Path) -> None:
    """Also when it is killed with SIGKILL and can do nothing about it."""
    script = (
        "import os, subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-I', '-S', {TETHER!r}, str(os.getpid()), 'sleep', '60'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "-I", "-c", script, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    await _until(lambda: "sleep" in Path(f"/proc/{child}/comm").read_text())
    parent.kill()
    await parent.wait()

    await _until(lambda: not _is_alive(child))
