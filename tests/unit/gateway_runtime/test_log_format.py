"""How a line looks is decided by who reads it."""

import json
import os
import pty
import subprocess
import sys

PROGRAM = """
from gateway_runtime.telemetry import configure_logging, logger
configure_logging("info", "auto", process="test")
logger("test").info("started", route="users", policy="users-1")
"""


def test_a_pipe_gets_json_and_a_terminal_something_to_read() -> None:
    """Nobody has to say which; every fact is in both."""
    piped = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    line = json.loads(piped.stderr)
    leader, follower = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stderr=follower)
    os.close(follower)
    shown = _read(leader)

    assert 0 == process.wait(20)
    assert ("started", "info", "test", "users", "users-1") == (
        line["event"],
        line["level"],
        line["process"],
        line["route"],
        line["policy"],
    )
    assert not shown.startswith("{")
    assert all(word in shown for word in ("started", "route", "users-1", "\x1b["))


def _read(descriptor: int) -> str:
    """Until the other end is closed, which a terminal tells by an error."""
    text = b""
    try:
        while part := os.read(descriptor, 65536):
            text += part
    except OSError:
        pass
    os.close(descriptor)
    return text.decode()
