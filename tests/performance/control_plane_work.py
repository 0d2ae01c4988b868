"""What the control plane's own work costs: reading, translating and publishing configurations of some size."""

from collections.abc import Callable
from statistics import median
from time import process_time

from tests.performance.report import Timing


def measure(*, quick: bool) -> list[Timing]:
    return []


def cpu_ms(work: Callable[[], object], repetitions: int) -> float:
    """Median CPU time of one call, in milliseconds."""
    times = []
    for _ in range(repetitions):
        start = process_time()
        work()
        times.append(process_time() - start)
    return median(times) * 1000
