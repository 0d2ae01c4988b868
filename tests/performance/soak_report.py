"""What a soak has shown: errors by fault, growth of each process, and whether that is all right. Pure."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

MIB = 1024 * 1024
GROWTH_MIB = 24.0
GROWTH_RATIO = 0.2
GROWTH_DESCRIPTORS = 16
"""A process fails that grew by more than both of the first two, or by more descriptors."""
MIN_SAMPLES = 12
"""Fewer say nothing about growth: the process was restarted shortly before the end."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at one process."""

    at_s: float
    resident_bytes: int
    descriptors: int


@dataclass(frozen=True, slots=True)
class Life:
    """One process from its start to its end or the end of the run."""

    name: str
    pid: int
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Growth:
    """Of the median of a life's second quarter to that of its last: what a start costs is over by then."""

    name: str
    pid: int
    minutes: float
    resident_mib: float
    grown_mib: float
    descriptors: int
    grown_descriptors: int

    @property
    def is_leak(self) -> bool:
        before = self.resident_mib - self.grown_mib
        too_much_memory = self.grown_mib > GROWTH_MIB and self.grown_mib > GROWTH_RATIO * before
        return too_much_memory or self.grown_descriptors > GROWTH_DESCRIPTORS


@dataclass(frozen=True, slots=True)
class Injected:
    """A fault that was injected: when, until when all was well again, and whether requests may fail meanwhile."""

    name: str
    at_s: float
    recovered_s: float
    may_cost: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that failed."""

    at_s: float
    name: str
    error: str


def growth(life: Life) -> Growth | None:
    """None if the life was too short to say."""
    samples = life.samples
    if len(samples) < MIN_SAMPLES:
        return None
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    resident = median(sample.resident_bytes for sample in late) / MIB
    descriptors = int(median(sample.descriptors for sample in late))
    return Growth(
        life.name,
        life.pid,
        (samples[-1].at_s - samples[0].at_s) / 60,
        resident,
        resident - median(sample.resident_bytes for sample in early) / MIB,
        descriptors,
        descriptors - int(median(sample.descriptors for sample in early)),
    )


def blamed(failure: Failure, faults: Sequence[Injected], *, slack_s: float = 2.0) -> Injected | None:
    """The fault during whose effect a request failed (the latest); requests end a little after it."""
    return next(
        (fault for fault in reversed(faults) if fault.at_s - 0.1 <= failure.at_s <= fault.recovered_s + slack_s), None
    )


@dataclass(frozen=True, slots=True)
class Soak:
    """Everything that was seen."""

    minutes: float
    requests: int
    p95_ms: float
    p99_ms: float
    failures: tuple[Failure, ...]
    faults: tuple[Injected, ...]
    lives: tuple[Life, ...]

    @property
    def growths(self) -> tuple[Growth, ...]:
        return tuple(found for life in self.lives if (found := growth(life)) is not None)

    def unexplained(self) -> tuple[Failure, ...]:
        """Failures while nothing was broken, or during a fault that nobody should notice."""
        return tuple(
            failure
            for failure in self.failures
            if (fault := blamed(failure, self.faults)) is None or not fault.may_cost
        )

    def problems(self, error_ratio: float) -> list[str]:
        """What is not all right, in words."""
        found = [f"{one.name} ({one.pid}) grew by {_grown(one)}" for one in self.growths if one.is_leak]
        unexplained = self.unexplained()
        if not self.requests:
            found.append("no request was answered")
        elif len(unexplained) / self.requests >= error_ratio:
            found.append(f"{len(unexplained)} of {self.requests} requests failed without a fault that explains it")
        return found


def _grown(one: Growth) -> str:
    return f"{one.grown_mib:+.1f} MiB, {one.grown_descriptors:+d} descriptors in {one.minutes:.0f} min"


def markdown(soak: Soak, error_ratio: float) -> str:
    """The report."""
    return "\n".join(_lines(soak, soak.problems(error_ratio))) + "\n"


def _lines(soak: Soak, problems: Sequence[str]) -> Iterator[str]:
    yield "# Soak"
    yield ""
    yield (
        f"{soak.minutes:.1f} minutes, {soak.requests:,} requests, {len(soak.failures)} failed, "
        f"{len(soak.unexplained())} of them without a fault that explains it; "
        f"p95 {soak.p95_ms:.0f} ms, p99 {soak.p99_ms:.0f} ms."
    )
    yield ""
    yield from [f"**Not all right:** {problem}" for problem in problems] or ["**All right.**"]
    yield from [
        "",
        "## Faults",
        "",
        "| fault | times | longest until well again, s | requests failed | may cost requests |",
    ]
    yield "|---|---:|---:|---:|---|"
    for name, faults in _by_name(soak.faults).items():
        longest = max(fault.recovered_s - fault.at_s for fault in faults)
        failed = sum(1 for failure in soak.failures if (f := blamed(failure, soak.faults)) and f.name == name)
        yield f"| {name} | {len(faults)} | {longest:.1f} | {failed} | {'yes' if faults[0].may_cost else 'no'} |"
    yield f"| (none) | | | {sum(1 for failure in soak.failures if blamed(failure, soak.faults) is None)} | no |"
    if soak.failures:
        yield from ["", "## What failed", "", "| fault | request | error | times |", "|---|---|---|---:|"]
        for (fault_name, request, error), count in _kinds(soak):
            yield f"| {fault_name} | {request} | {error} | {count} |"
    yield from ["", "## Processes", ""]
    yield "| process | pid | watched, min | resident, MiB | grown, MiB | descriptors | grown |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for one in soak.growths:
        yield (
            f"| {one.name} | {one.pid} | {one.minutes:.1f} | {one.resident_mib:.1f} | {one.grown_mib:+.1f} "
            f"| {one.descriptors} | {one.grown_descriptors:+d} |"
        )
    short = [f"{life.name} ({life.pid})" for life in soak.lives if growth(life) is None]
    if short:
        yield from ["", f"Too short to judge: {', '.join(short)}."]


def _kinds(soak: Soak, most: int = 20) -> list[tuple[tuple[str, str, str], int]]:
    """The most frequent kinds of failure, with the fault that each belongs to."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for failure in soak.failures:
        fault = blamed(failure, soak.faults)
        counts[fault.name if fault else "(none)", failure.name, _short(failure.error)] += 1
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]


def _short(error: str) -> str:
    """Without what differs from one to the next, and fit for a cell of a table."""
    return re.sub(r"0x[0-9a-f]+|\bport=\d+", "...", error).replace("|", "/")[:120]


def _by_name(faults: Sequence[Injected]) -> Mapping[str, list[Injected]]:
    found: dict[str, list[Injected]] = {}
    for fault in faults:
        found.setdefault(fault.name, []).append(fault)
    return found
