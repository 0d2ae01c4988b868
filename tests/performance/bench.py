"""python -m tests.performance.bench: measure, print, write the report."""
# ruff: noqa: T201 - a program for the terminal

import argparse
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.performance import control_plane_work, report
from tests.performance.cases import Case, Plan, Sample, choose, measure
from tests.performance.load import Generator, find_generator
from tests.performance.processes import BenchError
from tests.performance.stand import ROOT, Stand, find_envoy

REPORT = ROOT / "docs" / "performance" / "benchmarks.md"
FULL = Plan(rounds=5, seconds=4, connections=32)
QUICK = Plan(rounds=1, seconds=1, connections=8)


def arguments_of(command_line: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.performance.bench",
        description="Measures the gateway beside plain Envoy and empty callouts.",
        epilog="Example: python -m tests.performance.bench --only authz_empty,authz --rounds 3",
    )
    parser.add_argument("--quick", action="store_true", help="one short round: does everything run? writes no report")
    parser.add_argument("--only", default="", metavar="CASE,...", help="these cases, no others; writes no report")
    parser.add_argument("--rounds", type=int, help=f"default {FULL.rounds}")
    parser.add_argument("--seconds", type=float, help=f"of load a case and round, default {FULL.seconds}")
    parser.add_argument("--connections", type=int, help=f"default {FULL.connections}")
    parser.add_argument("--output", type=Path, help=f"the report, default {REPORT.relative_to(ROOT)}")
    return parser.parse_args(command_line)


def plan_of(arguments: argparse.Namespace) -> Plan:
    base = QUICK if arguments.quick else FULL
    return Plan(
        rounds=arguments.rounds or base.rounds,
        seconds=arguments.seconds or base.seconds,
        connections=arguments.connections or base.connections,
    )


def describe_machine(generator: Generator) -> report.Machine:
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    envoy = subprocess.run([find_envoy(), "--version"], capture_output=True, text=True, check=True).stdout
    return report.Machine(
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        processor=models[0] if models else platform.machine(),
        cores=os.cpu_count() or 1,
        kernel=platform.release(),
        versions={
            "Envoy": envoy_version(envoy),
            "Python": platform.python_version(),
            **{package: version(package) for package in ("grpcio", "uvloop", "protobuf")},
        },
        generator=generator.name,
    )


def envoy_version(text: str) -> str:
    """The release in what `envoy --version` prints: PROGRAM version: COMMIT/RELEASE/STATUS/TYPE/TLS."""
    return text.rpartition(" version: ")[2].split("/")[1]


def take_samples(cases: Sequence[Case], plan: Plan, generator: Generator) -> list[Sample]:
    samples = []
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder, Stand(Path(folder)) as stand:
        for sample in measure(stand, generator, cases, plan):
            samples.append(sample)
            costs = ", ".join(f"{role} {cost:.0f} us" for role, cost in sample.cpu_us.items())
            print(f"{sample.case:12} {sample.load.requests_per_s:8,.0f}/s  CPU per request: {costs}", file=sys.stderr)
    return samples


def main(command_line: Sequence[str]) -> int:
    arguments = arguments_of(command_line)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    try:
        plan, cases = plan_of(arguments), choose([name for name in arguments.only.split(",") if name])
        generator = find_generator(ROOT / ".tools")
        samples = take_samples(cases, plan, generator)
        timings = [] if arguments.only else control_plane_work.measure(quick=arguments.quick)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print("\n".join(report.tables(cases, samples, timings)))
    output = arguments.output or (None if arguments.quick or arguments.only else REPORT)
    if output:
        details = sorted(page.stem for page in REPORT.parent.glob("*.md") if page != REPORT)
        output.write_text(report.document(cases, samples, timings, plan, describe_machine(generator), details))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
