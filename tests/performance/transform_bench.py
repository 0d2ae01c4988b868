"""What transforms cost: `python -m tests.performance.transform_bench` writes the report."""
# ruff: noqa: T201 - a program for the terminal

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from gateway_runtime.telemetry import configure_logging
from tests.performance import transform_work
from tests.performance.bench import describe_machine
from tests.performance.cases import Case, Plan, Sample, measure
from tests.performance.load import Generator, find_generator
from tests.performance.processes import BenchError
from tests.performance.report import Figure, Machine, by_case, callout_cpu, figure_table, head, load_table, quotients
from tests.performance.stand import ROOT, Stand
from tests.performance.transform_work import BODY_BYTES, Work

REPORT = ROOT / "docs" / "performance" / "transforms.md"
CONNECTIONS = 32
CASES = (
    Case("empty", "empty ext_proc handler of grpc.aio, same answer", lambda stand: stand.headers("headers_grpcio")),
    Case("floor", "empty ext_proc on our transport, same answer", lambda stand: stand.headers("headers_own")),
    Case("ours", "our ext_proc: two header changes", lambda stand: stand.headers("ours")),
)


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    rounds: int
    seconds: float
    repetitions: int


FULL = Size(rounds=7, seconds=3, repetitions=30)
QUICK = Size(rounds=1, seconds=0.3, repetitions=1)


def header_figures(samples: Sequence[Sample]) -> list[Figure]:
    grouped = by_case(samples)
    to_grpcio, to_floor = (quotients(grouped["ours"], grouped[base], callout_cpu) for base in ("empty", "floor"))
    return [
        Figure("header-only transform: CPU / empty handler of grpc.aio", to_grpcio, at_most=1.1),
        Figure("... / empty handler on the same transport", to_floor),
    ]


def body_figures(works: Sequence[Work]) -> list[Figure]:
    return [Figure(f"{work.what}: CPU / orjson parse + dump", work.ratios, at_most=work.at_most) for work in works]


def tables(samples: Sequence[Sample], works: Sequence[Work]) -> list[str]:
    lines = figure_table((*header_figures(samples), *body_figures(works)))
    lines += ["", f"{CONNECTIONS} connections:", "", *load_table(CASES, samples)]
    lines += ["", f"| a body of {BODY_BYTES >> 10} KiB | CPU us |", "|---|---:|"]
    lines += [f"| {work.what} | {median(work.cpu_us):,.0f} |" for work in works]
    return [*lines, ""]


_DOCUMENT = """\
{head}
{tables}
## Method

Headers: load through Envoy, {generator}, a closed loop, {seconds:g} s a run, {rounds} rounds. A round runs every case
once, every other round backwards; a ratio is formed within each round, and the median of the rounds counts. CPU is user
and system time of the process at ext_proc's address (proc(5)) divided by the requests of that run. The empty handler
parses nothing and always answers the same bytes as ours; the gateways differ in nothing else.

Bodies: CPU of one thread from the bytes of the body to those that go on; the base is orjson's parsing and writing of
the same JSON, measured beside each. The body is a list of objects with eight members, one of them redacted in each.
"""


def document(samples: Sequence[Sample], works: Sequence[Work], size: Size, machine: Machine) -> str:
    return _DOCUMENT.format(
        head="\n".join(
            head("What transforms cost", "`make bench` (`python -m tests.performance.transform_bench`)", machine)
        ),
        tables="\n".join(tables(samples, works)),
        generator=machine.generator,
        seconds=size.seconds,
        rounds=size.rounds,
    )


def under_load(size: Size, generator: Generator) -> list[Sample]:
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder, Stand(Path(folder)) as stand:
        plan = Plan(rounds=size.rounds, seconds=size.seconds, connections=CONNECTIONS)
        return list(measure(stand, generator, CASES, plan))


def main(command_line: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.performance.transform_bench",
        description="Measures what transforms cost beside empty handlers and a JSON library.",
        epilog="Example: python -m tests.performance.transform_bench --quick",
    )
    parser.add_argument("--quick", action="store_true", help="one short round: does everything run? writes no report")
    size = QUICK if parser.parse_args(command_line).quick else FULL
    configure_logging("warning")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    try:
        generator = find_generator(ROOT / ".tools")
        samples = under_load(size, generator)
    except BenchError as error:
        print(f"transform_bench: {error}", file=sys.stderr)
        return 1
    works = transform_work.measure(size.rounds, size.repetitions)
    print("\n".join(tables(samples, works)))
    if size is FULL:
        REPORT.write_text(document(samples, works, size, describe_machine(generator)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
