"""What a load test promises: latency and errors. The same numbers hold for Locust and k6."""

from dataclasses import dataclass

P95_MS = 350.0
P99_MS = 650.0
ERROR_RATIO = 0.005
"""Fewer than this part of all requests may fail."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run saw, over all kinds of requests."""

    requests: int
    failures: int
    p95_ms: float
    p99_ms: float

    @property
    def error_ratio(self) -> float:
        return self.failures / self.requests if self.requests else 0.0


def violations(outcome: Outcome, *, times: bool = True) -> list[str]:
    """What was not kept, in words; empty if everything was.

    times: False looks at errors alone, as smoke runs on a busy machine do.
    """
    found: list[str] = []
    if not outcome.requests:
        return ["no request was answered"]
    if outcome.error_ratio >= ERROR_RATIO:
        found.append(f"errors: {outcome.error_ratio:.2%} of {outcome.requests} (less than {ERROR_RATIO:.1%})")
    if times and outcome.p95_ms > P95_MS:
        found.append(f"p95: {outcome.p95_ms:.0f} ms (at most {P95_MS:.0f})")
    if times and outcome.p99_ms > P99_MS:
        found.append(f"p99: {outcome.p99_ms:.0f} ms (at most {P99_MS:.0f})")
    return found
