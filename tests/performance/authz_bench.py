"""What ext_authz costs: `python -m tests.performance.authz_bench` measures every goal and writes the report."""
# ruff: noqa: T201 - a program for the terminal

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from gateway_runtime.telemetry import configure_logging
from tests.performance import decision_work, limiter_work
from tests.performance.bench import describe_machine
from tests.performance.cases import Case, Plan, Sample, measure
from tests.performance.decision_work import DecisionCosts
from tests.performance.limiter_work import CALLERS, StoreSample
from tests.performance.live_keys import growth_mib
from tests.performance.load import Generator, find_generator
from tests.performance.processes import BenchError
from tests.performance.report import (
    Figure,
    Machine,
    by_case,
    callout_cpu,
    figure_table,
    head,
    load_table,
    quotients,
    rate,
)
from tests.performance.stand import ROOT, Stand

REPORT = ROOT / "docs" / "performance" / "ext_authz.md"
FEW, MANY = 32, 128
"""Connections of the load generator."""

_BARE = Case("bare", "bare Envoy with its own jwt_authn filter (HS256)", lambda stand: stand.jwt_authn())
_JWT_AUTHN = Case(
    "jwt_authn", "gateway, jwt_authn in the place of ext_authz", lambda stand: stand.jwt_authn_of_gateway()
)
_EMPTY = Case("empty", "gateway, empty ext_authz handler of grpc.aio", lambda stand: stand.authz("empty_grpcio"))
_ONE_LIMIT = Case("one", "gateway, our ext_authz: cached token, one limit", lambda stand: stand.authz("ours"))
CASES = {
    FEW: (
        _BARE,
        _JWT_AUTHN,
        _EMPTY,
        Case("floor", "gateway, empty ext_authz on our transport", lambda stand: stand.authz("empty_own")),
        _ONE_LIMIT,
        Case(
            "two", "gateway, our ext_authz: cached token, two limits", lambda stand: stand.authz("ours", "two-limits")
        ),
        Case("key", "gateway, our ext_authz: API key, one limit", lambda stand: stand.authz("ours", "api-key")),
    ),
    MANY: (_BARE, _JWT_AUTHN, _EMPTY, _ONE_LIMIT),
}


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    rounds: int
    seconds: float
    keys: int


