"""Numbers as people read them, pages of tables, and what of a page has changed."""

import pytest

from control_plane.dashboard import wording
from control_plane.dashboard.charts import nice_ceiling
from control_plane.dashboard.paging import Query, paged
from control_plane.dashboard.rendering import parts, slug, update


@pytest.mark.parametrize(
    ("per_second", "expected"),
    [(None, "–"), (0, "0"), (0.02, "0.02"), (4.06, "4.1"), (318.4, "318"), (2083.0, "2,083"), (12_400.0, "12.4 k")],
)
def test_rates(per_second: float | None, expected: str) -> None:
    """Three digits that say something."""
    assert expected == wording.rate(per_second)


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (None, "–"),
        (0.0, "0 %"),
        (0.00001, "< 0.01 %"),
        (0.0123, "1.2 %"),
        (0.52, "52 %"),
        (0.9999, "99.9 %"),
        (1.0, "100 %"),
    ],
)
def test_percentages_are_never_0_for_something_nor_100_for_not_all(ratio: float | None, expected: str) -> None:
    """One error in a million is not none."""
    assert expected == wording.percent(ratio)


def test_ages_have_two_units() -> None:
    """As the browser counts on by itself."""
    assert ["0 s", "1 min 5 s", "3 h 12 min", "2 d"] == [wording.age(s) for s in (-1, 65, 11_520, 172_800)]


def test_axes_end_at_round_numbers() -> None:
    """1, 2 or 5 times a power of ten."""
    assert [1.0, 1.0, 2.0, 50.0, 0.5] == [nice_ceiling(value) for value in (0, 1, 1.3, 42, 0.3)]


def test_nonsense_in_a_query_is_left_aside() -> None:
    """A page is shown all the same."""
    query = Query.of({"page": "-3", "sort": "-nothing", "q": " Two ", "state": "none"})
    page = paged(["one", "two"], query, words=str, states=lambda _: frozenset({"none"}), orders={"name": str})

    assert (1, ["two"], 1, 2) == (query.page, list(page.rows), page.found, page.total)
    assert "/x?q=two&state=none&sort=-nothing&page=2" == query.link("/x", page=2)


def test_ages_alone_are_no_change() -> None:
    """The browser counts them on."""
    template = (
        '<!--part a--><p id="a"><time data-age="1">{}</time>{}</p><!--end--><!--part b--><p id="b"></p><!--end-->'
    )
    known = parts(template.format("5 s", "x"))

    assert None is update(known, template.format("7 s", "x"))[1]
    changed = update(known, template.format("7 s", "y"))[1]
    assert changed is not None
    assert ["a"] == list(changed.parts)
    other = update(known, template.format("7 s", "x").replace("part b", "part c"))[1]
    assert other is not None
    assert other.whole


def test_ids_are_ids_whatever_the_name() -> None:
    """And two names never share one."""
    assert "s-shop-users" == slug("s", "shop", "users")
    assert slug("s", 'a"b') != slug("s", "a'b")
    assert slug("s", "a b").startswith("x-")
