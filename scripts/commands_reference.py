"""Write docs/reference/commands.md from what --help says; a test compares them."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import typer

CHECKOUT = Path(__file__).resolve().parent.parent
TARGET = CHECKOUT / "docs" / "reference" / "commands.md"
_GATEWAYCTL = (sys.executable, "-c", "from control_plane.cli import main; main()")
_HEAD = """# Commands

Generated from `--help` (`make reference`). Every command exits with 0 on success, 1 on failure and 2 on bad usage or a
bad configuration; what stands in `[env var: ...]` or `[GATEWAY_...]` is the variable that does the same as the flag.
"""


def reference() -> str:
    """The whole document."""
    shown = list(_commands())
    with ThreadPoolExecutor(2) as pool:
        helps = pool.map(lambda entry: _help(entry[1]), shown)
    sections = [f"## {title}\n\n```text\n{text}\n```\n" for (title, _), text in zip(shown, helps, strict=True)]
    return "\n".join([_HEAD, *sections])


def _commands() -> Iterator[tuple[str, Sequence[str]]]:
    """Title and how it is called."""
    from control_plane.cli.app import app

    for words in _words(typer.main.get_command(app), ()):
        yield " ".join(("gatewayctl", *words)), (*_GATEWAYCTL, *words)
    for process in ("control_plane", "ext_authz", "ext_proc"):
        yield f"python -m {process}", (sys.executable, "-m", process)
    yield "python -m control_plane --role analytics", (sys.executable, "-m", "control_plane", "--role", "analytics")


class _Command(Protocol):
    """One of typer's; typer brings its own copy of click."""

    hidden: bool


def _words(command: _Command, before: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if not command.hidden:
        yield before
        for name, below in getattr(command, "commands", {}).items():
            yield from _words(below, (*before, name))


def _help(command: Sequence[str]) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "DEMO_"))}
    plain = {**kept, "TYPER_USE_RICH": "0", "COLUMNS": "100", "NO_COLOR": "1"}
    text = subprocess.run(
        [*command, "--help"], cwd=CHECKOUT, env=plain, capture_output=True, text=True, check=True
    ).stdout
    lines = text.replace("Usage: -c ", "Usage: gatewayctl ").replace(
        "Usage: python -m control_plane ", "Usage: python -m control_plane "
    )
    return "\n".join(line.rstrip() for line in lines.strip().splitlines())


if __name__ == "__main__":
    TARGET.write_text(reference())
    print(TARGET)
