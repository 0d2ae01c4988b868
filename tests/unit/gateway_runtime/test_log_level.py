"""The level of a running process, moved by signals."""

import signal
import subprocess
import sys

PROGRAM = """
import asyncio, logging, sys
from gateway_runtime.process import run
from gateway_runtime.telemetry import configure_logging, logger

async def main():
    log = logger("test")
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode().strip():
        log.debug(f"quiet {line}")
        logging.getLogger("library").debug("quiet library %s", line)
        log.info(f"loud {line}")

configure_logging("info", "json", process="test")
sys.exit(run(main))
"""


def test_level_moves_while_it_runs() -> None:
    """SIGUSR1 lets debug lines out, SIGUSR2 takes them back; the process goes on."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdin is not None
    assert process.stderr is not None
    lines: list[str] = []

    def until(word: str) -> None:
        assert process.stderr is not None
        while word not in (line := process.stderr.readline()):
            assert line, lines
            lines.append(line)
        lines.append(line)

    for number, moved in ((1, signal.SIGUSR1), (2, signal.SIGUSR2), (3, None)):
        process.stdin.write(f"{number}\n")
        until(f"loud {number}")
        if moved is not None:
            process.send_signal(moved)
            until("log_level_changed")
    process.stdin.close()
    process.stderr.close()

    assert 0 == process.wait(10)
    text = "".join(lines)
    assert ["quiet 2", "quiet library 2"] == [
        word for number in (1, 2, 3) for word in (f"quiet {number}", f"quiet library {number}") if word in text
    ]
