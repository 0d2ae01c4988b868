"""`${NAME}`, `${NAME:-default}`, `${file:/path}` and `$${` in the values of a tree.

Filled after parsing, in one value at a time and never in keys, so that no variable can add a key or change the shape
of the file.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import is_
from posixpath import join
from typing import Protocol

from control_plane.config.faults import Fault, Path
from control_plane.config.tree import Entry, Items, Keys, Node, Text

_PLACEHOLDER = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


class Reader(Protocol):
    """Gives the content of a file or raises OSError."""

    def read(self, path: str) -> bytes: ...


@dataclass(slots=True)
class Filling:
    """Fills trees from one environment; collects faults and the files it read."""

    environment: Mapping[str, str]
    files: Reader
    faults: list[Fault] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    _failed: list[Path] = field(default_factory=list)

    def filled(self, root: Keys, folder: str) -> tuple[Keys, Sequence[Path]]:
        """Return the tree with every value filled, and the paths of those that could not be.

        Args:
            root: the root of one file.
            folder: of that file; relative names of files start there.
        """
        self._failed = []
        entries = {
            key: entry._replace(value=self._node(entry.value, (key,), folder)) for key, entry in root.entries.items()
        }
        return replace(root, entries=entries), self._failed

    def _node(self, node: Node, path: Path, folder: str) -> Node:
        """The very same node if there is nothing to fill in."""
        if isinstance(node, Text):
            return self._text(node, path, folder) if "${" in node.text else node
        if isinstance(node, Items):
            items = tuple(self._node(item, (*path, place), folder) for place, item in enumerate(node.items))
            return node if all(map(is_, items, node.items)) else replace(node, items=items)
        values = {key: self._node(entry.value, (*path, key), folder) for key, entry in node.entries.items()}
        if all(values[key] is entry.value for key, entry in node.entries.items()):
            return node
        entries = {key: Entry(entry.key_at, values[key]) for key, entry in node.entries.items()}
        return replace(node, entries=entries)

    def _text(self, node: Text, path: Path, folder: str) -> Text:
        problems: list[str] = []

        def value(match: re.Match[str]) -> str:
            if match[0] == "$${":
                return "${"
            if not match[2]:
                problems.append("`${` without its `}` (write $${ for a literal ${)")
                return ""
            return self._value(match[1], folder, problems)

        text = _PLACEHOLDER.sub(value, node.text)
        if problems:
            self.faults += [Fault.at(node.at, path, problem) for problem in dict.fromkeys(problems)]
            self._failed.append(path)
        return Text(node.at, text)

    def _value(self, inside: str, folder: str, problems: list[str]) -> str:
        if inside.startswith("file:"):
            return self._content(join(folder, inside.removeprefix("file:")), problems)
        match = _VARIABLE.fullmatch(inside)
        if match is None:
            problems.append(f"${{{inside}}} names no variable (${{NAME}}, ${{NAME:-default}} or ${{file:/path}})")
            return ""
        name, default = match[1], match[2]
        value = self.environment.get(name)
        if default is not None:
            return value or default
        if value is None:
            close = difflib.get_close_matches(name, self.environment, 1, 0.8)
            hint = f"did you mean {close[0]}? " if close else ""
            problems.append(f"the variable {name} is not set ({hint}set it, or give a default: ${{{name}:-...}})")
        return value or ""

    def _content(self, path: str, problems: list[str]) -> str:
        self.read.append(path)
        try:
            content = self.files.read(path).decode()
        except OSError as error:
            problems.append(f"cannot read {path}: {error.strerror or error}")
        except UnicodeDecodeError:
            problems.append(f"{path} is not UTF-8 text")
        else:
            return content.removesuffix("\n").removesuffix("\r")
        return ""
