"""Paths with parameters: `/api/users/{id}`, `/files/{rest*}`, and those of OpenAPI."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

_PARAMETER = re.compile(r"\{([^{}/]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class PathTemplate:
    """A path of which some parts have names; it stands for the whole path, not for a beginning of it."""

    text: str
    names: tuple[str, ...]
    pattern: re.Pattern[str]

    def match(self, path: str) -> dict[str, str] | None:
        """The parameters' values without percent-encoding, or None for a path of another form.

        Args:
            path: without query. Octets that are not UTF-8 become U+FFFD.
        """
        found = self.pattern.fullmatch(path)
        if found is None:
            return None
        return {name: unquote(value) for name, value in zip(self.names, found.groups(), strict=True)}


def path_template(text: str, *, open_end: bool = True) -> PathTemplate:
    """
    Args:
        open_end: whether the last segment may be `{name*}`, which takes all that is left, nothing included.

    Raises:
        ValueError: no path, or a parameter without a name or of a name that is there already.
    """
    if not text.startswith("/"):
        raise ValueError(f"{text!r} is not a path template (/api/users/{{id}})")
    names: list[str] = []
    pattern = ""
    position = 0
    for parameter in _PARAMETER.finditer(text):
        name = parameter[1]
        rest = name.endswith("*")
        if rest:
            name = name[:-1]
            if not open_end or parameter.end() != len(text) or text[parameter.start() - 1] != "/":
                raise ValueError(f"{parameter[0]!r} has to be the last segment")
        if not _NAME.fullmatch(name):
            raise ValueError(f"{parameter[0]!r} is not a parameter ({{name}}: letters, digits, _ - .)")
        if name in names:
            raise ValueError(f"{parameter[0]!r} is there twice")
        following = text[parameter.end() : parameter.end() + 1]
        if following == "{":
            raise ValueError(f"{parameter[0]!r} has to be separated from what follows it")
        names.append(name)
        # Without what ends it a value is found in one way only, and so in linear time.
        value = "(.*)" if rest else f"([^/{re.escape(following)}]+)"
        pattern += re.escape(text[position : parameter.start()]) + value
        position = parameter.end()
    literal = text[position:]
    if "{" in literal or "}" in literal:
        raise ValueError(f"{text!r} has a brace without its other half")
    return PathTemplate(text, tuple(names), re.compile(pattern + re.escape(literal), re.DOTALL))
