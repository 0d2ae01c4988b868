"""Why a message cannot be processed."""

from dataclasses import dataclass
from enum import Enum
from typing import Literal


class Cause(Enum):
    """What is wrong, and how a request that it is wrong with is answered."""

    UNREADABLE = 400
    """Not what its Content-Type says, or outside of what this gateway reads."""
    TOO_LARGE = 413
    MEDIA_TYPE = 415
    """Nothing in which fields could be found, or a content coding that is not known."""
    INVALID = 422
    """Against the OpenAPI document; a request is answered with 400."""
    FAILED = 500
    """Readable, but a step does not apply to it; a request is answered with 400."""

    @property
    def label(self) -> Literal["unreadable", "too_large", "media_type", "invalid", "failed"]:
        """For a metric."""
        return _LABELS[self]

    @property
    def may_pass(self) -> bool:
        """Whether `on_unreadable: pass` covers it."""
        return self in (Cause.UNREADABLE, Cause.TOO_LARGE, Cause.MEDIA_TYPE)


_LABELS: dict[Cause, Literal["unreadable", "too_large", "media_type", "invalid", "failed"]] = {
    Cause.UNREADABLE: "unreadable",
    Cause.TOO_LARGE: "too_large",
    Cause.MEDIA_TYPE: "media_type",
    Cause.INVALID: "invalid",
    Cause.FAILED: "failed",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a message."""

    where: str
    """path, query, header, cookie, body, or "" for the message."""
    at: str
    """The parameter's name, or a JSON pointer into the body."""
    text: str


class UnusableError(ValueError):
    """A message that cannot be processed; the text says why, without any of its content."""

    def __init__(self, cause: Cause, text: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(text)
        self.cause = cause
        self.problems = problems


def unreadable(text: str) -> UnusableError:
    return UnusableError(Cause.UNREADABLE, text)
