"""What a soak makes of what it has seen."""

from collections.abc import Sequence

import pytest

from tests.performance.soak_report import MIB, Failure, Injected, Life, Sample, Soak, blamed, growth, markdown

QUIET = Injected("an edit", 10.0, 11.0, may_cost=False)
KILL = Injected("a kill", 20.0, 25.0, may_cost=True)


def life(resident_mib: Sequence[float], descriptors: Sequence[int]) -> Life:
    samples = tuple(
        Sample(float(at), int(mib * MIB), count)
        for at, (mib, count) in enumerate(zip(resident_mib, descriptors, strict=True))
    )
    return Life("ext_authz", 7, samples)


def soak(failures: Sequence[Failure] = (), lives: Sequence[Life] = (), requests: int = 1000) -> Soak:
    return Soak(1.0, requests, 10.0, 20.0, tuple(failures), (QUIET, KILL), tuple(lives))


def test_what_a_start_costs_is_no_growth() -> None:
    """The first quarter of a life does not count."""
    found = growth(life([10, 20, 30, 40] + [80] * 12, [5] * 16))

    assert found is not None
    assert (0.0, 0, False) == (found.grown_mib, found.grown_descriptors, found.is_leak)


@pytest.mark.parametrize(
    ("resident_mib", "descriptors", "leaks"),
    [
        ([50 + 4 * n for n in range(16)], [5] * 16, True),
        ([500 + 4 * n for n in range(16)], [5] * 16, False),  # 10 %: a cache that fills
        ([50 + n for n in range(16)], [5] * 16, False),  # 12 MiB
        ([50] * 16, [5 + 3 * n for n in range(16)], True),
        ([50] * 16, [5 + n for n in range(16)], False),
    ],
)
def test_growth(resident_mib: Sequence[float], descriptors: Sequence[int], leaks: bool) -> None:
    """Much memory, absolutely and relatively, or many descriptors."""
    found = growth(life(resident_mib, descriptors))

    assert found is not None
    assert leaks == found.is_leak
    assert leaks == bool(soak(lives=[life(resident_mib, descriptors)]).problems(0.005))


def test_a_short_life_is_not_judged() -> None:
    """It is named instead."""
    short = life([50.0] * 3, [5] * 3)

    assert growth(short) is None
    assert "Too short to judge: ext_authz (7)." in markdown(soak(lives=[short]), 0.005)


@pytest.mark.parametrize(
    ("at_s", "fault"), [(9.0, None), (10.5, QUIET), (12.5, QUIET), (15.0, None), (20.0, KILL), (27.5, None)]
)
def test_whom_a_failure_is_blamed_on(at_s: float, fault: Injected | None) -> None:
    """From the injection until all was well, and the requests that were still out."""
    assert fault == blamed(Failure(at_s, "read", "status 503"), (QUIET, KILL))


def test_failures_that_a_fault_explains_are_no_problem() -> None:
    """Those of a fault that nobody should notice are, as are those without any."""
    explained = [Failure(22.0, "read", "status 503")] * 100
    others = [Failure(10.5, "read", "status 503")] * 4 + [Failure(40.0, "read", "status 500")]

    assert [] == soak(explained).problems(0.005)
    assert ["5 of 1000 requests failed without a fault that explains it"] == soak(explained + others).problems(0.005)
    assert ["no request was answered"] == soak(requests=0).problems(0.005)


def test_report() -> None:
    """Every fault with its failures, every kind of failure, every process."""
    failures = [Failure(22.0, "read", "at 0x7f1: a|b")] * 2
    text = markdown(soak(failures, [life([50.0] * 16, [5] * 16)]), 0.005)

    assert "**All right.**" in text
    assert "| a kill | 1 | 5.0 | 2 | yes |" in text
    assert "| an edit | 1 | 1.0 | 0 | no |" in text
    assert "| a kill | read | at ...: a/b | 2 |" in text
    assert "| ext_authz | 7 | 0.2 | 50.0 | +0.0 | 5 | +0 |" in text
