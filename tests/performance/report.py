"""From samples to the tables of docs/performance/benchmarks.md; pure."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from tests.performance.cases import Case, Plan, Sample

GOAL = 1.3
"""What one of our callouts may cost, in times the CPU of the empty handler."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Medians over the rounds of one case."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured in every round, and what it may be; the median counts."""

    what: str
    values: Sequence[float]
    """One for each round."""
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def value(self) -> float:
        return median(self.values)

    @property
    def is_met(self) -> bool:
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )

    def row(self) -> str:
        rounds = f"{_text(min(self.values))} to {_text(max(self.values))}" if len(self.values) > 1 else ""
        goal = ""
        if self.at_most is not None:
            goal = f"at most {_text(self.at_most)}{self.unit}: "
        elif self.at_least is not None:
            goal = f"at least {_text(self.at_least)}{self.unit}: "
        if goal:
            goal += "met" if self.is_met else "not met"
        return f"| {self.what} | {_text(self.value)}{self.unit} | {rounds} | {goal} |"


def _text(number: float) -> str:
    return f"{number:.2f}" if abs(number) < 10 else f"{number:,.0f}"


def figure_table(figures: Iterable[Figure]) -> list[str]:
    """One row a figure: the median, the lowest and the highest round, and whether the goal is met."""
    return ["| what | measured | rounds | goal |", "|---|---:|---:|---|", *(figure.row() for figure in figures)]


@dataclass(frozen=True, slots=True)
class Timing:
    """One measurement of the control plane's own work."""

    title: str
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Machine:
    """What a reader needs to judge the figures."""

    date: str
    processor: str
    cores: int
    kernel: str
    versions: Mapping[str, str]
    generator: str


def summarise(samples: Sequence[Sample]) -> Summary:
    """Medians of the samples of one case; there has to be one at least."""
    roles = samples[0].cpu_us
    return Summary(
        requests_per_s=median(sample.load.requests_per_s for sample in samples),
        p50_ms=median(sample.load.p50_s for sample in samples) * 1000,
        p99_ms=median(sample.load.p99_s for sample in samples) * 1000,
        cpu_us={role: median(sample.cpu_us[role] for sample in samples) for role in roles},
    )


