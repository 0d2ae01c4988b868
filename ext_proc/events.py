"""What Envoy tells ext_proc about one HTTP exchange, and what ext_proc answers, free of protobuf.

`messages.py` reads events from ProcessingRequests and writes actions as ProcessingResponses; `exchange.py` decides.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, Protocol, TypeAlias

from ext_proc.cache.entry import Entry
from ext_proc.cache.ranges import Part
from ext_proc.transform.body import Made
from ext_proc.transform.problems import Problem, UnusableError
from policy.processing import HeaderChanges

Outcome = Literal["hit", "miss", "stale", "bypass", "collapsed"]
"""What the access log says under `cache`."""

NO_CHANGES = HeaderChanges()


@dataclass(slots=True)
class RequestStart:
    """The header fields of the request, pseudo-headers included, and who sent it."""

    headers: dict[str, str]
    identity: str
    """Proven by ext_authz; "" if nobody is."""
    claims: Mapping[str, str] = field(default_factory=dict)
    """Those of it that templates read, as text."""
    end_of_stream: bool = True
    """There is no body."""


@dataclass(slots=True)
class ResponseStart:
    headers: dict[str, str]
    end_of_stream: bool
    from_upstream: bool
    """The service answered, not Envoy itself (attribute response.code_details is via_upstream)."""

    @property
    def status(self) -> int:
        return int(self.headers[":status"])


@dataclass(slots=True)
class Chunk:
    """Some of the response's body, or all of it if it was asked for whole."""

    data: bytes
    end_of_stream: bool


@dataclass(slots=True)
class Trailers:
    """The response ended with trailers."""


@dataclass(slots=True)
class RequestRest:
    """The request's body or trailers."""

    kind: Literal["body", "trailers"]
    data: bytes = b""
    """All of the body, if it was asked for."""


Event: TypeAlias = RequestStart | ResponseStart | Chunk | Trailers | RequestRest


class BodyMode(Enum):
    """How much of a body is wanted."""

    NONE = "none"
    STREAMED = "streamed"
    """Chunk by chunk as it passes."""
    WHOLE = "whole"
    """At once, before any of it or of the headers went on; of one that is over the listener's buffer the beginning."""


@dataclass(slots=True)
class Forward:
    """The request goes on to the service."""

    changes: HeaderChanges = NO_CHANGES
    watch: bool = False
    """The response's headers are wanted."""
    outcome: Outcome | None = None
    wants_body: bool = False
    """The request's body is wanted, whole, before any of it goes on."""
    new_body: bytes | None = None
    """Of a request that has none."""

    @property
    def last(self) -> bool:
        return not self.watch and not self.wants_body


@dataclass(slots=True)
class Serve:
    """The client gets a stored response."""

    entry: Entry
    age_s: int
    cache_status: str
    outcome: Outcome
    not_modified: bool = False
    part: Part | None = None
    is_head: bool = False
    last = True


@dataclass(slots=True)
class Refuse:
    """The client gets problem+json."""

    status: int
    name: str
    """urn:meetinity:NAME."""
    title: str
    detail: str
    headers: tuple[tuple[str, str], ...]
    request_id: str
    outcome: Outcome | None = None
    problems: tuple[Problem, ...] = ()
    """Everything that was found wrong; shown where it is the client's."""
    last = True


class Awaited(Protocol):
    """The end of another's flight, or the answer of a store."""

    wake: Callable[[], None] | None
    """Called once, when it is no longer waiting."""

    @property
    def is_waiting(self) -> bool: ...


@dataclass(slots=True)
class Wait:
    """Nothing yet; call `Exchange.resume` when what is awaited is there or the time is up."""

    awaited: Awaited
    at_most_s: float
    last = False


Worked: TypeAlias = Made | UnusableError | None
"""What a body came to: the one that goes on, "as it is", or why it cannot."""


@dataclass(slots=True)
class Work:
    """Nothing yet: call `run`, wherever it holds up nobody, and `Exchange.worked` with its result."""

    run: Callable[[], Worked]
    last = False


@dataclass(slots=True)
class PassHeaders:
    """The response's headers go on to the client."""

    changes: HeaderChanges = NO_CHANGES
    body: BodyMode = BodyMode.NONE
    outcome: Outcome | None = None

    @property
    def last(self) -> bool:
        return self.body is BodyMode.NONE


@dataclass(slots=True)
class PassBody:
    """A chunk goes on unchanged."""

    last: bool


@dataclass(slots=True)
class ReplaceBody:
    """The client gets another body."""

    body: bytes
    changes: HeaderChanges = NO_CHANGES
    """Content-Length follows from the body."""
    last = True


@dataclass(slots=True)
class ReplaceRequestBody:
    """The service gets another body."""

    body: bytes
    changes: HeaderChanges
    last: bool


@dataclass(slots=True)
class PassTrailers:
    last = True


@dataclass(slots=True)
class PassRequestRest:
    kind: Literal["body", "trailers"]
    last: bool = False


Action: TypeAlias = (
    Forward
    | Serve
    | Refuse
    | Wait
    | Work
    | PassHeaders
    | PassBody
    | ReplaceBody
    | ReplaceRequestBody
    | PassTrailers
    | PassRequestRest
)
