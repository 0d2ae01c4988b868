"""From samples to tables."""

import pytest

from tests.performance.cases import CASES, Plan, Sample, choose, order
from tests.performance.load import Load
from tests.performance.report import Figure, Machine, Timing, document, figure_table, load_table, ratios, summarise

PLAN = Plan(rounds=2, seconds=4, connections=32)
MACHINE = Machine("2026-11-22", "A processor", 2, "6.1", {"Envoy": "1.40.0"}, "wrk, one thread")


def sample_of(case: str, *, requests: int = 1000, callout_us: float = 100.0) -> Sample:
    return Sample(case, Load(requests, 1.0, 0.002, 0.008, 0), {"envoy": 80.0, "callout": callout_us})


def test_summary_is_the_median_of_the_rounds() -> None:
    """One slow round does not move the figure."""
    samples = [sample_of("authz", requests=requests) for requests in (1000, 10, 1100)]

    assert 1000 == summarise(samples).requests_per_s


def test_ratio_is_formed_within_each_round() -> None:
    """A machine that halves its speed between two rounds does not change the ratio."""
    samples = [
        sample_of("authz_empty", callout_us=100),
        sample_of("authz", callout_us=120),
        sample_of("authz", callout_us=240),
        sample_of("authz_empty", callout_us=200),
    ]

    cpu = ratios(samples)[0]

    assert [1.2, 1.2] == cpu.values


def test_ratio_says_whether_its_goal_is_met() -> None:
    """The row of a ratio with a goal ends with the verdict."""
    met = ratios([sample_of("proc_empty"), sample_of("proc", callout_us=130)])
    missed = ratios([sample_of("proc_empty"), sample_of("proc", callout_us=131)])

    assert "| at most 1.30: met |" in figure_table(met)[2]
    assert "| at most 1.30: not met |" in figure_table(missed)[2]


@pytest.mark.parametrize(
    ("figure", "row"),
    [
        (Figure("a", [1.234], at_most=1.2), "| a | 1.23 |  | at most 1.20: not met |"),
        (Figure("b", [0.6, 0.5, 0.4], at_least=0.5), "| b | 0.50 | 0.40 to 0.60 | at least 0.50: met |"),
        (Figure("c", [150.4], " MiB"), "| c | 150 MiB |  |  |"),
    ],
)
def test_rows(figure: Figure, row: str) -> None:
    """What was measured, how far the rounds lie apart, and whether that is enough."""
    assert row == figure.row()


def test_comparisons_need_both_cases() -> None:
    """A case alone yields no ratio."""
    assert [] == ratios([sample_of("authz")])


def test_load_table_has_a_row_a_case() -> None:
    """The rows come in the order of the cases, with the CPU of both processes."""
    cases = choose(["authz"])

    assert ["| gateway, our ext_authz: cached token, one limit | 1,000 | 2.00 | 8.00 | 80.0 | 100.0 |"] == load_table(
        cases, [sample_of("authz")]
    )[2:]


def test_every_other_round_goes_backwards() -> None:
    """Rounds alternate their direction."""
    assert (CASES, tuple(reversed(CASES))) == (order(CASES, 0), order(CASES, 1))


def test_document_names_machine_method_and_date() -> None:
    """A reader learns from the report where, when and how the figures were taken."""
    text = document(choose(["authz"]), [sample_of("authz")], [Timing("load", 1.0)], PLAN, MACHINE)

    for expected in ("2026-11-22", "A processor, 2 cores", "Envoy 1.40.0", "32 connections", "| load | 1.00 |"):
        assert expected in text


def test_document_names_the_pages_beside_it() -> None:
    """Where there are some."""
    one, none = (document((), (), (), PLAN, MACHINE, details) for details in (["xds"], []))

    assert "In detail, each with its goals: [xds](xds.md)." in one
    assert "In detail" not in none
