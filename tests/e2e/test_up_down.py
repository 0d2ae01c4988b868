"""`gatewayctl up` and `down` by themselves: what they refuse, what they leave."""

import os
import pty
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from control_plane.supervisor.listening import taken
from control_plane.supervisor.ports import Binding
from tests.e2e.stack import CHECKOUT, GATEWAYCTL, Stack, is_alive
from tests.e2e.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("up"), pytest.mark.timeout(120)]

KEPT = {"logs", "control-plane", "analytics"}


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Stack]:
    """A stack that is not started, and stopped in any case."""
    stack = Stack.make(tmp_path)
    yield stack
    stack.down()


def _assert_nothing_left(stack: Stack, pids: list[int]) -> None:
    until(lambda: not any(map(is_alive, pids)), f"the end of {pids}", 20)
    assert [] == taken(Binding(str(port), "127.0.0.1", port) for port in stack.all_ports)
    assert {path.name for path in stack.state_dir.path.iterdir()} <= KEPT


def _pids(stack: Stack) -> list[int]:
    state = stack.state()
    return [state.supervisor, *state.processes.values()]


def test_up_in_the_background_returns_when_the_gateway_answers_and_down_leaves_nothing(own: Stack) -> None:
    """The first request after it is served; no process, port or file stays, but the logs."""
    started = own.up()
    assert started.returncode == 0, started.stderr
    assert {"curl", own.url.replace("127.0.0.1", "localhost")} <= set(started.stdout.replace("/health", " ").split())
    assert httpx.get(f"{own.url}/health").status_code == 200
    pids = _pids(own)
    assert 12 == len(pids)

    stopped = own.down()

    assert (0, "stopped\n") == (stopped.returncode, stopped.stdout)
    _assert_nothing_left(own, pids)


def test_the_suggested_commands_work(own: Stack) -> None:
    """All three answer 200, with the token that was printed."""
    lines = [line.strip() for line in own.up().stdout.splitlines()]
    commands = [line for line in lines if line.startswith("curl ")]
    token = next(line for line in lines if line.startswith("TOKEN="))
    script = "\n".join([token, *(f"{command} -s -o /dev/null -w '%{{http_code}}\\n'" for command in commands)])
    answers = subprocess.run(("bash", "-c", script), capture_output=True, text=True, check=True).stdout

    assert ["200"] * 3 == [line for line in answers.split() if line.isdigit()]


def test_a_second_up_in_the_same_folder_is_refused(own: Stack) -> None:
    """With the pid of the first and what to do; the first one serves on."""
    own.up()
    second = own.up()

    assert 1 == second.returncode
    assert f"a gateway already runs here (pid {own.state().supervisor})" in second.stderr
    assert 200 == httpx.get(f"{own.url}/health").status_code


def test_taken_ports_are_told_by_name_and_number(own: Stack) -> None:
    """One line each, and nothing was started."""
    with socket.create_server(("127.0.0.1", own.port)), socket.create_server(("127.0.0.1", own.ports.ext_authz)):
        refused = own.up()

    assert 1 == refused.returncode
    assert [
        f"port {own.port} (listener public) is taken by another process",
        f"port {own.ports.ext_authz} (ext_authz) is taken by another process",
    ] == refused.stderr.splitlines()
    _assert_nothing_left(own, [])


def test_a_missing_envoy_is_told_in_one_line(own: Stack) -> None:
    """Before anything is started."""
    refused = own.up("--envoy", "/no/such/envoy")

    assert (1, "") == (refused.returncode, refused.stdout)
    assert "Envoy is missing: --envoy names /no/such/envoy, which is no program\n" == refused.stderr
    assert not own.state_dir.path.exists()


def test_a_broken_configuration_is_refused_with_its_lines(own: Stack) -> None:
    """Exit status 2; nothing is started."""
    own.edit("service: auth", "service: oauth")
    own.edit("version: 1", "version: 2")
    refused = own.up()

    assert 2 == refused.returncode
    assert 2 == len(refused.stderr.splitlines())
    assert all(line.startswith(f"{own.config}:") for line in refused.stderr.splitlines())
    assert not own.state_dir.path.exists()


def test_an_up_that_fails_says_what_and_leaves_nothing(own: Stack) -> None:
    """Here Envoy cannot live; its own words are shown."""
    broken = own.folder / "broken-envoy"
    broken.write_text("#!/bin/sh\necho cannot live; exit 7\n")
    broken.chmod(0o755)
    failed = own.up("--envoy", str(broken))

    assert 1 == failed.returncode
    assert ["envoy does not start (exit status 7)", "  cannot live"] == failed.stderr.splitlines()[:2]
    _assert_nothing_left(own, [])


def test_down_without_a_gateway_is_no_error(own: Stack) -> None:
    """There is nothing to stop."""
    stopped = own.down()

    assert (0, True) == (stopped.returncode, stopped.stdout.startswith("no gateway runs in"))


def test_ctrl_c_serves_what_is_in_flight_and_leaves_nothing(own: Stack) -> None:
    """A slow answer is still delivered; the exit status is 0."""
    with subprocess.Popen(own.command(), env=own.variables(), cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as up:
        assert up.stdout is not None
        next(line for line in up.stdout if "is ready" in line)
        rest = threading.Thread(target=up.stdout.read)
        rest.start()
        pids = _pids(own)
        httpx.put(f"{own.demo('events-v1')}/demo/behaviour", json={"delay_ms": 1500})
        httpx.put(f"{own.demo('events-v2')}/demo/behaviour", json={"delay_ms": 1500})
        statuses: list[int] = []
        slow = threading.Thread(
            target=lambda: statuses.append(httpx.get(f"{own.url}/api/events/1", timeout=20).status_code)
        )
        slow.start()
        active = f"http://127.0.0.1:{own.ports.envoy_admin}/stats?filter=cluster.events.*upstream_rq_active"
        until(lambda: any(line.endswith(" 1") for line in httpx.get(active).text.splitlines()), "a request in flight")
        up.send_signal(signal.SIGINT)
        slow.join()
        status = up.wait(timeout=30)
        rest.join()

    assert ([200], 0) == (statuses, status)
    _assert_nothing_left(own, pids)


def test_nothing_is_left_when_the_terminal_dies(own: Stack) -> None:
    """The terminal's end (SIGHUP) stops everything, though nobody can be told any more."""
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # `up` respects nohup, and the tests may run under it
        os.chdir(CHECKOUT)
        os.execve(GATEWAYCTL[0], own.command(), own.variables())
    printed = b""
    while b"is ready" not in printed:
        printed += os.read(terminal, 65536)
    assert b"\x1b[" in printed, "colours on a terminal"
    pids = _pids(own)
    os.close(terminal)
    os.waitpid(pid, 0)

    _assert_nothing_left(own, pids)


def test_nothing_is_left_when_the_supervisor_is_killed(own: Stack) -> None:
    """kill -9 takes the children with it, and the next up begins anew."""
    own.up()
    pids = _pids(own)
    os.kill(own.state().supervisor, signal.SIGKILL)
    until(lambda: not any(map(is_alive, pids)), f"the end of {pids}", 20)
    again = own.up()

    assert again.returncode == 0, again.stderr
    assert httpx.get(f"{own.url}/health").status_code == 200
