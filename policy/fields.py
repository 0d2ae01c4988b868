"""Which members of a document a step means: by name, by the end of their path, or by JSONPath (RFC 9535)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from policy.json_path import Query
from policy.redaction import FieldPath, field_path

_ANYWHERE = re.compile(r"\$\.\.([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True, slots=True)
class Fields:
    """Several patterns; a member is meant if one of them means it."""

    names: frozenset[str]
    """At any depth."""
    paths: tuple[FieldPath, ...]
    """Ends of paths with more than one name."""
    queries: tuple[Query, ...]

    @property
    def last_names(self) -> frozenset[str] | None:
        """One of them is the name of everything that is meant; None: nothing is known about names."""
        last = [path.names[-1] for path in self.paths]
        if self.queries or None in last:
            return None
        return self.names.union(name for name in last if name is not None)


def fields(texts: Iterable[str]) -> Fields:
    """
    Raises:
        ValueError: one of them names nothing.
    """
    names: set[str] = set()
    paths: list[FieldPath] = []
    queries: list[Query] = []
    for text in texts:
        anywhere = _ANYWHERE.fullmatch(text)
        if anywhere is not None:
            names.add(anywhere[1])
        elif text.startswith("$"):
            queries.append(Query(text))
        else:
            path = field_path(text)
            if len(path.names) == 1 and path.names[0] is not None:
                names.add(path.names[0])
            else:
                paths.append(path)
    return Fields(frozenset(names), tuple(paths), tuple(queries))
