"""Field values of HTTP caching -> values: Cache-Control, targeted Cache-Control, dates, ages, validators.

Header values are text with one character an octet (ISO 8859-1); several lines of one field come joined by ", ".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

Headers = Mapping[str, str]
"""Lower-case names; the lines of one field joined by ", "."""

LONGEST_S = 2**31
"""What a larger delta-seconds counts as (RFC 9111 section 1.2.2)."""

_DIRECTIVE = re.compile(
    r"""\s* ([^\s",;=]+) \s* (?: = \s* (?: "((?:[^"\\]|\\.)*)" | ([^",]*) ) )? \s* (?:,|$)
      | \s* ([^\s",;=]+) [^,]* (?:,|$)
      | [^,]* (?:,|$)""",
    re.VERBOSE,
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_IMF = re.compile(r"\w{3}, (\d{2})[ ](\w{3})[ ](\d{4}) (\d{2}):(\d{2}):(\d{2}) GMT", re.ASCII | re.IGNORECASE)
_RFC850 = re.compile(r"\w{6,9}, (\d{2})-(\w{3})-(\d{2}) (\d{2}):(\d{2}):(\d{2}) GMT", re.ASCII | re.IGNORECASE)
_ASCTIME = re.compile(r"\w{3} (\w{3}) ([ \d]\d) (\d{2}):(\d{2}):(\d{2}) (\d{4})", re.ASCII | re.IGNORECASE)


def directives(value: str) -> dict[str, str | None]:
    """Cache-Control's directives by lower-case name; None where there is no argument.

    Token and quoted arguments are the same (RFC 9111 section 5.2). A directive that comes twice with different
    arguments keeps an argument that nobody can read, so that its users take it as invalid (section 4.2.1); one that is
    malformed counts without its argument.
    """
    found: dict[str, str | None] = {}
    for match in _DIRECTIVE.finditer(value):
        name = (match[1] or match[4] or "").lower()
        if not name:
            continue
        argument = match[2] if match[2] is not None else match[3]
        if argument is not None:
            argument = argument.strip()
        if name in found and found[name] != argument:
            argument = _merged(name, found[name], argument)
        found[name] = argument
    return found


def _merged(name: str, first: str | None, second: str | None) -> str | None:
    if name in ("private", "no-cache"):
        # Without argument it holds for the whole response; two lists of fields hold both.
        return None if first is None or second is None else f"{first},{second}"
    return "conflict"


def delta_seconds(argument: str | None) -> int | None:
    """Non-negative whole seconds, capped at LONGEST_S; None if it is anything else."""
    if argument is None or not argument.isascii() or not argument.isdigit():
        return None
    return min(int(argument[:20]), LONGEST_S)


def http_date(value: str) -> float | None:
    """Seconds since 1970 of one of the three forms that recipients must read (RFC 9110 section 5.6.7); else None."""
    value = value.strip()
    if match := _IMF.fullmatch(value):
        day, month, year, *clock = match.groups()
    elif match := _RFC850.fullmatch(value):
        day, month, short_year, *clock = match.groups()
        # The century is the one that puts it at most 50 years ahead; caches meet dates of this century.
        year = str(1900 + int(short_year) if int(short_year) >= 76 else 2000 + int(short_year))
    elif match := _ASCTIME.fullmatch(value):
        month, day, *clock, year = match.groups()
    else:
        return None
    try:
        number = _MONTHS.index(month.lower()) + 1
        hour, minute, second = (int(part) for part in clock)
        moment = datetime(int(year), number, int(day), hour, minute, min(second, 59), tzinfo=UTC)
    except ValueError:
        return None
    return moment.timestamp()


@lru_cache(maxsize=8)
def format_http_date(unix_s: int) -> str:
    """IMF-fixdate."""
    when = datetime.fromtimestamp(unix_s, UTC)
    day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[when.weekday()]
    return f"{day}, {when.day:02} {_MONTHS[when.month - 1].title()} {when.year} {when:%H:%M:%S} GMT"


def age_value(headers: Headers) -> int:
    """The received Age: the first of several values, 0 if it is no number (RFC 9111 section 5.1)."""
    value = headers.get("age")
    if value is None:
        return 0
    return delta_seconds(value.partition(",")[0].strip()) or 0


def members(value: str) -> list[str]:
    """The items of a comma-separated list without quoted commas, in lower case."""
    return [item for part in value.split(",") if (item := part.strip().lower())]


@dataclass(frozen=True, slots=True)
class EntityTag:
    weak: bool
    opaque: str
    """With its quotes."""

    def matches_weakly(self, other: "EntityTag") -> bool:
        return self.opaque == other.opaque

    def matches_strongly(self, other: "EntityTag") -> bool:
        return self.opaque == other.opaque and not self.weak and not other.weak


_ETAG = re.compile(r'\s*(W/)?("[\x21\x23-\x7e\x80-\xff]*")\s*(?:,|$)')


def entity_tags(value: str) -> list[EntityTag]:
    """Those of an If-None-Match or ETag value; what is malformed is left out."""
    found = []
    position = 0
    while position < len(value):
        match = _ETAG.match(value, position)
        if match:
            found.append(EntityTag(bool(match[1]), match[2]))
            position = match.end()
        else:
            comma = value.find(",", position)
            position = len(value) if comma < 0 else comma + 1
    return found


_SF_KEY = re.compile(r"[ ]*([a-z*][a-z0-9_\-.*]*)")
_SF_BARE = re.compile(
    r'(?:(?P<number>-?\d{1,15}(?:\.\d{1,3})?)|"(?P<string>(?:[^"\\\x00-\x1f\x7f-\xff]|\\["\\])*)"|\?(?P<boolean>[01])'
    r"|(?P<token>[A-Za-z*][A-Za-z0-9!#$%&'*+\-.^_`|~:/]*)|:(?P<bytes>[A-Za-z0-9+/=]*):)"
)
_SF_PARAMETER = re.compile(r";[ ]*[a-z*][a-z0-9_\-.*]*(?:=)?")
_SF_END = re.compile(r"[ \t]*(?:,[ \t]*(?=\S)|$)")


def structured_directives(value: str) -> dict[str, str | None] | None:
    """A targeted Cache-Control field (RFC 9213), a Dictionary of RFC 8941; None if it does not parse or is empty.

    Booleans true become directives without argument, false ones are left out; the last of equal keys counts.
    """
    found: dict[str, str | None] = {}
    position = 0
    while position < len(value):
        key = _SF_KEY.match(value, position)
        if not key:
            return None
        position = key.end()
        argument: str | None = None
        present = True
        if value[position : position + 1] == "=":
            bare = _SF_BARE.match(value, position + 1)
            if not bare:
                return None
            position = bare.end()
            argument = bare["number"] or bare["string"] or bare["token"] or bare["bytes"]
            present = bare["boolean"] != "0"
        while parameter := _SF_PARAMETER.match(value, position):
            position = parameter.end()
            if parameter[0].endswith("="):
                bare = _SF_BARE.match(value, position)
                if not bare:
                    return None
                position = bare.end()
        found.pop(key[1], None)
        if present:
            found[key[1]] = argument
        end = _SF_END.match(value, position)
        if not end:
            return None
        position = end.end()
    return found or None
