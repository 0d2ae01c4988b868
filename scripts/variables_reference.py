"""Write the table of flags and variables into docs/operations/deployment.md, from docs/reference/commands.md.

That page is what --help prints (scripts/commands_reference.py), so a new flag is in both after `make reference`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
COMMANDS = DOCS / "reference" / "commands.md"
TARGET = DOCS / "operations" / "deployment.md"
BEGIN = "<!-- flags and variables: written by make reference -->"
END = "<!-- end of flags and variables -->"
_SECTION = re.compile(r"^## (.+?)\n+```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_OPTION = re.compile(r"^  (?:-\w, )?(?:-\w \S+, )?--([a-z][\w-]*)", re.MULTILINE)
_CLICK = re.compile(r"\[env var: (\w+)(?:; default: ([^;\]]*))?(?:; [^\]]*)?\]")
_CLICK_DEFAULT = re.compile(r"\[default: ([^;\]]*)(?:; [^\]]*)?\]")
_ARGPARSE = re.compile(r"\[([A-Z]\w+); ([^\]]*)\]")


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag of one command."""

    name: str
    variable: str
    default: str
    text: str


def commands(reference: str) -> Iterator[tuple[str, list[Flag]]]:
    """Each process, and each command with variables, with its flags."""
    for title, text in _SECTION.findall(reference):
        flags = [flag(option) for option in _options(text)]
        if title.startswith("python -m ") or any(one.variable for one in flags):
            yield title, [one for one in flags if one.name != "help"]


def _options(text: str) -> Iterator[str]:
    """The block of each option, on one line."""
    starts = [found.start() for found in _OPTION.finditer(text)]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        block = text[start:end].partition("\n\n")[0]
        yield " ".join(block.split())


def flag(option: str) -> Flag:
    """`--drain DRAIN seconds ... [GATEWAY_AUTHZ_DRAIN; 10.0]` and what click prints, alike."""
    found = re.match(r"(?:-\w(?: \S+)?, )?(--[\w-]+)", option)
    assert found is not None, option
    variable, default = "", ""
    if (told := _CLICK.search(option)) or (told := _ARGPARSE.search(option)):
        variable, default = told[1], told[2] or ""
    elif told := _CLICK_DEFAULT.search(option):
        default = told[1]
    text = option[: told.start()] if told else option
    if not default and re.search(r"\brequired\]", option):
        default = "required"
    return Flag(found[1].removeprefix("--"), variable, default.strip(), _meaning(text.replace("[required]", "")))


def _meaning(option: str) -> str:
    """Without names and placeholders: `--x, --no-x`, `<int range>`, `DRAIN`, `{a,b}`."""
    words = re.sub(r"^(?:-\w(?: [A-Z_]+)?, )?--[\w-]+(?:,? ?/? ?--[\w-]+)?", "", option)
    return re.sub(r"^\s*(?:<[^>]*(?:\[[^\]]*\])?>|[A-Z][A-Z_]+|\{[^}]*\})?\s*", "", words).strip()


def table(reference: str) -> str:
    """Markdown, a table for each command."""
    return "\n".join(_lines(reference))


def _lines(reference: str) -> Iterator[str]:
    for title, flags in commands(reference):
        yield from ("", f"### {title}", "", "| flag | variable | default | meaning |", "|---|---|---|---|")
        for one in flags:
            cells = (f"`--{one.name}`", _code(one.variable), _code(one.default), one.text.replace("|", "\\|"))
            yield f"| {' | '.join(cells)} |"
    yield ""


def _code(text: str) -> str:
    return f"`{text}`" if text and text != "empty" else ""


def completed(page: str, reference: str) -> str:
    """The page with the table of today."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{table(reference)}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    TARGET.write_text(completed(TARGET.read_text(), COMMANDS.read_text()))
    print(TARGET)
