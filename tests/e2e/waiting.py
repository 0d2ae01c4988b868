"""Waiting for what can be seen from outside; never for a time."""

import time
from collections.abc import Callable

DEADLINE_S = 30.0


def until(holds: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> float:
    """Wait for an observable; return how long it took. Fails with what was waited for."""
    start = time.monotonic()
    while not holds():
        if time.monotonic() - start > deadline_s:
            raise AssertionError(f"not within {deadline_s} s: {what}")
        time.sleep(0.02)
    return time.monotonic() - start
