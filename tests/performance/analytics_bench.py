"""python -m tests.performance.analytics_bench: what a usage report costs, in CPU time of Envoy and of the process."""
# ruff: noqa: T201 - a program for the terminal

import argparse
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from envoy.service.accesslog.v3 import als_pb2

from control_plane.analytics.entries import counted
from control_plane.analytics.sqlite import SqliteDatabase
from control_plane.analytics.storage import Storage
from control_plane.analytics.tally import Tally
from tests.performance import envoys
from tests.performance.cases import Case, Plan, Sample, measure
from tests.performance.load import find_generator
from tests.performance.processes import HOST, BenchError, Program, listens, wait_until
from tests.performance.stand import ROOT, Stand, Target, wait_for_answer
from tests.ports import free_port
from tests.unit.control_plane.analytics.samples import entry

REPORT = ROOT / "docs" / "performance" / "analytics.md"
FULL = Plan(rounds=7, seconds=3, connections=16)
QUICK = Plan(rounds=1, seconds=1, connections=4)
OFF, ON, AWAY = "off", "on", "away"
TITLES = {
    OFF: "`analytics: none`",
    ON: "with analytics",
    AWAY: "analytics configured, but its process is away",
}
_ENTRIES_A_MESSAGE = 20
"""As Envoy sends them under load: 16 KiB."""


class AnalyticsStand(Stand):
    """The same gateway three times; only where its access log goes to differs."""

    def usage(self, label: str) -> Target:
        if label not in self._usage:
            self._usage[label] = self._start_usage(label)
        return self._usage[label]

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._usage: dict[str, Target] = {}

    def _start_usage(self, label: str) -> Target:
        port, xds, receiver = (free_port() for _ in range(3))
        text = envoys.gateway_yaml(port=port, upstream_port=self._upstream(), authz_port=1, proc_port=2)
        where = "none" if label == OFF else f"{{endpoints: [{{address: {HOST}, port: {receiver}}}]}}"
        config = self._folder / f"usage-{label}.yaml"
        config.write_text(f"{text}analytics: {where}\n")
        programs: dict[str, Program] = {}
        if label == ON:
            programs["analytics"] = self._start_analytics(receiver)
        self._start_control_plane(f"usage-{label}", config, xds)
        programs["envoy"] = self._start_envoy(f"usage-{label}", envoys.ads_bootstrap(xds_port=xds))
        target = Target(f"http://{HOST}:{port}/open", programs)
        wait_for_answer(target, self._programs)
        return target

    def _start_analytics(self, port: int) -> Program:
        addresses = ("--address", f"{HOST}:{port}", "--http-address", f"{HOST}:{free_port()}")
        state = ("--state-dir", str(self._folder / "usage"), "--envoy-stats-port", "0")
        started = self._start_python("analytics", "control_plane", "--role", "analytics", *addresses, *state)
        wait_until(lambda: listens(port), "the listener of analytics", [started])
        return started


def cases() -> tuple[Case, ...]:
    def target(label: str, stand: Stand) -> Target:
        assert isinstance(stand, AnalyticsStand)
        return stand.usage(label)

    return tuple(
        Case(label, title, lambda stand, label=label: target(label, stand))  # type: ignore[misc]
        for label, title in TITLES.items()
    )


def microseconds_per_entry(consumers: int, *, messages: int) -> float:
    """Of parsing and counting, without gRPC, in this process."""
    chooser = random.Random(1)
    bodies = [_message(chooser, consumers) for _ in range(messages)]
    tally = Tally(1000)
    began_s = time.process_time()
    for body in bodies:
        for each in als_pb2.StreamAccessLogsMessage.FromString(body).http_logs.log_entry:
            tally.add(counted("bench", each), 1.0)
    return (time.process_time() - began_s) * 1e6 / (messages * _ENTRIES_A_MESSAGE)


