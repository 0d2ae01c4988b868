"""Templates, and what of a page has changed since it was sent.

Everything that a template prints is escaped. A template marks the parts that can be replaced one by one:

    {{ part("service-users") }}<tr id="service-users">...</tr>{{ end }}

The marks are comments. Nothing else in a page can look like one, because `<` is escaped wherever it comes from values.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jinja2
from markupsafe import Markup

from control_plane.dashboard import wording

_PART = re.compile(r"<!--part ([^>]*?)-->(.*?)<!--end-->", re.DOTALL)
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufffe\uffff]")
_PICTURES = {chr(number): chr(0x2400 + number) for number in range(0x20)}
_AGE = re.compile(r"(<time [^>]*data-age[^>]*>)[^<]*")


@dataclass(frozen=True, slots=True)
class Part:
    """One replaceable part of a page."""

    html: str
    digest: bytes
    """Of all but ages, which the browser counts on by itself."""


@dataclass(frozen=True, slots=True)
class Update:
    """What has to be sent to somebody who has an older state of the page."""

    parts: Mapping[str, str]
    """HTML by element id."""
    whole: str
    """Instead: the whole of <main>, because there are other parts now; "" for none."""


class Templates:
    """Compiled once."""

    def __init__(self) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.PackageLoader("control_plane.dashboard"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            finalize=_visible,
        )
        self._environment.filters.update(
            rate=wording.rate,
            percent=wording.percent,
            ms=wording.milliseconds,
            size=wording.size,
            clock=wording.clock,
            duration=wording.age,
            slug=slug,
        )
        self._environment.globals.update(
            part=lambda name: Markup("<!--part {}-->").format(name.replace("--", "- -")),
            end=Markup("<!--end-->"),
            count=wording.count,
            since=_since,
        )

    def render(self, name: str, values: Mapping[str, Any]) -> str:
        """The whole document."""
        return self._environment.get_template(name).render(values)

    def main(self, name: str, values: Mapping[str, Any]) -> str:
        """What is inside of <main>."""
        _, _, rest = self.render(name, values).partition('<main id="main"')
        return rest[rest.index(">") + 1 : rest.rindex("</main>")]


def _visible(value: Any) -> Any:
    """A text without characters that are not seen or that turn its direction: clients choose their names themselves.

    Markup was put together from what has been here already.
    """
    if type(value) is str and _UNSEEN.search(value):
        return _UNSEEN.sub(lambda found: _PICTURES.get(found[0], "\ufffd"), value)
    return value


def slug(*words: object) -> str:
    """An element id that no other words have."""
    text = "-".join(str(word) for word in words)
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", text):
        return text
    return f"x-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _since(at: float, now: float) -> Markup:
    """A moment, as how long ago it was; the browser keeps it up to date."""
    return Markup('<time datetime="{}" data-age="{:.0f}" title="{}">{}</time>').format(
        wording.iso(at), at, wording.clock(at), wording.age(now - at)
    )


def parts(main: str) -> dict[str, Part]:
    """The parts of a rendered <main>, by element id."""
    return {name: Part(html.strip(), _digest(html)) for name, html in _PART.findall(main)}


def _digest(html: str) -> bytes:
    return hashlib.blake2b(_AGE.sub(r"\1", html).encode(), digest_size=16).digest()


def update(before: Mapping[str, Part] | None, main: str) -> tuple[dict[str, Part], Update | None]:
    """The parts as they are now, and what is to be sent; None: nothing.

    Args:
        before: what the other side has; None: nobody knows.
    """
    now = parts(main)
    if before is None or list(before) != list(now):
        return now, Update({}, main)
    changed = {name: part.html for name, part in now.items() if part.digest != before[name].digest}
    return now, Update(changed, "") if changed else None
