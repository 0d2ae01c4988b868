"""Numbers, ages and sizes as people read them."""

from datetime import UTC, datetime

_AGES = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
NOTHING = "–"


def age(seconds: float) -> str:
    """The two largest units: `3 h 12 min`."""
    whole = max(0, int(seconds))
    for size, unit, smaller, below in _AGES:
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit} {rest} {below}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def rate(per_second: float | None) -> str:
    """Three digits that say something: `0.02`, `4.1`, `2,083`, `12.4 k`."""
    if per_second is None:
        return NOTHING
    if per_second >= 1_000_000:
        return f"{per_second / 1_000_000:.1f} M"
    if per_second >= 10_000:
        return f"{per_second / 1000:.1f} k"
    if per_second >= 100:
        return f"{per_second:,.0f}"
    if per_second >= 1:
        return f"{per_second:.1f}"
    return f"{per_second:.2f}" if per_second >= 0.005 else "0"


def percent(ratio: float | None) -> str:
    """`0 %`, `0.03 %`, `4.2 %`, `98 %`; never 0 for something nor 100 for not all."""
    if ratio is None:
        return NOTHING
    value = ratio * 100
    if value == 0 or value == 100:
        return f"{value:.0f} %"
    if value < 0.01:
        return "< 0.01 %"
    if value < 1:
        return f"{value:.2f} %"
    return f"{value:.1f} %" if value < 10 else f"{min(value, 99.9):.1f} %" if value > 99 else f"{value:.0f} %"


def milliseconds(value: float | None) -> str:
    """`0.4 ms`, `12 ms`, `1.25 s`."""
    if value is None:
        return NOTHING
    if value >= 1000:
        return f"{value / 1000:.2f} s" if value < 10_000 else f"{value / 1000:.0f} s"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def count(number: int, one: str, many: str = "") -> str:
    """`1 service`, `1,000 services`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def size(bytes_: float) -> str:
    """`12 MiB`."""
    for unit, length in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if bytes_ >= length:
            return f"{bytes_ / length:.1f} {unit}"
    return f"{bytes_:.0f} B"


def clock(at: float) -> str:
    """`2026-11-29 03:07:12 UTC`."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def iso(at: float) -> str:
    """For `datetime` of <time>."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
