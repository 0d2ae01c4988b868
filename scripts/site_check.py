"""Look at the built documents (make docs): everything that a page loads or links to is in the site itself."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("use", "href")}
UNLOADED_RELATIONS = {"canonical", "next", "prev", "alternate", "edit"}


@dataclass
class Page(HTMLParser):
    """What one page loads, where it links to, and which places it has."""

    loads: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = {name: value for name, value in attributes if value is not None}
        self.anchors |= {named[name] for name in ("id", "name") if name in named}
        for name, value in named.items():
            if (tag, name) in LOADED and named.get("rel") not in UNLOADED_RELATIONS:
                self.loads.append(value)
        if tag == "a" and "href" in named:
            self.links.append(named["href"])


def parsed(text: str) -> Page:
    page = Page()
    page.feed(text)
    return page


def problems(site: Path) -> Iterator[str]:
    """One line for each resource from elsewhere and each link that leads nowhere."""
    pages = {path: parsed(path.read_text()) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}
    for path, page in pages.items():
        where = path.relative_to(site)
        yield from (f"{where}: loads {url}" for url in page.loads if urlsplit(url).netloc)
        for link in (*page.links, *page.loads):
            if (missing := _missing(link, path, pages)) is not None:
                yield f"{where}: {link} leads nowhere ({missing})"


def _missing(link: str, source: Path, pages: dict[Path, Page]) -> str | None:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    target = (source.parent / unquote(parts.path)).resolve() if parts.path else source
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return "no such file"
    wanted = unquote(parts.fragment)
    if wanted and target in pages and wanted not in pages[target].anchors:
        return "no such place in it"
    return None


if __name__ == "__main__":
    found = list(problems(Path(sys.argv[1]).resolve()))
    print(*found, sep="\n", end="\n" if found else "")
    raise SystemExit(1 if found else 0)
