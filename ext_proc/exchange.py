"""One HTTP exchange as ext_proc sees it: events in, actions out, no I/O and no clock of its own.

    RequestStart  -> Forward | Serve | Refuse | Wait (then `resume`, once or more)
    ResponseStart -> PassHeaders | Serve | Refuse        only if Forward.watch
    Chunk         -> PassBody | ReplaceBody | Refuse     only if PassHeaders.body is not NONE
    Trailers      -> PassTrailers

After an action whose `last` is true nothing more is to be said, and the stream should be closed. `close` must be called
when the exchange ends, however it ends: it hands the lead of a flight to a follower.

What does not begin with RequestStart (Envoy's own reply, made before this filter saw the request) passes untouched.
"""

from dataclasses import dataclass
from typing import assert_never

from ext_proc.cache.invalidation import SAFE_METHODS
from ext_proc.cache.lookup import CachedRoute, cached_route
from ext_proc.cache.session import Cache, CacheSession, Note, Observer, serve_fresh
from ext_proc.cache.storing import TAGS
from ext_proc.events import (
    NO_CHANGES,
    Action,
    BodyMode,
    Chunk,
    Event,
    Forward,
    PassBody,
    PassHeaders,
    PassRequestRest,
    PassTrailers,
    Refuse,
    ReplaceBody,
    RequestRest,
    RequestStart,
    ResponseStart,
    Trailers,
)
from ext_proc.transform.headers import applied, merged
from ext_proc.transform.redact import UnreadableError, check_readable, header_changes, is_opaque, redact
from policy.processing import HeaderChanges, Processing, Scope

_CHANGES_BODY = HeaderChanges(remove=("range", "if-range"), set=(("accept-encoding", "identity"),))
"""A body that is to be changed has to come whole and readable."""


@dataclass(frozen=True, slots=True)
class Route:
    """What is the same for every exchange of one route under one policy."""

    name: str
    processing: Processing
    cached: CachedRoute | None
    watches: bool
    """The response's headers are wanted whatever the cache says."""
    whole: bool
    """The response's body is wanted at once."""
    needs_identity: bool
    """Who sent the request makes a difference."""


def route_of(processing: Processing, name: str) -> Route:
    return Route(
        name=name,
        processing=processing,
        cached=None if processing.cache is None else cached_route(processing, processing.cache, name),
        watches=bool(processing.response or processing.redact),
        whole=bool(processing.redact),
        needs_identity=processing.cache is not None and processing.cache.scope is Scope.USER,
    )


