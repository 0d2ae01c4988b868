"""What is measured, in which order, and what one measurement is."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.performance.load import Generator, Load
from tests.performance.processes import BenchError
from tests.performance.stand import Stand, Target


@dataclass(frozen=True, slots=True)
class Case:
    """One variant under load."""

    name: str
    title: str
    """For the report."""
    target: Callable[[Stand], Target]


@dataclass(frozen=True, slots=True)
class Sample:
    """One short run of one case."""

    case: str
    load: Load
    cpu_us: Mapping[str, float]
    """Microseconds of user and system time per request, by the program's role (envoy, callout)."""


CASES = (
    Case("plain", "Envoy as a plain proxy", lambda stand: stand.plain()),
    Case("jwt_authn", "Envoy with its own jwt_authn filter (HS256)", lambda stand: stand.jwt_authn()),
    Case("no_callout", "gateway, route without callout", lambda stand: stand.no_callout()),
    Case("authz_empty", "gateway, empty ext_authz handler of grpc.aio", lambda stand: stand.authz("empty_grpcio")),
    Case("authz_floor", "gateway, empty ext_authz on our transport", lambda stand: stand.authz("empty_own")),
    Case("authz", "gateway, our ext_authz: cached token, one limit", lambda stand: stand.authz("ours")),
    Case("proc_empty", "gateway, empty ext_proc handler of grpc.aio (1 KiB)", lambda stand: stand.proc("empty_grpcio")),
    Case("proc_floor", "gateway, empty ext_proc on our transport (1 KiB)", lambda stand: stand.proc("empty_own")),
    Case("proc", "gateway, our ext_proc: cache hit (1 KiB)", lambda stand: stand.proc("ours")),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often."""

    rounds: int
    seconds: float
    """Of load for one case in one round."""
    connections: int


def choose(names: Sequence[str]) -> tuple[Case, ...]:
    """The cases of these names, in the order of CASES; all for no name.

    Raises:
        BenchError: there is no case of one of the names.
    """
    known = {case.name for case in CASES}
    for name in names:
        if name not in known:
            raise BenchError(f"there is no case {name!r} (there are {', '.join(sorted(known))})")
    return tuple(case for case in CASES if not names or case.name in names)


def order(cases: Sequence[Case], round_number: int) -> Sequence[Case]:
    """Every other round goes backwards: drift of the machine then hits the first and the last case alike."""
    return cases if round_number % 2 == 0 else tuple(reversed(cases))


def measure(stand: Stand, generator: Generator, cases: Sequence[Case], plan: Plan) -> Iterator[Sample]:
    """Yield a sample of each case in each round, after one run of each that does not count."""
    targets = {case.name: case.target(stand) for case in cases}
    for target in targets.values():
        generator.run(target.url, target.headers, connections=plan.connections, duration_s=1)
    for round_number in range(plan.rounds):
        for case in order(cases, round_number):
            yield sample(case.name, targets[case.name], generator, plan)


def sample(case: str, target: Target, generator: Generator, plan: Plan) -> Sample:
    """Load one target; a run in which a request failed is no measurement and is repeated.

    Raises:
        BenchError: requests failed in every attempt.
    """
    for _ in range(_ATTEMPTS):
        before = {role: program.cpu_seconds() for role, program in target.programs.items()}
        load = generator.run(target.url, target.headers, connections=plan.connections, duration_s=plan.seconds)
        if load.requests and not load.failures:
            return Sample(case, load, {role: _cpu_us(role, target, before, load) for role in target.programs})
    raise BenchError(f"{case}: {load.failures} of {load.requests} requests failed, {_ATTEMPTS} times in a row")


_ATTEMPTS = 3


def _cpu_us(role: str, target: Target, before: Mapping[str, float], load: Load) -> float:
    return (target.programs[role].cpu_seconds() - before[role]) * 1e6 / load.requests
