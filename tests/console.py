"""Command blocks of the documents: what is typed, what is shown under it, and whether that is what is printed.

A block of kind `console` is executed. A line that begins with `$ ` is a command, the lines under it are its output;
`...` is any text, alone on a line any lines.
"""

import re
from dataclasses import dataclass

ANYTHING = "..."
MARK = "\x1e"
"""Printed between two commands."""
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Step:
    """One command and the lines that it should print."""

    command: str
    expected: tuple[str, ...]


def console_blocks(markdown: str) -> list[str]:
    found: list[str] = _BLOCK.findall(markdown)
    return found


def steps(markdown: str) -> list[Step]:
    """Every `$ command` of the console blocks, with the lines under it."""
    found: list[Step] = []
    for block in console_blocks(markdown):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(Step(line[2:], ()))
            else:
                found[-1] = Step(found[-1].command, (*found[-1].expected, line))
    return found


def script(commands: list[str]) -> str:
    """For one shell, so that variables live on."""
    return "".join(f"printf '{MARK}'\n{command}\n" for command in commands)


def matches(expected: tuple[str, ...], printed: str) -> bool:
    """Whether the output is as shown."""
    patterns = [
        r"(?:.*\n)*?" if line.strip() == ANYTHING else ".*".join(map(re.escape, line.split(ANYTHING))) + "\n"
        for line in expected
    ]
    lines = printed.replace("\r", "")
    if lines and not lines.endswith("\n"):
        lines += "\n"  # a body without one; a page cannot show the difference
    return re.fullmatch("".join(patterns), lines) is not None


def differences(tour: list[Step], printed: str) -> list[str]:
    """Each step that printed something else, with both."""
    outputs = printed.split(MARK)[1:]
    if len(tour) != len(outputs):
        return [f"{len(outputs)} of {len(tour)} commands were executed:\n{printed}"]
    return [
        "\n".join([f"$ {step.command}", "expected:", *step.expected, "printed:", output])
        for step, output in zip(tour, outputs, strict=True)
        if not matches(step.expected, output)
    ]
