"""Log lines on their way out: nobody who logs waits for the reader of the log, and a storm of one event is cut short.

A thread of its own writes; a pipe that nobody empties fills a bounded queue, and what does not fit is counted and told
as soon as there is room again.
"""

import threading
from collections.abc import Callable, Hashable
from queue import Empty, SimpleQueue
from typing import TextIO

CAPACITY = 8192
"""Lines; some 300 bytes each."""
ALLOWED = 500
"""Lines of one event in WINDOW_S."""
WINDOW_S = 10.0
_MAX_KEYS = 1000
_AT_ONCE = 256


class Lines:
    """A text stream whose `write` never blocks. SimpleQueue may be put to from a signal handler too."""

    def __init__(self, stream: TextIO, dropped_line: Callable[[int], str], *, capacity: int = CAPACITY) -> None:
        """
        Args:
            dropped_line: the line that tells how many were left out.
        """
        self._stream = stream
        self._dropped_line = dropped_line
        self._capacity = capacity
        self._waiting: SimpleQueue[str | None] = SimpleQueue()
        self.dropped = 0
        """Lines that did not fit, since the start."""
        self._told = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, text: str) -> int:
        if self._waiting.qsize() >= self._capacity:
            self.dropped += 1
        else:
            self._waiting.put(text)
        return len(text)

    def flush(self) -> None:
        """Nobody waits; `close` does, for a while."""

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what is there; what the stream does not take in time is lost."""
        self._waiting.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        ended = False
        while not ended:
            taken = self._taken()
            ended = None in taken
            texts = [text for text in taken if text is not None]
            if (dropped := self.dropped) > self._told:
                texts.append(self._dropped_line(dropped - self._told))
                self._told = dropped
            try:
                self._stream.write("".join(texts))
                self._stream.flush()
            except (OSError, ValueError):
                continue  # the stream is closed, or its reader gone: there is nobody to tell

    def _taken(self) -> list[str | None]:
        """At least one."""
        taken = [self._waiting.get()]
        while len(taken) < _AT_ONCE:
            try:
                taken.append(self._waiting.get_nowait())
            except Empty:
                break
        return taken


class Repeats:
    """How often an event has been written lately, and whether it may be once more."""

    def __init__(self, monotonic_s: Callable[[], float], *, allowed: int = ALLOWED) -> None:
        self._monotonic_s = monotonic_s
        self._allowed = allowed
        self.left_out_in_all = 0
        """Lines, since the start."""
        self._counts: dict[Hashable, tuple[float, int]] = {}
        """Beginning of the window and lines in it, by event."""

    def left_out(self, event: Hashable) -> int | None:
        """None: it is one too many. Else write it, and say that so many were left out in the window before."""
        now_s = self._monotonic_s()
        began_s, count = self._counts.get(event, (now_s, 0))
        missing = 0
        if now_s - began_s >= WINDOW_S:
            began_s, missing, count = now_s, max(0, count - self._allowed), 0
        if len(self._counts) >= _MAX_KEYS and event not in self._counts:
            self._counts.clear()  # events are constants; texts of libraries may be endlessly many
        self._counts[event] = (began_s, count + 1)
        if count < self._allowed:
            return missing
        self.left_out_in_all += 1
        return None
