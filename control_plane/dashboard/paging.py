"""Filter, order and page of a long table, from the query of its URL; anything that is not understood is left aside."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

PAGE_SIZE = 50
_LONGEST = 200
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Query:
    """What was asked for."""

    gateway: str = ""
    """"" is all of them."""
    text: str = ""
    """Lower case; every word has to be in a row."""
    state: str = ""
    sort: str = ""
    """A column; "-" before it turns the order around."""
    page: int = 1

    @classmethod
    def of(cls, parameters: Mapping[str, str]) -> "Query":
        number = parameters.get("page", "")
        return cls(
            parameters.get("gateway", "")[:_LONGEST],
            parameters.get("q", "").strip().lower()[:_LONGEST],
            parameters.get("state", "")[:_LONGEST],
            parameters.get("sort", "")[:_LONGEST],
            int(number) if number.isascii() and number.isdigit() and 0 < len(number) < 7 else 1,
        )

    def link(self, path: str, **changed: str | int) -> str:
        """The same with something changed; the first page unless that is said."""
        values = {"gateway": self.gateway, "q": self.text, "state": self.state, "sort": self.sort, "page": 1, **changed}
        kept = {name: value for name, value in values.items() if value not in ("", 1)}
        return f"{path}?{urlencode(kept)}" if kept else path


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """The rows that are shown, and where they stand."""

    rows: Sequence[T]
    query: Query
    found: int
    """Rows that fit the filter."""
    total: int
    number: int
    pages: int

    @property
    def first(self) -> int:
        return min(self.found, (self.number - 1) * PAGE_SIZE + 1)

    @property
    def last(self) -> int:
        return min(self.found, self.number * PAGE_SIZE)


def paged(
    rows: Sequence[T],
    query: Query,
    *,
    words: Callable[[T], str],
    states: Callable[[T], frozenset[str]],
    orders: Mapping[str, Callable[[T], Any]],
) -> Page[T]:
    """
    Args:
        words: the text of a row that the filter looks into.
        states: what a row is, for the filter by state.
        orders: what rows are sorted by, by column.
    """
    wanted = query.text.split()
    found = [
        row
        for row in rows
        if (not query.state or query.state in states(row)) and all(word in words(row).lower() for word in wanted)
    ]
    order = orders.get(query.sort.removeprefix("-"))
    if order is not None:
        found.sort(key=order, reverse=query.sort.startswith("-"))
    pages = max(1, -(-len(found) // PAGE_SIZE))
    number = min(query.page, pages)
    return Page(found[(number - 1) * PAGE_SIZE : number * PAGE_SIZE], query, len(found), len(rows), number, pages)
