"""Texts that a request fills in: `/tenants/{claim:tenant}/users/{path:id}`.

Braces around anything else than one of the KINDS are text; `{{request_id}}` is the text `{request_id}`.
"""

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass

PLAIN_KINDS = ("request_id", "route")
NAMED_KINDS = ("claim", "header", "path", "query")
KINDS = (*PLAIN_KINDS, *(f"{kind}:NAME" for kind in NAMED_KINDS))

_VARIABLE = re.compile(r"\{\{([a-z_]+(?::[^{}]*)?)\}\}|\{([a-z_]+(?::[^{}]*)?)\}")


@dataclass(frozen=True, slots=True)
class Variable:
    """One thing that a request fills in."""

    kind: str
    name: str = ""
    """Of a claim, header (lower case), parameter of the path or of the query."""


@dataclass(frozen=True, slots=True)
class Template:
    """Text and variables in turn."""

    parts: tuple[str | Variable, ...]

    @property
    def is_literal(self) -> bool:
        return all(isinstance(part, str) for part in self.parts)

    @property
    def variables(self) -> tuple[Variable, ...]:
        return tuple(part for part in self.parts if isinstance(part, Variable))

    def render(self, value_of: Callable[[Variable], str | None]) -> str | None:
        """The text, or None if a variable has no value."""
        texts: list[str] = []
        for part in self.parts:
            text = part if type(part) is str else value_of(part)  # type: ignore[arg-type]  # the other half of the union
            if text is None:
                return None
            texts.append(text)
        return "".join(texts)


def template(text: str) -> Template:
    """
    Raises:
        ValueError: a variable of no known kind, or without its name.
    """
    parts: list[str | Variable] = []
    position = 0
    for found in _VARIABLE.finditer(text):
        parts.append(text[position : found.start()])
        parts.append("{" + found[1] + "}" if found[1] is not None else _variable(found[2]))
        position = found.end()
    parts.append(text[position:])
    return Template(_joined(parts))


def _variable(text: str) -> Variable:
    kind, colon, name = text.partition(":")
    if not colon and kind in PLAIN_KINDS:
        return Variable(kind)
    if colon and name and kind in NAMED_KINDS:
        return Variable(kind, name.lower() if kind == "header" else name)
    if kind in NAMED_KINDS:
        raise ValueError(f"{{{text}}} lacks a name ({{{kind}:NAME}})")
    close = difflib.get_close_matches(kind, (*PLAIN_KINDS, *NAMED_KINDS), 1, 0.6)
    hint = f"did you mean {{{close[0]}{':NAME' if close[0] in NAMED_KINDS else ''}}}?" if close else _known()
    raise ValueError(f"{{{text}}} is not known here ({hint}; {{{{{text}}}}} is the text itself)")


def _known() -> str:
    return ", ".join(f"{{{kind}}}" for kind in KINDS)


def _joined(parts: list[str | Variable]) -> tuple[str | Variable, ...]:
    joined: list[str | Variable] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        elif part != "":
            joined.append(part)
    return tuple(joined)
