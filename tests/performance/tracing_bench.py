"""python -m tests.performance.tracing_bench: what tracing costs a check of ext_authz, sampled and not."""
# ruff: noqa: T201 - a program for the terminal

import argparse
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from gateway_runtime.tracing import Tracing
from tests.e2e.otlp import otlp_receiver
from tests.performance.decision_work import Judge, rs256
from tests.performance.stand import ROOT
from tests.unit.ext_authz.fixtures import jwt_method

REPORT = ROOT / "docs" / "performance" / "tracing.md"
CHECK = "envoy.service.auth.v3.Authorization/Check"
_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"
CALLS = 400
"""Of a round."""


@dataclass(frozen=True)
class Call:
    """As Envoy calls."""

    metadata: tuple[tuple[str, str], ...]

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self.metadata


UNSAMPLED, SAMPLED = Call((("traceparent", _TRACE + "00"),)), Call((("traceparent", _TRACE + "01"),))


@dataclass(frozen=True, slots=True)
class Costs:
    """Microseconds of CPU of the thread that answers, for a check with a known token and two limits."""

    off: float
    unsampled: float
    sampled: float


def measure(rounds: int) -> Costs:
    """The best round of each: whatever disturbs a round makes it dearer."""
    judge = Judge(jwt_method(algorithms=["RS256"], jwks="rsa"))
    (message,) = rs256(1)
    judge.check(message)
    off = Tracing("bench")
    with otlp_receiver() as receiver:
        on = Tracing("bench")
        switching = on.use(receiver.endpoint)
        assert switching is not None
        switching.join()
        cases = ((off, UNSAMPLED), (on, UNSAMPLED), (on, SAMPLED))
        best = [float("inf")] * len(cases)
        for _ in range(rounds):
            for place, (tracing, call) in enumerate(cases):
                best[place] = min(best[place], _round_us(judge, message, tracing, call))
        on.close()
    return Costs(*best)


def _round_us(judge: Judge, message: bytes, tracing: Tracing, call: Call) -> float:
    began_ns = time.thread_time_ns()
    for _ in range(CALLS):
        span = tracing.of_call(CHECK, call) if tracing.is_on else None
        judge.check(message)
        if span is not None:
            span.end({"gateway.decision": "ok", "gateway.route": "items", "gateway.policy": "items-1"})
    return (time.thread_time_ns() - began_ns) / CALLS / 1000


def document(costs: Costs) -> str:
    rows = (
        ("tracing off", costs.off),
        ("tracing on, the request is not sampled", costs.unsampled),
        ("tracing on, the request is sampled", costs.sampled),
    )
    return "\n".join(
        [
            "# What tracing costs",
            "",
            "CPU time of the thread that answers a check of ext_authz (a known token, two limits, no transport), best",
            f"round, Python {platform.python_version()}; `python -m tests.performance.tracing_bench` measures it.",
            "Spans are exported by another thread, whose work is not in the figures.",
            "",
            "| request | us | in times of none |",
            "|---|---:|---:|",
            *(f"| {what} | {cost:.1f} | {cost / costs.off:.2f} |" for what, cost in rows),
            "",
        ]
    )


def main(command_line: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.performance.tracing_bench")
    parser.add_argument("--quick", action="store_true", help="one round: does everything run? writes no report")
    quick = parser.parse_args(command_line).quick
    text = document(measure(1 if quick else 50))
    print(text)
    if not quick:
        REPORT.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