def by_case(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    """Samples of each case, in the order in which they were taken."""
    grouped: dict[str, list[Sample]] = {}
    for sample in samples:
        grouped.setdefault(sample.case, []).append(sample)
    return grouped


def ratios(samples: Sequence[Sample]) -> list[Figure]:
    """Every comparison whose two cases were measured."""
    grouped = by_case(samples)
    return [
        Figure(title, quotients(grouped[case], grouped[base], _cost_of(role)), at_most=goal)
        for title, case, base, role, goal in _COMPARISONS
        if case in grouped and base in grouped
    ]


def quotients(ours: Sequence[Sample], theirs: Sequence[Sample], of: Callable[[Sample], float]) -> list[float]:
    """One case against another, round by round, so that drift of the machine cancels.

    NaN for a round that was so short that no clock tick fell into it.
    """
    pairs = [(of(one), of(other)) for one, other in zip(ours, theirs, strict=True)]
    return [one / other if other else math.nan for one, other in pairs]


def callout_cpu(sample: Sample) -> float:
    """Microseconds a request, of the callout's process."""
    return sample.cpu_us["callout"]


def rate(sample: Sample) -> float:
    """Requests a second."""
    return sample.load.requests_per_s


_COMPARISONS = (
    ("ext_authz: CPU of ours / empty grpc.aio handler", "authz", "authz_empty", "callout", GOAL),
    ("ext_proc: CPU of ours / empty grpc.aio handler", "proc", "proc_empty", "callout", GOAL),
    ("ext_authz: requests/s of ours / empty grpc.aio handler", "authz", "authz_empty", "", None),
    ("ext_proc: requests/s of ours / empty grpc.aio handler", "proc", "proc_empty", "", None),
    ("ext_authz: CPU of ours / empty handler on the same transport", "authz", "authz_floor", "callout", None),
    ("ext_proc: CPU of ours / empty handler on the same transport", "proc", "proc_floor", "callout", None),
    ("requests/s with our ext_authz / Envoy's jwt_authn", "authz", "jwt_authn", "", None),
    ("requests/s of a cache hit / route without callout", "proc", "no_callout", "", None),
    ("Envoy's CPU, gateway's chain without callout / plain proxy", "no_callout", "plain", "envoy", None),
)


def _cost_of(role: str) -> Callable[[Sample], float]:
    return (lambda sample: sample.cpu_us[role]) if role else rate


def load_table(cases: Sequence[Case], samples: Sequence[Sample]) -> list[str]:
    """One row a case."""
    grouped = by_case(samples)
    rows = [
        "| case | requests/s | p50 ms | p99 ms | Envoy CPU us/request | callout CPU us/request |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for case in cases:
        summary = summarise(grouped[case.name])
        callout = f"{summary.cpu_us['callout']:.1f}" if "callout" in summary.cpu_us else ""
        rows.append(
            f"| {case.title} | {summary.requests_per_s:,.0f} | {summary.p50_ms:.2f} | {summary.p99_ms:.2f} "
            f"| {summary.cpu_us['envoy']:.1f} | {callout} |"
        )
    return rows


def timing_table(timings: Sequence[Timing]) -> list[str]:
    rows = ["| work | CPU ms |", "|---|---:|"]
    return rows + [f"| {timing.title} | {timing.milliseconds:.2f} |" for timing in timings]


def tables(cases: Sequence[Case], samples: Sequence[Sample], timings: Sequence[Timing]) -> list[str]:
    """What was measured, without the words around it."""
    blocks = []
    if samples:
        blocks += [load_table(cases, samples), figure_table(ratios(samples))]
    if timings:
        blocks.append(timing_table(timings))
    return [line for block in blocks for line in [*block, ""]]


def head(title: str, written_by: str, machine: Machine) -> list[str]:
    """How every page begins that tells of load: what it is, and where it was measured."""
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return [
        f"# {title}",
        "",
        f"Written by {written_by}; edit tests/performance/ instead of this file.",
        "Absolute figures drift by a third from run to run on a shared machine; the ratios are what to look at.",
        "",
        f"Taken on {machine.date}: {machine.processor}, {machine.cores} cores, Linux {machine.kernel}; {versions}.",
        "",
    ]


def document(
    cases: Sequence[Case],
    samples: Sequence[Sample],
    timings: Sequence[Timing],
    plan: Plan,
    machine: Machine,
    details: Sequence[str] = (),
) -> str:
    """The whole text of benchmarks.md.

    Args:
        details: names of the pages beside it, without `.md`.
    """
    pages = ", ".join(f"[{name}]({name}.md)" for name in details)
    lines = [
        *head("Benchmarks", "`make bench`", machine),
        *([f"In detail, each with its goals: {pages}.", ""] if pages else []),
        *tables(cases, samples, timings),
        "## Method",
        "",
        f"Load: {machine.generator}, {plan.connections} connections in a closed loop, {plan.seconds:g} s a run,",
        f"{plan.rounds} rounds. A round runs every case once, every other round backwards. Each figure is the median",
        "of the rounds; a ratio is formed within each round first, so that drift of the machine cancels.",
        "",
        "Everything shares the cores and speaks over loopback: load generator, Envoy (one worker), callout (one",
        "process) and an upstream (another Envoy, which answers 1 KiB by itself). CPU is user and system time of the",
        "process over the run (proc(5)) divided by the requests of that run.",
        "",
        "The two gateways of a comparison run the same gateway.yaml, pushed by the same control plane code; only the",
        "process at the callout's address differs. The empty handlers parse nothing and answer the same bytes each",
        "time, on grpc.aio (what a gRPC service in Python costs before it does anything) and on the transport of ours",
        "(what remains above them is what our policies cost).",
        "",
    ]
    return "\n".join(lines)
