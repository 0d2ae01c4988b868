"""What `make docs` does beside mkdocs itself; mkdocs calls these functions (mkdocs.yml, hooks).

* Pages that mkdocs.yml does not name follow in the section that has pages of their folder, so that no page is left out.
* Links to files of the repository outside docs/ become their paths: the site does not hold those files.
* Scripts that the theme would fetch from the internet are served by the site itself, if `make docs` could get them:
  without Mermaid diagrams are shown as their text, without iframe-worker the search wants a server.
"""

import re
from collections.abc import MutableMapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
DOCS = CHECKOUT / "docs"
TOOLS = CHECKOUT / ".tools" / "docs"
MERMAID, SEARCH = "mermaid.min.js", "iframe-worker.js"
_LINK = re.compile(r"(?<!\!)\[([^\]]*)\]\(([^)\s]+)\)")
Nav = list[Any]


def on_config(config: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    pages = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
    config["nav"] = completed(config["nav"], pages)
    if not (TOOLS / MERMAID).exists():
        config["mdx_configs"]["pymdownx.superfences"]["custom_fences"] = []
    config["extra"]["polyfills"] = [f"javascripts/{SEARCH}"] if (TOOLS / SEARCH).exists() else []
    return config


def on_post_build(config: MutableMapping[str, Any]) -> None:
    target = Path(config["site_dir"]) / "javascripts"
    target.mkdir(parents=True, exist_ok=True)
    for name in (MERMAID, SEARCH):
        if (TOOLS / name).exists():
            (target / name).write_bytes((TOOLS / name).read_bytes())


def on_page_markdown(markdown: str, page: Any, **_: object) -> str:
    return without_links_outside(markdown, page.file.src_uri)


def completed(nav: Nav, pages: Sequence[str]) -> Nav:
    """The same navigation with every page in it.

    A page that is not named goes to the end of the section that holds most of its folder; a page of a folder that no
    section has is an error, because nobody would look for it at the end of another one.
    """
    named = set(_named(nav))
    folders = {folder: section for section in _sections(nav) for folder in _folders(section)}
    for page in pages:
        if page in named:
            continue
        folder = str(PurePosixPath(page).parent)
        if folder not in folders:
            raise ValueError(f"mkdocs.yml: no section of nav has pages of docs/{folder}, where {page} belongs")
        folders[folder].append(page)
    return nav


def _sections(nav: Nav) -> list[Nav]:
    return [nav, *(pages for entry in nav if isinstance(entry, dict) for pages in entry.values())]


def _folders(section: Nav) -> set[str]:
    return {str(PurePosixPath(page).parent) for page in section if isinstance(page, str)}


def _named(nav: Nav) -> list[str]:
    return [page for section in _sections(nav) for page in section if isinstance(page, str)]


def without_links_outside(markdown: str, source: str) -> str:
    """`[the rules](../../deploy/monitoring/rules)` -> the rules (`deploy/monitoring/rules`), for a page docs/SOURCE."""

    def replaced(found: re.Match[str]) -> str:
        text, target = found[1], found[2].partition("#")[0]
        if not target or re.match(r"[a-z]+:", target):
            return found[0]
        path = (DOCS / source).parent.joinpath(target).resolve()
        if path.is_relative_to(DOCS) or not path.is_relative_to(CHECKOUT) or not path.exists():
            return found[0]
        name = path.relative_to(CHECKOUT).as_posix()
        return f"`{name}`" if text.strip("`").rstrip("/") == name else f"{text} (`{name}`)"

    return _LINK.sub(replaced, markdown)
