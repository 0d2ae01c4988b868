"""Lines of numbers as the parts of an SVG. Text in them is ours; colours are classes of the style sheet."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10


@dataclass(frozen=True, slots=True)
class Tick:
    """One label of an axis."""

    place: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing area of width x height, lines from the left to the right."""

    width: int
    height: int
    lines: tuple[tuple[str, str, str], ...]
    """Class, path of the line, path of the area below it ("" for none)."""
    ticks: tuple[Tick, ...] = ()
    """Of the vertical axis."""
    times: tuple[Tick, ...] = ()
    label: str = ""
    """What it shows, for those who do not see it."""


def sparkline(values: Sequence[float], name: str, label: str, width: int = 120, height: int = 28) -> Chart:
    """One line without axes."""
    line, area = _paths(values, max(max(values, default=0.0), 1e-9), width, height, margin=2)
    return Chart(width, height, ((name, line, area),), label=label)


def chart(
    series: Sequence[tuple[str, Sequence[float | None]]],
    label: str,
    *,
    unit: str,
    span_s: float,
    width: int = 640,
    height: int = 180,
) -> Chart:
    """Several lines over one time, with axes.

    Args:
        series: class of the style sheet and values; None leaves a gap.
        span_s: from the first value to the last, which is now.
    """
    highest = nice_ceiling(max((value for _, values in series for value in values if value is not None), default=0.0))
    lines = tuple((name, *_paths(values, highest, width, height, margin=0)) for name, values in series)
    ticks = tuple(Tick(height - height * part / 4, _number(highest * part / 4, unit)) for part in range(5))
    times = tuple(
        Tick(width - width * part / 3, _ago(span_s * part / 3) if part else "now") for part in range(3, -1, -1)
    )
    return Chart(width, height, lines, ticks, times if span_s > 0 else (), label)


def nice_ceiling(value: float) -> float:
    """1, 2 or 5 times a power of ten, at least the value."""
    if value <= 0:
        return 1.0
    power = 10.0 ** floor(log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.999)


def _paths(values: Sequence[float | None], highest: float, width: int, height: int, margin: int) -> tuple[str, str]:
    """The line, and the area below it; gaps begin a new piece."""
    step = width / max(1, len(values) - 1)
    room = height - 2 * margin
    pieces: list[list[tuple[float, float]]] = [[]]
    for index, value in enumerate(values):
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append((index * step, height - margin - room * min(1.0, value / highest)))
    drawn = [piece for piece in pieces if piece]
    line = "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in piece) for piece in drawn)
    area = "".join(
        f"M{piece[0][0]:.1f} {height}L"
        + "L".join(f"{x:.1f} {y:.1f}" for x, y in piece)
        + f"L{piece[-1][0]:.1f} {height}Z"
        for piece in drawn
    )
    return line, area


def _number(value: float, unit: str) -> str:
    text = f"{value / 1000:g}k" if value >= 1000 else f"{value:.3g}"
    return f"{text} {unit}".strip()


def _ago(seconds: float) -> str:
    return f"−{seconds / 60:.0f} min" if seconds >= 90 else f"−{seconds:.0f} s"
