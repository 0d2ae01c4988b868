"""What this version reads and checks, but does not act upon yet: the one table, shortened as features land."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from control_plane.config.faults import Path
from control_plane.config.model.gateway import Gateway


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing that does not happen yet."""

    what: str
    """Continues "not enforced yet: "."""
    used: Callable[[Gateway], Iterable[Path]]
    """Where a configuration asks for it."""


NOT_ENFORCED: tuple[Feature, ...] = ()
