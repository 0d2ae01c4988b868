"""Media types: which form a body has, and which one a client wants (RFC 9110 sections 8.3 and 12.5.1)."""

import re
from collections.abc import Sequence

from ext_proc.transform.problems import Cause, UnusableError
from policy.transforms import Format

_CHARSET = re.compile(r""";\s*charset\s*=\s*"?([^\s;"]+)""", re.IGNORECASE)
_UTF_8 = ("utf-8", "utf8", "us-ascii")
_OPAQUE = ("image/", "audio/", "video/", "font/")
_TYPES: dict[Format, tuple[str, ...]] = {
    Format.JSON: ("application/json",),
    Format.XML: ("application/xml", "text/xml"),
    Format.CSV: ("text/csv", "application/csv"),
}
CONTENT_TYPES = {
    Format.JSON: "application/json",
    Format.XML: "application/xml; charset=utf-8",
    Format.CSV: "text/csv; charset=utf-8; header=present",
}


def media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def is_opaque(content_type: str) -> bool:
    """Whether bodies of this type hold no members by their nature."""
    return content_type.lower().startswith(_OPAQUE)


def format_of(content_type: str) -> Format | None:
    """The form of a body of this type; None for any that is neither JSON nor XML nor CSV. Without a type: JSON."""
    base = media_type(content_type)
    if not base or base == "application/json" or base.endswith("+json"):
        return Format.JSON
    if base.endswith("+xml") or base in _TYPES[Format.XML]:
        return None if base.startswith(_OPAQUE) or base == "application/xhtml+xml" else Format.XML
    return Format.CSV if base in _TYPES[Format.CSV] else None


def check_charset(content_type: str) -> None:
    """
    Raises:
        UnusableError: the body is in another charset than UTF-8.
    """
    if "charset" not in content_type.lower():
        return
    charset = _CHARSET.search(content_type)
    if charset is not None and charset[1].lower() not in _UTF_8:
        raise UnusableError(Cause.MEDIA_TYPE, "the body is in another charset than UTF-8")


def preferred(accept: str | None, own: Format, offered: Sequence[Format]) -> Format:
    """What the client likes best of what is offered; the service's own form among equals, and if nothing is acceptable.

    Args:
        accept: the request's field; None or "" accepts everything.
        own: the form that the body has.
    """
    choices = sorted(offered, key=lambda each: each is not own)
    if not choices:
        return own
    if not accept:
        return choices[0]
    ranges = [_range(each) for each in accept.lower().split(",")]
    qualities = [(max((_quality(ranges, name)) for name in _TYPES[each]), -place) for place, each in enumerate(choices)]
    best = max(qualities)
    if best[0] > 0:
        return choices[-best[1]]
    return choices[0]


def _range(text: str) -> tuple[str, float]:
    base, *parameters = (part.strip() for part in text.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return base, min(1.0, max(0.0, float(value)))
            except ValueError:
                return base, 0.0
    return base, 1.0


def _quality(ranges: Sequence[tuple[str, float]], name: str) -> float:
    """Of the most specific range that covers the type."""
    wildcard = f"{name.partition('/')[0]}/*"
    for wanted in (name, wildcard, "*/*"):
        found = [quality for base, quality in ranges if base == wanted]
        if found:
            return max(found)
    return 0.0