class Exchange:
    """The state of one exchange on a route with a policy."""

    __slots__ = (
        "_cache",
        "_chunks",
        "_observer",
        "_processing",
        "_received",
        "_request",
        "_response",
        "_route",
        "_session",
        "_shown",
    )

    def __init__(self, route: Route, cache: Cache, observer: Observer) -> None:
        self._route = route
        self._processing = route.processing
        self._cache = cache
        self._observer = observer
        self._request: RequestStart | None = None
        self._response: ResponseStart | None = None
        self._session: CacheSession | None = None
        self._shown: dict[str, str] = {}
        self._chunks: list[bytes] = []
        self._received = 0

    def on(self, event: Event, now: float) -> Action:
        """
        Args:
            now: seconds since 1970.
        """
        match event:
            case RequestStart():
                return self._on_request(event, now)
            case ResponseStart():
                return self._on_response(event, now)
            case Chunk():
                return self._on_chunk(event, now)
            case Trailers():
                self._end(now)
                return PassTrailers()
            case RequestRest():
                return PassRequestRest(event.kind)
            case _:
                assert_never(event)

    def resume(self, now: float) -> Action:
        """After Wait, as soon as its ticket is no longer WAITING or its time is up."""
        assert self._session is not None
        return self._with_request_changes(self._session.resume(now))

    def close(self) -> None:
        if self._session is not None:
            self._session.close()

    def _on_request(self, event: RequestStart, now: float) -> Action:
        self._request = event
        cached = self._route.cached
        if cached is None:
            return self._with_request_changes(Forward(watch=self._may_invalidate(event)))
        served = serve_fresh(self._cache, cached, self._observer, event, now)
        if served is not None:
            return served
        self._session = CacheSession(self._cache, cached, self._observer, event)
        return self._with_request_changes(self._session.start(now))

    def _may_invalidate(self, request: RequestStart) -> bool:
        """Where there is no session to do it."""
        return self._processing.invalidates and request.headers.get(":method") not in SAFE_METHODS

    def _with_request_changes(self, action: Action) -> Action:
        if not isinstance(action, Forward):
            return action
        action.changes = merged(self._processing.request, action.changes)
        if self._route.whole:
            action.changes = merged(action.changes, _CHANGES_BODY)
        action.watch = action.watch or self._route.watches
        return action

    def _on_response(self, event: ResponseStart, now: float) -> Action:
        if self._request is None:
            return PassHeaders()
        self._response = event
        try:
            changes = merged(self._processing.response, self._body_changes(event))
        except UnreadableError as why:
            return self._block(why)
        if self._may_invalidate(self._request):
            self._cache.note_write(self._request.headers, event)
        self._shown = applied(changes, event.headers)
        wants_whole = self._route.whole and not self._passes_untouched(event)
        body = BodyMode.WHOLE if wants_whole else BodyMode.NONE
        if self._session is None:
            return PassHeaders(changes, body)
        answer = self._session.response(event, self._shown, now)
        if not isinstance(answer, Note):
            return answer
        received = event.headers.get("cache-status")
        line = answer.cache_status if received is None else f"{received}, {answer.cache_status}"
        tags = tuple(name for name in TAGS if name in event.headers)
        changes = merged(changes, HeaderChanges(remove=tags, set=(("cache-status", line),)))
        if answer.fill and event.end_of_stream:
            self._session.complete(event, self._shown, b"", now)
        elif answer.fill and body is BodyMode.NONE:
            body = BodyMode.STREAMED
        return PassHeaders(changes, body)

    def _passes_untouched(self, event: ResponseStart) -> bool:
        """No body to redact, or one without members; Envoy's own replies hold nothing of the service."""
        return event.end_of_stream or not event.from_upstream or is_opaque(event.headers.get("content-type", ""))

    def _body_changes(self, event: ResponseStart) -> HeaderChanges:
        """Headers that a redaction makes wrong.

        Raises:
            UnreadableError: the body cannot be redacted.
        """
        if not self._route.whole or not event.from_upstream or is_opaque(event.headers.get("content-type", "")):
            return NO_CHANGES
        if not event.end_of_stream:
            check_readable(event.headers)
        removed, weakened = header_changes(event.headers)
        if event.end_of_stream and event.status not in (204, 304):
            # The answer to HEAD tells the length of a body that nobody gets.
            removed = (*removed, "content-length")
        return HeaderChanges(remove=removed, set=weakened)

    def _on_chunk(self, event: Chunk, now: float) -> Action:
        response = self._response
        if response is None:
            return PassBody(last=False)
        if self._route.whole:
            return self._on_whole_body(event.data, response, now)
        session = self._session
        rules = self._processing.cache
        assert session is not None
        assert rules is not None
        self._chunks.append(event.data)
        self._received += len(event.data)
        if self._received > rules.max_body_bytes:
            self._chunks.clear()
            session.too_large(now)
            return PassBody(last=True)
        is_whole = event.end_of_stream or str(self._received) == response.headers.get("content-length")
        if is_whole:
            self._end(now)
        return PassBody(last=is_whole)

    def _end(self, now: float) -> None:
        """The body has come to its end. One that is shorter than its Content-Length was cut off."""
        response = self._response
        if response is None or self._session is None or not self._session.is_filling:
            return
        if response.headers.get("content-length", str(self._received)) != str(self._received):
            return
        self._session.complete(response, self._shown, b"".join(self._chunks), now)

    def _on_whole_body(self, body: bytes, response: ResponseStart, now: float) -> Action:
        """In one piece, the client still without headers."""
        try:
            redacted = redact(body, self._processing.redact)
        except UnreadableError as why:
            return self._block(why)
        self._chunks.append(redacted)
        self._received = len(body)
        rules = self._processing.cache
        if self._session is not None and rules is not None and len(redacted) > rules.max_body_bytes:
            self._session.too_large(now)
        self._end(now)
        return ReplaceBody(redacted)

    def _block(self, why: UnreadableError) -> Refuse:
        """Nothing of a body that should be redacted and cannot be."""
        assert self._request is not None
        if self._session is not None:
            self._session.close()
        return Refuse(
            502,
            "response-not-processed",
            "Bad Gateway",
            f"The service's response cannot be processed: {why}.",
            (),
            self._request.headers.get("x-request-id", ""),
        )
