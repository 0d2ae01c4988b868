"""How a demo instance answers: as it should, slowly, or with an error. Set over HTTP: anyone can play outage."""

from collections.abc import Mapping
from dataclasses import dataclass

MAX_DELAY_MS = 60_000


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The default is a healthy instance."""

    status: int | None = None
    """Every answer has this status; None is the service's own."""
    delay_ms: int = 0
    """Every answer waits so long first."""

    @property
    def healthy(self) -> bool:
        return self.status is None or self.status < 500


def parse_behaviour(document: object) -> Behaviour:
    """`{"status": 503, "delay_ms": 200}`, both optional; raises ValueError with a text for the caller."""
    if not isinstance(document, Mapping):
        raise ValueError('expected an object like {"status": 503, "delay_ms": 200}')
    unknown = sorted(set(document) - {"status", "delay_ms"})
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r} (status, delay_ms)")
    return Behaviour(
        status=_between(document.get("status"), "status", 200, 599),
        delay_ms=_between(document.get("delay_ms"), "delay_ms", 0, MAX_DELAY_MS) or 0,
    )


def _between(value: object, name: str, least: int, most: int) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} has to be a whole number between {least} and {most}")
    return value
