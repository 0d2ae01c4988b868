"""Lines on their way out: nobody waits, and one event has a limit."""

import io
import os
import subprocess
import sys
import threading

from prometheus_client import CollectorRegistry

from gateway_runtime.log_lines import WINDOW_S, Lines, Repeats
from gateway_runtime.log_metrics import LogCollector
from gateway_runtime.telemetry import Logs

PROGRAM = """
import sys, time
from gateway_runtime.telemetry import configure_logging, logger
configure_logging("info", "json", process="test")
log = logger("test")
for number in range(30_000):
    log.info(f"line {number}", padding="x" * 100)
print("logged", flush=True)
sys.stdin.readline()
"""


class Held(io.StringIO):
    """A stream that takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.reached = threading.Event()

    def write(self, text: str) -> int:
        self.reached.set()
        assert self.go.wait(20)
        return super().write(text)


def test_what_does_not_fit_is_left_out_and_told() -> None:
    """Writing returns at once; the rest comes in order, and how many are missing."""
    stream = Held()
    lines = Lines(stream, lambda count: f"{count} left out\n", capacity=10)
    lines.write("first\n")
    assert stream.reached.wait(20)
    for number in range(25):
        lines.write(f"{number}\n")
    stream.go.set()
    lines.close(20)

    assert ["first", *map(str, range(10)), "15 left out"] == stream.getvalue().splitlines()
    assert 15 == lines.dropped


def test_what_is_not_written_is_counted() -> None:
    """By why: nobody reads, or one event came too often."""
    stream = Held()
    lines = Lines(stream, str, capacity=1)
    repeats = Repeats(lambda: 0.0, allowed=2)
    registry = CollectorRegistry()
    registry.register(LogCollector(Logs(lines, repeats)))
    lines.write("first\n")
    assert stream.reached.wait(20)
    for _ in range(4):
        lines.write("more\n")
        repeats.left_out("one event")
    found = {
        reason: registry.get_sample_value("gateway_log_lines_dropped_total", {"reason": reason})
        for reason in ("queue_full", "repeated")
    }
    stream.go.set()
    lines.close(20)

    assert {"queue_full": 3.0, "repeated": 2.0} == found


def test_a_closed_stream_harms_nobody() -> None:
    """There is nobody to tell."""
    stream = io.StringIO()
    stream.close()
    lines = Lines(stream, str)
    lines.write("lost\n")
    lines.close(20)


def test_a_process_whose_log_nobody_reads_goes_on() -> None:
    """Its pipe is full after a few hundred lines; it logs 30,000, and reading on shows what was left out."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=writing, text=True
    )
    os.close(writing)
    assert process.stdin is not None
    assert process.stdout is not None
    assert "logged\n" == process.stdout.readline()
    with os.fdopen(reading) as log:
        ended = threading.Thread(target=process.communicate, args=("end\n",))
        ended.start()
        text = log.read()
        ended.join()

    assert '"event":"line 0"' in text
    assert '"event":"log_lines_dropped"' in text


def test_a_storm_of_one_event_is_cut_and_told() -> None:
    """Others are not; the next window says how many were left out."""
    now_s = 0.0
    repeats = Repeats(lambda: now_s, allowed=3)

    assert [0, 0, 0, None, None, 0] == [repeats.left_out(event) for event in ["a"] * 5 + ["b"]]
    now_s = WINDOW_S
    assert [2, 0, 0, None] == [repeats.left_out("a") for _ in range(4)]
    now_s = 2 * WINDOW_S
    assert 0 == repeats.left_out("b")


def test_events_without_end_take_no_memory_without_end() -> None:
    """Texts of libraries may hold anything."""
    repeats = Repeats(lambda: 0.0)
    for number in range(5000):
        repeats.left_out(number)

    assert len(repeats._counts) <= 1000
