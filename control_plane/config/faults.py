"""What is wrong with a configuration, and where."""

from dataclasses import dataclass
from typing import NamedTuple

Path = tuple[str | int, ...]
"""Keys and list indices from the top of the file: ("routes", 2, "match")."""


class Position(NamedTuple):
    """A place in a file; line and column count from 1. Line 0 is the file as a whole."""

    file: str
    line: int
    column: int


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One fault or warning; its text is what an operator reads."""

    file: str
    line: int
    column: int
    path: str
    """`routes[2].match`, "" where no key is concerned."""
    message: str

    @classmethod
    def at(cls, position: Position, path: Path, message: str) -> "Fault":
        """Return a fault of one place."""
        clean = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
        return cls(position.file, position.line, position.column, path_text(path), clean)

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


def path_text(path: Path) -> str:
    """`routes[2].match`; a key that holds a dot or a bracket is quoted."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif not step or any(character in ".[]\"' :" or not character.isprintable() for character in step):
            quoted = step.replace("\\", "\\\\").replace('"', '\\"').encode("unicode_escape").decode()
            text += f'["{quoted}"]'
        else:
            text += f".{step}" if text else step
    return text