def milliseconds_per_flush(consumers: int) -> float:
    """Of storing what so many consumers did on ten routes, in SQLite, beside what is there already."""
    with tempfile.TemporaryDirectory() as folder:
        storage = Storage(SqliteDatabase(Path(folder) / "usage.sqlite"), max_rows=5000)
        costs = []
        for flush in range(5):
            tally = Tally(1000)
            for number in range(consumers * 10):
                call = entry("/v1/x", route=f"route-{number % 10}", proven={"user": f"user-{number // 10}"})
                tally.add(counted("bench", call), 1.0)
            began_s = time.process_time()
            storage.add(tally.drain(), 1_795_946_400.0 + flush)
            costs.append(time.process_time() - began_s)
        storage.close()
    return median(costs) * 1000


def _message(chooser: random.Random, consumers: int) -> bytes:
    message = als_pb2.StreamAccessLogsMessage()
    for _ in range(_ENTRIES_A_MESSAGE):
        name, took_ms = f"user-{chooser.randrange(consumers)}", chooser.randrange(1, 300)
        each = entry("/v1/users/7", proven={"user": name}, duration_ms=took_ms)
        each.request.user_agent, each.request.authority = "bench", "localhost"
        message.http_logs.log_entry.append(each)
    return message.SerializeToString()


def document(samples: Sequence[Sample], work: Mapping[str, str], plan: Plan) -> str:
    rows = [_row(label, [each for each in samples if each.case == label]) for label in TITLES]
    ratios = {label: _ratio(samples, label) for label in (ON, AWAY)}
    return "\n".join(
        [
            "# What usage reports cost",
            "",
            f"`python -m tests.performance.analytics_bench`, {os.cpu_count()} cores,",
            f"Python {platform.python_version()}; {plan.rounds} rounds of {plan.seconds:.0f} s and",
            f"{plan.connections} connections, every other round backwards; CPU time per request, median; an Envoy",
            "with one thread in front of an upstream that answers at once, JSON access log to /dev/null.",
            "",
            "| gateway | Envoy, us | analytics, us | requests per second |",
            "|---|---:|---:|---:|",
            *rows,
            "",
            f"Envoy's CPU per request with analytics, in times of that without: {ratios[ON]}; with its process away: "
            f"{ratios[AWAY]} (median, lowest and highest round).",
            "",
            "| work of the analytics process | CPU time |",
            "|---|---:|",
            *(f"| {what} | {cost} |" for what, cost in work.items()),
            "",
        ]
    )


def _row(label: str, samples: Sequence[Sample]) -> str:
    envoy = median(each.cpu_us["envoy"] for each in samples)
    analytics = [each.cpu_us["analytics"] for each in samples if "analytics" in each.cpu_us]
    rate = median(each.load.requests_per_s for each in samples)
    return f"| {TITLES[label]} | {envoy:.1f} | {f'{median(analytics):.1f}' if analytics else '-'} | {rate:,.0f} |"


def _ratio(samples: Sequence[Sample], label: str) -> str:
    """Round by round: the machine drifts."""
    of = {case: [each.cpu_us["envoy"] for each in samples if each.case == case] for case in (OFF, label)}
    ratios = [with_it / without for with_it, without in zip(of[label], of[OFF], strict=True)]
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def work_of(*, quick: bool) -> dict[str, str]:
    messages = 20 if quick else 1000
    return {
        "one entry, 500 consumers: parsing and counting": f"{microseconds_per_entry(500, messages=messages):.1f} us",
        "one entry, 100,000 consumers, of whom 1,000 are told apart": (
            f"{microseconds_per_entry(100_000, messages=messages):.1f} us"
        ),
        "one flush (every 2 s) of 100 consumers on 10 routes": f"{milliseconds_per_flush(100):.1f} ms",
        "one flush of 1,000 consumers on 10 routes": f"{milliseconds_per_flush(50 if quick else 1000):.1f} ms",
    }


def main(command_line: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.performance.analytics_bench")
    parser.add_argument("--quick", action="store_true", help="one short round: does everything run? writes no report")
    quick = parser.parse_args(command_line).quick
    plan = QUICK if quick else FULL
    try:
        generator = find_generator(ROOT / ".tools")
        with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder, AnalyticsStand(Path(folder)) as stand:
            samples = list(measure(stand, generator, cases(), plan))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    text = document(samples, work_of(quick=quick), plan)
    print(text)
    if not quick:
        REPORT.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
