"""`up -d`: the supervisor goes to the background, the command waits until it reports."""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol


class Report(Protocol):
    """To whoever waits for the start."""

    def ready(self, text: str) -> None: ...

    def failed(self, text: str) -> None: ...


class PipeReport:
    """Over a pipe to the command that was typed. BrokenPipeError: it is gone, so nobody wanted the gateway."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def ready(self, text: str) -> None:
        self._send("ready", text)

    def failed(self, text: str) -> None:
        with suppress(BrokenPipeError):
            self._send("failed", text)

    def _send(self, kind: str, text: str) -> None:
        os.write(self._descriptor, json.dumps([kind, text]).encode() + b"\n")


def detach(supervise: Callable[[Report], int], log: Path) -> tuple[bool, str]:
    """Run supervise in a process of its own, away from the terminal; return (ready, text) as it reported.

    Forks, so it has to be called before there are threads or an event loop. SIGINT while waiting stops what was
    started. `log` gets whatever the background process itself prints.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os._exit(_in_background(supervise, reading, writing, log))
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        try:
            ready, text = _outcome(pipe.readline(), log)
            if not ready:
                pipe.read()  # until it has stopped what it had started
            return ready, text
        except KeyboardInterrupt:
            os.kill(pid, signal.SIGTERM)
            pipe.read()
            return False, "interrupted; nothing is left running"


def _in_background(supervise: Callable[[Report], int], reading: int, writing: int, log: Path) -> int:
    """Nothing may leave this function but a status: the frames below belong to the command that was typed."""
    try:
        os.close(reading)
        _leave_terminal(log)
        return supervise(PipeReport(writing))
    except BaseException:
        traceback.print_exc()  # a bug of ours; stderr is the log by now
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _outcome(line: bytes, log: Path) -> tuple[bool, str]:
    if not line:
        return False, f"the supervisor died; see {log}"
    kind, text = json.loads(line)
    return kind == "ready", str(text)


def _leave_terminal(log: Path) -> None:
    """A session of its own: neither Ctrl-C nor the end of the terminal reaches it."""
    os.setsid()
    log.parent.mkdir(parents=True, exist_ok=True)
    nothing = os.open(os.devnull, os.O_RDONLY)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for source, target in ((nothing, 0), (file, 1), (file, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(file)
