"""Where rules leave what they find, and what they may ask about the file."""

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from control_plane.config.effective import EffectiveRoute
from control_plane.config.faults import Fault, Path
from control_plane.config.model.gateway import Gateway
from control_plane.config.tree import Items, Keys, Text, locate


@dataclass(frozen=True, slots=True)
class Declared:
    """Every name that the file declares, those of faulty entries included: a reference to one of these is no fault."""

    services: frozenset[str]
    limits: frozenset[str]
    methods: frozenset[str]
    """`jwt.NAME`, `api_keys.NAME`, `signatures.NAME`."""
    listeners: frozenset[str]

    @classmethod
    def of(cls, root: Keys) -> "Declared":
        """Collect the names of a tree."""
        methods = (
            f"{kind}.{name}" for kind in ("jwt", "api_keys", "signatures") for name in _keys(root, ("auth", kind))
        )
        return cls(
            services=frozenset(_keys(root, ("services",))),
            limits=frozenset(_keys(root, ("rate_limits",))),
            methods=frozenset(methods),
            listeners=frozenset(_names(root, ("listeners",))),
        )


def _keys(root: Keys, path: Path) -> Iterable[str]:
    place = locate(root, path)
    return place.node.entries if not place.rest and isinstance(place.node, Keys) else ()


def _names(root: Keys, path: Path) -> Iterable[str]:
    place = locate(root, path)
    for item in place.node.items if not place.rest and isinstance(place.node, Items) else ():
        name = locate(item, ("name",))
        if not name.rest and isinstance(name.node, Text):
            yield name.node.text


@dataclass(slots=True)
class Report:
    """Collects faults and warnings, each with its place in the file."""

    tree: Keys
    """The tree that the model was read from."""
    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)
    warned: list[tuple[Path, str]] = field(default_factory=list)
    """Path and message of each warning."""

    def fault(self, path: Path, message: str, *, keys: Collection[str] = ()) -> None:
        """Report a fault at a path of the tree.

        Args:
            path: may end in a key that is not there; then the place is that of what should hold it.
            message: what is wrong (what is allowed).
            keys: keys of the section at `path` that the rule compares. If one of them was cut out of the tree because
                of a fault of its own, the rule would speak of a hole, and nothing is reported.
        """
        if not self._is_hole(path, keys):
            self.faults.append(self.at(path, message))

    def warn(self, path: Path, message: str) -> None:
        """Report something that may be meant, but rarely is."""
        if not self._is_hole(path, ()):
            self.warnings.append(self.at(path, message))
            self.warned.append((path, message))

    def at(self, path: Path, message: str) -> Fault:
        """Return a fault with the place of this path."""
        place = locate(self.tree, path)
        return Fault.at(place.shown_at, (*place.path, *place.rest), message)

    def line(self, path: Path) -> str:
        """`line 7`, or `line 7 of other.yaml` if that is not where most of the file stands."""
        place = locate(self.tree, path)
        file = f" of {place.key_at.file}" if place.key_at.file != self.tree.at.file else ""
        return f"line {place.key_at.line}{file}"

    def is_written(self, path: Path) -> bool:
        """Whether the file has this key, and not just the model a default for it."""
        return not locate(self.tree, path).rest

    def was_cut(self, path: Path) -> bool:
        """Whether something at or below this path was faulty and cut out."""
        parent = locate(self.tree, path[:-1])
        return not parent.rest and isinstance(parent.node, Keys) and path[-1] in parent.node.cut

    def _is_hole(self, path: Path, keys: Collection[str]) -> bool:
        place = locate(self.tree, path)
        if isinstance(place.node, Items) and not place.rest:
            # An empty list that lost its entries is not empty in the file.
            return not place.node.items and self.was_cut(path)
        if not isinstance(place.node, Keys):
            return False
        wanted = set(map(str, place.rest[:1])) if place.rest else set(keys)
        return not place.node.cut.isdisjoint(wanted)


@dataclass(frozen=True, slots=True)
class Check:
    """What every rule gets."""

    gateway: Gateway
    routes: tuple[EffectiveRoute, ...]
    """Of the gateway, in its order."""
    declared: Declared
    report: Report
    now: datetime | None
    """None: nothing is compared with the clock."""

    def known(self, path: Path, name: str, names: Collection[str], what: str) -> bool:
        """Report a reference that leads nowhere."""
        if name in names:
            return True
        self.report.fault(path, f"unknown {what} {name!r} ({closest(name, names)})")
        return False


def closest(name: str, names: Collection[str]) -> str:
    """`did you mean users?`, or the names there are."""
    close = difflib.get_close_matches(name, sorted(names), 1, 0.6)
    if close:
        return f"did you mean {close[0]}?"
    shown = sorted(names)[:10]
    return f"there are: {', '.join(shown)}{', ...' if len(names) > 10 else ''}" if names else "there are none"


def exactly_one(check: Check, path: Path, values: object, keys: Collection[str], suffix: str = "") -> bool:
    """Report a section that has none or several of these keys."""
    given = [key for key in keys if getattr(values, key) is not None]
    if len(given) == 1:
        return True
    wanted = f"exactly one of {', '.join(keys)}{suffix}"
    if given:
        # The second one is the one too many.
        check.report.fault((*path, given[1]), f"cannot stand beside {given[0]} ({wanted})")
    else:
        check.report.fault(path, f"lacks its kind ({wanted})", keys=keys)
    return False


def at_most_one(check: Check, path: Path, values: object, keys: Collection[str]) -> None:
    """Report a section that has several of these keys."""
    given = [key for key in keys if getattr(values, key) is not None]
    for extra in given[1:]:
        check.report.fault((*path, extra), f"cannot stand beside {given[0]} (at most one of {', '.join(keys)})")
