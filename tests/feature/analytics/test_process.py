"""`python -m control_plane --role analytics` as a process: how it starts, ends and refuses."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from control_plane.analytics.receiver import SERVICE
from control_plane.analytics.sqlite import SqliteDatabase
from control_plane.analytics.storage import Storage
from control_plane.analytics.windows import WINDOWS
from tests.e2e.waiting import until
from tests.feature.analytics.test_worker import message
from tests.ports import free_port

CHECKOUT = Path(__file__).parents[3]


def _process(*flags: str, **variables: str) -> "subprocess.Popen[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    command = [sys.executable, "-m", "control_plane", "--role", "analytics", *flags]
    return subprocess.Popen(command, cwd=CHECKOUT, env=kept | variables, stderr=subprocess.PIPE, text=True)


@contextmanager
def _running(folder: Path, port: int, http_port: int) -> Iterator["subprocess.Popen[str]"]:
    addresses = ("--address", f"127.0.0.1:{port}", "--http-address", f"127.0.0.1:{http_port}")
    process = _process(*addresses, "--state-dir", str(folder), "--envoy-stats-port", "0")
    try:
        until(lambda: process.poll() is not None or _answers(http_port), "an answer")
        yield process
    finally:
        process.kill()
        process.communicate()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_what_came_before_the_end_is_stored(tmp_path: Path) -> None:
    """SIGTERM stores the last entries, and the exit status is 0; nothing is printed but log lines."""
    port, http_port = free_port(), free_port()
    with _running(tmp_path, port, http_port) as process, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stream: grpc.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(f"/{SERVICE}/StreamAccessLogs")
        stream(iter([message("/v1/a", "/v1/b").SerializeToString()]), timeout=20)
        process.send_signal(signal.SIGTERM)
        _, printed = process.communicate(timeout=20)

    assert 0 == process.returncode
    assert all(line.startswith("{") for line in printed.splitlines()), printed
    storage = Storage(SqliteDatabase(tmp_path / "usage.sqlite"), max_rows=10)

    assert 2 == storage.find(WINDOWS["1h"], time.time()).totals.requests
    storage.close()


@pytest.mark.parametrize("flag", ["--address", "--http-address"])
def test_a_taken_port_is_told_in_one_line(tmp_path: Path, flag: str) -> None:
    """Without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        own = {"--address": f"127.0.0.1:{free_port()}", "--http-address": f"127.0.0.1:{free_port()}"}
        own[flag] = f"127.0.0.1:{taken.getsockname()[1]}"
        flags = [part for each in own.items() for part in each]
        _, printed = _process(*flags, "--state-dir", str(tmp_path)).communicate(timeout=60)

    assert 1 == len(printed.splitlines()), printed
    assert "cannot listen on" in printed


@pytest.mark.parametrize(
    ("flags", "variables", "text"),
    [
        (("--http-address", "0.0.0.0:0"), {}, "set GATEWAY_TOKEN"),
        (("--database", "mysql://u:s3cr3t@h/d"), {}, "--database is no postgresql://"),
        ((), {"GATEWAY_ANALYTICS_DATABASE": "postgresql://u:s3cr3t@127.0.0.1:1/d"}, "analytics: PostgreSQL:"),
    ],
)
def test_what_cannot_work_is_refused(
    tmp_path: Path, flags: tuple[str, ...], variables: dict[str, str], text: str
) -> None:
    """In one line, without a password."""
    process = _process("--address", "127.0.0.1:0", *flags, "--state-dir", str(tmp_path), **variables)
    _, printed = process.communicate(timeout=60)

    assert (1, True, False) == (len(printed.splitlines()), text in printed, "s3cr3t" in printed), printed
    assert 0 != process.returncode
