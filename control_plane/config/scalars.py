"""Text of gateway.yaml -> typed scalars: durations, sizes, rates, booleans, integers, dates.

The key's type decides, never YAML's guess, so every function here takes the text as it stands in the file.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from pydantic import BeforeValidator

_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)")
_DURATION_UNITS_US = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_SIZE = re.compile(r"([0-9]{1,18})\s*(B|KiB|MiB|GiB)?")
_SIZE_UNITS = {None: 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_RATE = re.compile(r"([0-9]{1,12})\s*/\s*(second|minute|hour|day)")
_PERIODS = {
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
}


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests in one period, e.g. 100/minute."""

    count: int
    period: timedelta

    def __str__(self) -> str:
        return f"{self.count}/{next(name for name, period in _PERIODS.items() if period == self.period)}"


MAX_DURATION = timedelta(days=36_500)
"""A hundred years: beyond it, a number is a mistake, and protobuf's and Envoy's own limits are not far."""


def _text(value: object) -> str:
    """The text of a scalar; anything else is not one."""
    if not isinstance(value, str):
        raise ValueError("has to be a single value")
    return value.strip()


def parse_duration(value: object) -> timedelta:
    """`250ms`, `5s`, `1m`, `24h`, `7d`, also together (`1m30s`); `0s` and `0` are zero."""
    if isinstance(value, timedelta):
        return value
    text = _text(value)
    if text == "0":
        return timedelta(0)
    if not text or _DURATION.sub("", text):
        raise ValueError(f"{text!r} is not a duration (a number with a unit: 250ms, 5s, 1m, 1h, 7d)")
    total = sum(float(number) * _DURATION_UNITS_US[unit] for number, unit in _DURATION.findall(text))
    if total > MAX_DURATION / timedelta(microseconds=1):
        raise ValueError(f"{text!r} is too long (at most {MAX_DURATION.days}d)")
    return timedelta(microseconds=round(total))


def parse_size(value: object) -> int:
    """`512B`, `64KiB`, `1MiB`, `1GiB`, or a bare number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = _text(value)
    match = _SIZE.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a size (a number with a unit: 512B, 64KiB, 1MiB, 1GiB)")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def parse_rate(value: object) -> Rate:
    """`10/second`, `100/minute`, `1000/hour`, `5000/day`."""
    if isinstance(value, Rate):
        return value
    text = _text(value)
    match = _RATE.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a rate (a number per second, minute, hour or day: 10/minute)")
    return Rate(int(match[1]), _PERIODS[match[2]])


def parse_bool(value: object) -> bool:
    """`true` or `false`, YAML 1.2 core schema spellings only."""
    if isinstance(value, bool):
        return value
    text = _text(value)
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    raise ValueError(f"{text!r} is not a boolean (true or false)")


def parse_int(value: object) -> int:
    """Decimal digits with an optional sign."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = _text(value)
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def parse_number(value: object) -> float:
    """Decimal digits with an optional sign and fraction."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    text = _text(value)
    if not re.fullmatch(r"[+-]?[0-9]{1,15}(\.[0-9]{1,15})?", text):
        raise ValueError(f"{text!r} is not a number")
    return float(text)


def parse_moment(value: object) -> datetime:
    """A date is midnight UTC; a time without a zone is UTC."""
    if isinstance(value, datetime):
        return value
    text = _text(value)
    try:
        if len(text) == 10:
            day = date.fromisoformat(text)
            return datetime(day.year, day.month, day.day, tzinfo=UTC)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a date or time (2026-09-01 or 2026-09-01T12:00:00Z)") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


Duration = Annotated[timedelta, BeforeValidator(parse_duration, json_schema_input_type=str)]
SizeBytes = Annotated[int, BeforeValidator(parse_size, json_schema_input_type=str | int)]
RateValue = Annotated[Rate, BeforeValidator(parse_rate, json_schema_input_type=str)]
Bool = Annotated[bool, BeforeValidator(parse_bool, json_schema_input_type=bool | str)]
Int = Annotated[int, BeforeValidator(parse_int, json_schema_input_type=int | str)]
Number = Annotated[float, BeforeValidator(parse_number, json_schema_input_type=float | str)]
Moment = Annotated[datetime, BeforeValidator(parse_moment, json_schema_input_type=str)]
