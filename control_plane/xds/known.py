"""What a client has and wants, as a deviation from what is served.

A client that has everything costs nothing per resource: it shares the mapping of a snapshot with all others. A dict of
its own for each stream would be megabytes with ten thousand clusters. No I/O, no clock.
"""

from collections.abc import Iterable, Iterator, Mapping, MutableSet

from control_plane.snapshot import Resource, ResourceMap

_FEW = 64
"""So many deviations are not worth a look at everything."""


class Known:
    """Resource by name; names of the base that the client does not have count as deviations too."""

    __slots__ = ("_base", "_look_at", "_over")

    def __init__(self) -> None:
        self._base: ResourceMap = {}
        self._over: dict[str, Resource | None] = {}
        """None: the base has it and the client does not."""
        self._look_at = _FEW

    def get(self, name: str) -> Resource | None:
        over = self._over
        return over[name] if name in over else self._base.get(name)

    def __setitem__(self, name: str, resource: Resource) -> None:
        self._over[name] = resource

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __iter__(self) -> Iterator[str]:
        over = self._over
        for name in self._base:
            if name not in over:
                yield name
        for name, resource in over.items():
            if resource is not None:
                yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def discard(self, name: str) -> None:
        if name in self._base:
            self._over[name] = None
        else:
            self._over.pop(name, None)

    def replace(self, resources: Iterable[Resource]) -> None:
        """Exactly these from now on."""
        self._base, self._over = {}, {resource.name: resource for resource in resources}

    def settle_on(self, served: ResourceMap) -> None:
        """Keep only what differs from `served`, if there has come to be much to keep.

        It looks at everything, but only when the deviations have grown by a part of everything: their cost stays
        proportional to the changes.
        """
        if len(self._over) < self._look_at:
            return
        over: dict[str, Resource | None] = {}
        for name, resource in served.items():
            known = self.get(name)
            if known is None or known.version != resource.version:
                over[name] = known
        over.update((name, self.get(name)) for name in self if name not in served)
        if len(over) < len(self._over):
            self._base, self._over = served, over
        self._look_at = _FEW + 2 * len(self._over) + len(served) // 32


class Names(MutableSet[str]):
    """A set of names that is most of a mapping's keys."""

    __slots__ = ("_base", "_extra", "_look_at", "_missing")

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._base: Mapping[str, object] = {}
        self._missing: set[str] = set()
        self._extra = set(names)
        self._look_at = _FEW

    @classmethod
    def _from_iterable(cls, it: Iterable[str]) -> "Names":  # type: ignore[override] # what operators return
        return cls(it)

    def __contains__(self, name: object) -> bool:
        return name in self._extra or (name in self._base and name not in self._missing)

    def __iter__(self) -> Iterator[str]:
        yield from self._extra
        for name in self._base:
            if name not in self._missing:
                yield name

    def __len__(self) -> int:
        return len(self._extra) + len(self._base) - len(self._missing)

    def add(self, value: str) -> None:
        if value in self._base:
            self._missing.discard(value)
        else:
            self._extra.add(value)

    def discard(self, value: str) -> None:
        if value in self._base:
            self._missing.add(value)
        else:
            self._extra.discard(value)

    def settle_on(self, served: ResourceMap) -> None:
        """As `Known.settle_on`."""
        size = len(self._extra) + len(self._missing)
        if size < self._look_at:
            return
        missing = {name for name in served if name not in self}
        extra = {name for name in self if name not in served}
        if len(missing) + len(extra) < size:
            self._base, self._missing, self._extra = served, missing, extra
        self._look_at = _FEW + 2 * (len(self._extra) + len(self._missing)) + len(served) // 32
