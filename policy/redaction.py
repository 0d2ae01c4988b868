"""Which members of a JSON document a redaction blanks out.

A pattern is a path of member names separated by dots; `*` stands for any one name. A pattern of one name matches at any
depth (`password`), one of several matches where the document's path ends with it (`*.ssn` is any `ssn` inside another
object, `user.card` a `card` directly inside a `user`). Arrays do not count as levels, so that every element of a list
is treated alike.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldPath:
    """The last names of a path, outermost first; None is `*`."""

    names: tuple[str | None, ...]

    def matches(self, path: tuple[str, ...]) -> bool:
        """Whether a member whose path of names is `path` (outermost first) is meant."""
        length = len(self.names)
        if length > len(path):
            return False
        return all(want is None or want == name for want, name in zip(self.names, path[-length:], strict=True))


def field_path(text: str) -> FieldPath:
    """
    Raises:
        ValueError: the text names nothing.
    """
    names = text.removeprefix("$.").split(".")
    if not all(names):
        raise ValueError(f"{text!r} is not a path of JSON members (names separated by dots, * is any name)")
    if names[-1] == "*" and len(names) == 1:
        raise ValueError("'*' would blank out everything")
    return FieldPath(tuple(None if name == "*" else name for name in names))
