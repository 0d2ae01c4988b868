"""The documents lead somewhere, name what exists, and their command blocks are either executed or cannot be."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from control_plane.config.loading import load
from scripts import fields_reference, variables_reference
from scripts.docs_hooks import completed, without_links_outside
from scripts.generate_schema import TARGET as SCHEMA
from scripts.site_check import problems
from tests.console import console_blocks
from tests.unit.control_plane.config.documents import MemoryFiles

CHECKOUT = Path(__file__).parents[2]
DOCS = CHECKOUT / "docs"
PAGES = sorted(
    [
        *DOCS.rglob("*.md"),
        *(CHECKOUT / "deploy").rglob("*.md"),
        *CHECKOUT.glob("*.md"),
        *(CHECKOUT / "tests").rglob("*.md"),
    ]
)
CANNOT_RUN = {
    "kubectl": "needs a cluster",
    "prometheus": "make test-full runs it (tests/e2e/test_alerts.py)",
    "make": "runs tests, or for minutes; its targets are checked here",
    "git": "changes the reader's repository",
    "curl": "of a cluster's port",
    ".venv/bin/python": "runs tests",
    "gatewayctl": "of an installed gateway elsewhere; executed in the console blocks of other pages",
}
"""What may begin a line of a `sh` block, and why it is not executed. Whatever can run stands in a `console` block."""
_FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(
    r"^ {4}((?:\.venv/\S+|[./]*scripts/|make|curl|git|kubectl|gatewayctl|python3?|docker|helm|\$)\b.*)$", re.MULTILINE
)
"""Commands without a fence, for which the same holds."""
_LINK = re.compile(r"(?<!\!)\[[^\]\n]*\]\(([^)\s]+)\)")


def name(page: Path) -> str:
    return page.relative_to(CHECKOUT).as_posix()


def prose(markdown: str) -> str:
    """Without code, in which a link is none."""
    return re.sub(r"`[^`\n]*`", "", _FENCE.sub("", markdown))


def fences(page: Path, *kinds: str) -> Iterator[str]:
    yield from (body for kind, body in _FENCE.findall(page.read_text()) if kind in kinds)


def slug(heading: str) -> str:
    """The place of a heading, as the site and GitHub name it."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    return re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", text).strip().lower())