FULL = Size(rounds=5, seconds=3, keys=1_000_000)
QUICK = Size(rounds=1, seconds=1, keys=10_000)


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that one run saw."""

    samples: dict[int, list[Sample]]
    """By the number of connections."""
    decisions: DecisionCosts
    stores: Sequence[dict[str, StoreSample]]
    million_keys_mib: float


def take(size: Size, generator: Generator) -> Measured:
    """Measure all of it."""
    samples = {}
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder, Stand(Path(folder)) as stand:
        for connections, cases in CASES.items():
            plan = Plan(rounds=size.rounds, seconds=size.seconds, connections=connections)
            samples[connections] = list(measure(stand, generator, cases, plan))
            print(f"{connections} connections: done", file=sys.stderr)
    return Measured(
        samples=samples,
        decisions=decision_work.measure(size.rounds),
        stores=asyncio.run(limiter_work.measure(rounds=size.rounds, seconds=size.seconds)),
        million_keys_mib=growth_mib(size.keys) * 1_000_000 / size.keys,
    )


def figures(measured: Measured) -> list[Figure]:
    """One row for each goal, and what explains it."""
    few, many = (by_case(measured.samples[connections]) for connections in (FEW, MANY))
    first_sight_us = measured.decisions.first_sight - measured.decisions.known_token
    return [
        _ratio("cached token, two memory limits: CPU / empty grpcio handler", few, "two", "empty", at_most=1.2),
        _ratio("... / empty handler on the same transport", few, "two", "floor"),
        Figure("first sight of an RS256 token, on top of a known one", [first_sight_us], " us", at_most=80),
        _ratio("API key, one limit: CPU / empty grpcio handler", few, "key", "empty", at_most=1.15),
        _store_ratio(measured.stores),
        Figure(
            "... checks a round trip", [each["redis"].checks_per_round_trip for each in measured.stores], at_least=8
        ),
        Figure("1,000,000 live limiter keys in memory", [measured.million_keys_mib], " MiB", at_most=200),
        _rate_ratio(f"Envoy's jwt_authn, {FEW} connections", few, "jwt_authn", at_least=0.45),
        _rate_ratio(f"Envoy's jwt_authn, {MANY} connections", many, "jwt_authn", at_least=0.5),
        _rate_ratio(f"a bare Envoy with jwt_authn, {FEW} connections", few, "bare"),
        _rate_ratio(f"a bare Envoy with jwt_authn, {MANY} connections", many, "bare"),
        _rate_ratio(f"empty grpcio handler, {FEW} connections", few, "empty", at_least=0.9),
        _rate_ratio(f"empty grpcio handler, {MANY} connections", many, "empty", at_least=0.9),
    ]


def _ratio(
    what: str, samples: Mapping[str, Sequence[Sample]], ours: str, theirs: str, at_most: float | None = None
) -> Figure:
    return Figure(what, quotients(samples[ours], samples[theirs], callout_cpu), at_most=at_most)


def _rate_ratio(
    base: str, samples: Mapping[str, Sequence[Sample]], theirs: str, at_least: float | None = None
) -> Figure:
    what = f"cached token, one limit: requests/s / {base}"
    return Figure(what, quotients(samples["one"], samples[theirs], rate), at_least=at_least)


def _store_ratio(rounds: Sequence[dict[str, StoreSample]]) -> Figure:
    what = f"two limits in Redis, {CALLERS} concurrent: CPU / memory store"
    return Figure(what, [each["redis"].cpu_us / each["memory"].cpu_us for each in rounds], at_most=1.5)


def work_table(measured: Measured) -> list[str]:
    """What one check costs in microseconds."""
    costs = measured.decisions
    stores = {store: median(each[store].cpu_us for each in measured.stores) for store in limiter_work.STORES}
    rows = [
        ("decision alone: known token, two memory limits", costs.known_token),
        ("decision alone: first sight of an RS256 token, two memory limits", costs.first_sight),
        ("decision alone: API key, two memory limits", costs.api_key),
        ("decision alone: signature over a body of 1 KiB, two memory limits", costs.signature),
        (f"whole process: two memory limits, {CALLERS} concurrent", stores["memory"]),
        (f"whole process: two limits in Redis, {CALLERS} concurrent", stores["redis"]),
    ]
    return ["| one check | CPU us |", "|---|---:|", *(f"| {what} | {cost:.1f} |" for what, cost in rows)]


def tables(measured: Measured) -> list[str]:
    lines = figure_table(figures(measured))
    for connections, cases in CASES.items():
        lines += ["", f"{connections} connections:", "", *load_table(cases, measured.samples[connections])]
    return [*lines, "", *work_table(measured), ""]


_DOCUMENT = """\
{head}
{tables}
## Method

Load through Envoy: {generator}, a closed loop, {seconds:g} s a run, {rounds} rounds. A round runs every case once,
every other round backwards; a ratio is formed within each round, and the median of the rounds counts. Load generator,
Envoy (one worker), ext_authz (one process) and the upstream share the cores. CPU is user and system time of the
ext_authz process (proc(5)) divided by the requests of that run. The empty handler parses nothing and always answers the
same bytes; jwt_authn stands where ext_authz stands; the gateways differ in nothing else. The bare Envoy has no other
filter, no access log and none of the gateway's limits and checks.

Redis beside memory: {callers} checks are always out, on 4 connections straight to ext_authz, of {callers} client
addresses; each charges two limits (client_ip, and one bucket for all). Both processes run all along and take turns.

Decisions alone: CPU of one thread from the bytes of Envoy's message to those of the answer, best batch of 50. First
sights and known tokens are the same 400 tokens in turn; of the first, more come than are remembered.
Live keys: growth of a fresh process's resident memory while a million callers of one limit are charged.
"""


def document(measured: Measured, size: Size, machine: Machine) -> str:
    return _DOCUMENT.format(
        head="\n".join(
            head("What ext_authz costs", "`make bench` (`python -m tests.performance.authz_bench`)", machine)
        ),
        tables="\n".join(tables(measured)),
        generator=machine.generator,
        seconds=size.seconds,
        rounds=size.rounds,
        callers=CALLERS,
    )


def main(command_line: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.performance.authz_bench",
        description="Measures what ext_authz costs beside empty handlers and Envoy's own filter.",
        epilog="Example: python -m tests.performance.authz_bench --quick",
    )
    parser.add_argument("--quick", action="store_true", help="one short round: does everything run? writes no report")
    size = QUICK if parser.parse_args(command_line).quick else FULL
    configure_logging("warning")  # a control plane of the bench runs in this process
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    try:
        generator = find_generator(ROOT / ".tools")
        measured = take(size, generator)
    except BenchError as error:
        print(f"authz_bench: {error}", file=sys.stderr)
        return 1
    print("\n".join(tables(measured)))
    if size is FULL:
        REPORT.write_text(document(measured, size, describe_machine(generator)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
