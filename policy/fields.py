"""Which members of a document a step means: by name, by the end of their path, or by JSONPath (RFC 9535)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from jsonpath import JSONPath, JSONPathEnvironment
from jsonpath.exceptions import JSONPathError
from jsonpath.selectors import IndexSelector, NameSelector

from policy.redaction import FieldPath, field_path

_ENVIRONMENT = JSONPathEnvironment(strict=True)
_ANYWHERE = re.compile(r"\$\.\.([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True, slots=True)
class Fields:
    """Several patterns; a member is meant if one of them means it."""

    names: frozenset[str]
    """At any depth."""
    paths: tuple[FieldPath, ...]
    """Ends of paths with more than one name."""
    queries: tuple[JSONPath, ...]

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
    queries: list[JSONPath] = []
    for text in texts:
        anywhere = _ANYWHERE.fullmatch(text)
        if anywhere is not None:
            names.add(anywhere[1])
        elif text.startswith("$"):
            queries.append(query(text))
        else:
            path = field_path(text)
            if len(path.names) == 1 and path.names[0] is not None:
                names.add(path.names[0])
            else:
                paths.append(path)
    return Fields(frozenset(names), tuple(paths), tuple(queries))


def query(text: str) -> JSONPath:
    """
    Raises:
        ValueError: no JSONPath, or one that means the whole document.
    """
    try:
        compiled = _ENVIRONMENT.compile(text)
    except (JSONPathError, RecursionError) as error:
        reason = str(error).partition("\n")[0] or "nested too deeply"
        raise ValueError(f"{text!r} is not a JSONPath: {reason} ($.user.name, $..password, $.items[*].id)") from None
    if not isinstance(compiled, JSONPath):
        raise ValueError(f"{text!r} is several JSONPaths (one for each field)")
    if not compiled.segments:
        raise ValueError(f"{text!r} is the whole document (a member: $.name)")
    return compiled


def steps_of(path: JSONPath) -> tuple[str | int, ...] | None:
    """Names and indices of a path that can mean one member only; None for any other."""
    if not path.singular_query():
        return None
    steps: list[str | int] = []
    for segment in path.segments:
        selector = segment.selectors[0]
        if isinstance(selector, NameSelector):
            steps.append(selector.name)
        elif isinstance(selector, IndexSelector):
            steps.append(selector.index)
        else:
            return None
    return tuple(steps)