def places(page: Path) -> set[str]:
    text = _FENCE.sub("", page.read_text())
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    """To files of the repository, and to headings that are there."""
    broken = []
    for link in _LINK.findall(prose(page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, place = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (place and target.suffix == ".md" and place not in places(target)):
            broken.append(link)

    assert [] == broken


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_command_blocks_are_executed_or_cannot_be(page: Path) -> None:
    """`console` blocks are executed (tests/e2e/test_tour.py); a `sh` block holds only what cannot run here."""
    assert [] == list(fences(page, "bash", "shell", "zsh", "shell-session"))
    commands = [
        line.split()[0]
        for block in fences(page, "sh")
        for line in block.splitlines()
        if line.strip() and not line.startswith(("#", " "))
    ]
    commands += [line.split()[0] for line in _INDENTED.findall(prose(page.read_text()))]
    assert set() == set(commands) - CANNOT_RUN.keys()
    assert len(list(fences(page, "console"))) == len(console_blocks(page.read_text()))


def test_every_reason_is_used() -> None:
    """A program that no page names any more leaves the list."""
    used = {
        line.split()[0] for page in PAGES for block in fences(page, "sh") for line in block.splitlines() if line.strip()
    }

    assert set() == CANNOT_RUN.keys() - used


def test_make_targets_exist() -> None:
    """Those that a page names, in prose and in blocks."""
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    named = {
        (name(page), target)
        for page in PAGES
        if page.name != "CHANGELOG.md"
        for target in re.findall(r"(?:`|^ {4}|^|`\w+=\S+ )make ([a-z][a-z0-9-]*)", page.read_text(), re.MULTILINE)
    }

    assert 10 < len(named)
    assert set() == {(page, target) for page, target in named if target not in targets and page != "docs/style.md"}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_examples_of_configurations_are_valid(page: Path) -> None:
    """Whole ones without a fault; parts are YAML, at least."""
    for block in fences(page, "yaml"):
        parsed = yaml.safe_load(block)
        if isinstance(parsed, dict) and {"version", "listeners"} <= parsed.keys():
            loaded = load("gateway.yaml", MemoryFiles({"gateway.yaml": block}), {})
            assert [] == [str(fault) for fault in loaded.faults]


def test_every_page_is_in_the_navigation() -> None:
    """Those that mkdocs.yml does not name follow their folder; none is named that does not exist."""
    text = re.sub(r"!!python/\S+", "", (CHECKOUT / "mkdocs.yml").read_text())
    pages = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
    nav = completed(yaml.safe_load(text)["nav"], pages)
    named = [page for entry in nav for page in ([entry] if isinstance(entry, str) else next(iter(entry.values())))]

    assert sorted(named) == pages


def test_a_page_of_a_new_folder_needs_a_section() -> None:
    """Nobody looks for it at the end of another one."""
    assert ["index.md", {"Work": ["work/a.md", "work/b.md"]}] == completed(
        ["index.md", {"Work": ["work/a.md"]}], ["index.md", "work/a.md", "work/b.md"]
    )
    with pytest.raises(ValueError, match="no section of nav has pages of docs/other"):
        completed(["index.md"], ["other/new.md"])


def test_links_out_of_the_site_become_paths() -> None:
    """The site holds no code; links between pages and to the world stay."""
    text = "[rules](../../deploy/monitoring/rules) [page](kubernetes.md#install) [Envoy](https://www.envoyproxy.io/)"

    assert (
        "rules (`deploy/monitoring/rules`) [page](kubernetes.md#install) [Envoy](https://www.envoyproxy.io/)"
        == without_links_outside(text, "operations/deployment.md")
    )


def test_the_site_is_checked_for_what_it_loads_and_where_it_leads(tmp_path: Path) -> None:
    """A font from elsewhere, a file and a place that are not there; links to the world are the reader's choice."""
    (tmp_path / "good.html").write_text('<p id="here"><a href="https://example.com">x</a><a href="#here">y</a>')
    (tmp_path / "bad.html").write_text(
        '<link rel="stylesheet" href="https://fonts.example/a.css"><script src="gone.js"></script>'
        '<a href="good.html#no">'
    )

    assert [
        "bad.html: loads https://fonts.example/a.css",
        "bad.html: good.html#no leads nowhere (no such place in it)",
        "bad.html: gone.js leads nowhere (no such file)",
    ] == list(problems(tmp_path))


def test_every_field_is_in_its_reference() -> None:
    """docs/reference/fields.md is what the schema says; `make schema` writes it."""
    schema = json.loads(SCHEMA.read_text())

    assert fields_reference.reference(schema) == fields_reference.TARGET.read_text()


def test_every_flag_is_in_the_page_of_deployment() -> None:
    """docs/operations/deployment.md has the flags of commands.md; `make reference` writes them."""
    page, commands = variables_reference.TARGET.read_text(), variables_reference.COMMANDS.read_text()

    assert variables_reference.completed(page, commands) == page
    written = set(re.findall(r"(?:env var: |\[)((?:GATEWAY|DEMO)_[A-Z_]+)", re.sub(r"\s+", " ", commands)))
    assert set() == written - set(re.findall(r"`([A-Z_]+)`", page))


def test_every_variable_of_the_code_is_in_the_page_of_deployment() -> None:
    """Also those that are no flag: whoever adds one says there what it does."""
    page = variables_reference.TARGET.read_text()
    folders = ("control_plane", "ext_authz", "ext_proc", "gateway_runtime", "demo", "deploy/docker")
    sources = [path for folder in folders for path in (CHECKOUT / folder).rglob("*") if path.is_file()]
    read = {
        variable
        for path in sources
        if path.suffix in ("", ".py")
        for variable in re.findall(
            r"[\"'{$]((?:GATEWAY|ENVOY|OTEL|POD)_[A-Z_]+|KUBECONFIG|JWT_SECRET)\b", path.read_text()
        )
    }

    assert {"GATEWAY_CONFIG", "ENVOY_BIN", "POD_NAME", "JWT_SECRET"} <= read
    assert set() == read - set(re.findall(r"\b[A-Z][A-Z_]+\b", page))


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        (
            "--drain DRAIN seconds to end [GATEWAY_X_DRAIN; 10.0]",
            ("drain", "GATEWAY_X_DRAIN", "10.0", "seconds to end"),
        ),
        (
            "--xds-port <int range> xDS. [env var: GATEWAY_P; default: 1; 1<=x<=9]",
            ("xds-port", "GATEWAY_P", "1", "xDS."),
        ),
        ("-o, --output <yaml|json> Form. [default: yaml]", ("output", "", "yaml", "Form.")),
        ("--name <str> Its name. [required]", ("name", "", "required", "Its name.")),
        ("--a, --no-a of this [GATEWAY_A; no]", ("a", "GATEWAY_A", "no", "of this")),
    ],
)
def test_how_help_is_read(option: str, expected: tuple[str, str, str, str]) -> None:
    """What click prints and what argparse prints."""
    found = variables_reference.flag(option)

    assert expected == (found.name, found.variable, found.default, found.text)


def test_comparison_says_what_we_lack() -> None:
    """Honesty is a row: it is not edited away."""
    text = (DOCS / "comparison.md").read_text()

    assert "## What we lack" in text
    assert 4 <= text.count("| **no**")
