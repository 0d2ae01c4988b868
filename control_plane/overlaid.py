"""A large immutable mapping with a few values replaced, without copying it."""

from collections.abc import Iterator, Mapping
from typing import TypeVar

V = TypeVar("V")

_MOST = 128
"""Replaced values before everything is copied once: a copy of all is then spread over so many changes."""


class Overlaid(Mapping[str, V]):
    """The keys, and their order, are those of the base."""

    __slots__ = ("base", "over")

    def __init__(self, base: Mapping[str, V], over: Mapping[str, V]) -> None:
        self.base = base
        self.over = over

    def __getitem__(self, key: str) -> V:
        return self.over[key] if key in self.over else self.base[key]

    def __contains__(self, key: object) -> bool:
        return key in self.base

    def __iter__(self) -> Iterator[str]:
        return iter(self.base)

    def __len__(self) -> int:
        return len(self.base)


def with_values(mapping: Mapping[str, V], values: Mapping[str, V]) -> Mapping[str, V]:
    """`mapping` with these values instead of its own; keys that it does not have come last."""
    base, over = (mapping.base, mapping.over) if isinstance(mapping, Overlaid) else (mapping, {})
    if len(over) + len(values) <= _MOST and all(key in base for key in values):
        return Overlaid(base, {**over, **values})
    return {**mapping, **values}
