"""One HTTP exchange as ext_proc sees it: events in, actions out, no I/O and no clock of its own.

    RequestStart  -> Forward | Serve | Refuse | Wait (then `resume`, once or more)
    RequestRest   -> ReplaceRequestBody | PassRequestRest | Refuse | Work   only if Forward.wants_body
    ResponseStart -> PassHeaders | Serve | Refuse          only if Forward.watch
    Chunk         -> PassBody | ReplaceBody | Refuse | Work     only if PassHeaders.body is not NONE
    Trailers      -> PassTrailers

After Work, `worked` is called with what it came to; only large bodies are worked on like that.

After an action whose `last` is true nothing more is to be said, and the stream should be closed. `close` must be called
when the exchange ends, however it ends: it hands the lead of a flight to a follower.

What does not begin with RequestStart (Envoy's own reply, made before this filter saw the request) passes untouched.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol, assert_never

from ext_proc.cache.cache import Cache, serve_fresh
from ext_proc.cache.cache import Observer as CacheObserver
from ext_proc.cache.invalidation import SAFE_METHODS
from ext_proc.cache.lookup import CachedRoute, cached_route
from ext_proc.cache.session import CacheSession, Note
from ext_proc.cache.storing import TAGS
from ext_proc.events import (
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
    ReplaceRequestBody,
    RequestRest,
    RequestStart,
    ResponseStart,
    Trailers,
    Work,
    Worked,
)
from ext_proc.transform.body import Made
from ext_proc.transform.headers import applied, merged
from ext_proc.transform.problems import UnusableError
from ext_proc.transform.refusals import request_refused, response_refused
from ext_proc.transform.transforming import Transforming
from policy.processing import HeaderChanges, Processing, Scope
from policy.transforms import Transform

_INLINE_BYTES = 32 * 1024
"""Bodies up to this size are done with before anybody else has noticed; larger ones are worked on elsewhere."""
Direction = Literal["request", "response"]
Transformed = Literal["done", "passed", "unreadable", "too_large", "media_type", "invalid", "failed"]
"""What became of a message: its body was gone through, it passed untouched although it could not be, or why it was
refused; a metric's label."""


class Observer(CacheObserver, Protocol):
    """Counts what happens on one route."""

    def transformed(self, direction: Direction, result: Transformed) -> None: ...


@dataclass(frozen=True, slots=True)
class Route:
    """What is the same for every exchange of one route under one policy."""

    name: str
    processing: Processing
    cached: CachedRoute | None
    watches: bool
    """The response's headers are wanted whatever the cache says."""
    needs_identity: bool
    """Who sent the request makes a difference, or whether it has a body."""
    transform: Transform | None
    checks_requests: bool
    """Something may be said of a request before the cache is asked."""


def route_of(processing: Processing, name: str) -> Route:
    transform = processing.transform
    return Route(
        name=name,
        processing=processing,
        cached=None if processing.cache is None else cached_route(processing, processing.cache, name),
        watches=bool(processing.response) or (transform is not None and bool(transform.response)),
        needs_identity=(processing.cache is not None and processing.cache.scope is Scope.USER)
        or (transform is not None and bool(transform.claims or transform.request.needs_body)),
        transform=transform,
        checks_requests=transform is not None and bool(transform.request.validation or transform.response.validation),
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
        "_then",
        "_transforming",
        "_watches",
        "_whole",
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
        self._transforming: Transforming | None = None
        self._watches = False
        self._then: Callable[[Worked, float], Action] | None = None
        """What is done with the result of the work under way."""
        self._whole = False
        """The body of the message at hand was asked for, to be changed or checked."""
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
                return self._on_request_rest(event, now)
            case _:
                assert_never(event)

    def resume(self, now: float) -> Action:
        """After Wait, as soon as its ticket is no longer WAITING or its time is up."""
        assert self._session is not None
        return self._transformed(self._session.resume(now))

    def worked(self, result: Worked, now: float) -> Action:
        """After Work, with its result."""
        then, self._then = self._then, None
        assert then is not None
        return then(result, now)

    @property
    def awaits_body(self) -> bool:
        """The next message may bring a body that is to be changed or checked, which takes time."""
        return self._whole

    def close(self) -> None:
        if self._session is not None:
            self._session.close()

    def _on_request(self, event: RequestStart, now: float) -> Action:
        self._request = event
        if self._route.checks_requests:
            try:
                self._begin(event).check_request()
            except UnusableError as why:
                return self._refuse_request(why)
        cached = self._route.cached
        if cached is None:
            return self._transformed(Forward(watch=self._may_invalidate(event)))
        if self._transforming is not None and self._transforming.is_refused_anyway:
            return self._transformed(Forward())
        _tell_claims_apart(event, self._route)
        served = serve_fresh(self._cache, cached, self._observer, event, now)
        if served is not None:
            return served
        self._session = CacheSession(self._cache, cached, self._observer, event)
        return self._transformed(self._session.start(now))

    def _begin(self, request: RequestStart) -> Transforming:
        assert self._route.transform is not None
        self._transforming = Transforming(self._route.transform, self._route.name, request)
        return self._transforming

    def _may_invalidate(self, request: RequestStart) -> bool:
        """Where there is no session to do it."""
        return self._processing.invalidates and request.headers.get(":method") not in SAFE_METHODS

    def _transformed(self, action: Action) -> Action:
        """What goes on to the service, with the rules of the route followed."""
        if not isinstance(action, Forward):
            return action
        action.watch = self._watches = action.watch or self._route.watches
        if self._route.transform is None:
            action.changes = merged(self._processing.request, action.changes)
            return action
        assert self._request is not None
        try:
            head = (self._transforming or self._begin(self._request)).request_head(self._processing.request)
        except UnusableError as why:
            return self._refuse_request(why)
        action.changes = merged(head.changes, action.changes)
        action.wants_body, action.new_body = head.wants_body, head.new_body
        self._whole = head.wants_body
        return action

    def _later(self, run: Callable[[], Worked], then: Callable[[Worked, float], Action]) -> Work:
        self._then = then
        return Work(run)

    def _on_request_rest(self, event: RequestRest, now: float) -> Action:
        wanted, self._whole = self._whole, False
        if event.kind != "body" or not wanted or self._transforming is None:
            return PassRequestRest(event.kind)
        assert self._request is not None
        run = partial(_attempted, self._transforming.request_body, event.data)
        then = partial(self._on_request_made, event)
        return then(run(), now) if _is_small(event.data, self._request.headers) else self._later(run, then)

    def _on_request_made(self, event: RequestRest, made: Worked, _now: float) -> Action:
        """The last word, unless the response is of interest too."""
        if isinstance(made, UnusableError):
            return self._refuse_request(made)
        self._observer.transformed("request", "passed" if made is None else "done")
        if made is None or (made.body is event.data and not made.changes):
            return PassRequestRest(event.kind, last=not self._watches)
        return ReplaceRequestBody(made.body, made.changes, last=not self._watches)

    def _refuse_request(self, why: UnusableError) -> Refuse:
        assert self._request is not None
        self._observer.transformed("request", why.cause.label)
        if self._session is not None:
            self._session.close()
        return request_refused(why, self._request.headers.get("x-request-id", ""))

    def _on_response(self, event: ResponseStart, now: float) -> Action:
        if self._request is None:
            return PassHeaders()
        self._response = event
        changes = self._processing.response
        if self._transforming is not None:
            try:
                head = self._transforming.response_head(changes, event)
            except UnusableError as why:
                return self._block(why)
            changes, self._whole = head.changes, head.wants_body
        body = BodyMode.WHOLE if self._whole else BodyMode.NONE
        if self._may_invalidate(self._request):
            self._cache.note_write(self._request.headers, event)
        self._shown = applied(changes, event.headers)
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

    def _on_chunk(self, event: Chunk, now: float) -> Action:
        response = self._response
        if response is None:
            return PassBody(last=False)
        if self._whole:
            assert self._transforming is not None
            run = partial(_attempted, self._transforming.response_body, event.data)
            then = partial(self._on_response_made, event.data, response)
            return then(run(), now) if _is_small(event.data, response.headers) else self._later(run, then)
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

    def _on_response_made(self, body: bytes, response: ResponseStart, made: Worked, now: float) -> Action:
        """In one piece, the client still without headers."""
        if isinstance(made, UnusableError):
            return self._block(made)
        self._observer.transformed("response", "passed" if made is None else "done")
        if made is None:
            # This may be the beginning only, and the headers have said what a transformed body would be.
            self._too_large(now)
            return PassBody(last=True)
        self._shown = applied(made.changes, self._shown)
        self._chunks.append(made.body)
        self._received = len(body)
        rules = self._processing.cache
        if rules is not None and len(made.body) > rules.max_body_bytes:
            self._too_large(now)
        self._end(now)
        if made.body is body and not made.changes:
            return PassBody(last=True)
        return ReplaceBody(made.body, made.changes)

    def _too_large(self, now: float) -> None:
        if self._session is not None and self._session.is_filling:
            self._session.too_large(now)

    def _block(self, why: UnusableError) -> Refuse:
        """Nothing of a response that should be changed or checked, and cannot be."""
        assert self._request is not None
        self._observer.transformed("response", why.cause.label)
        if self._session is not None:
            self._session.close()
        return response_refused(why, self._request.headers.get("x-request-id", ""))


def _is_small(body: bytes, headers: Mapping[str, str]) -> bool:
    """One that is compressed may be anything."""
    return len(body) <= _INLINE_BYTES and "content-encoding" not in headers


def _attempted(transform: Callable[[bytes], Made | None], body: bytes) -> Worked:
    try:
        return transform(body)
    except UnusableError as why:
        return why


def _tell_claims_apart(event: RequestStart, route: Route) -> None:
    """Callers with different values of the claims that the rules read never share what is stored."""
    if route.transform is not None and route.transform.claims and event.identity:
        told = [(name, event.claims.get(name)) for name in route.transform.claims]
        event.identity += "".join(f"|{name}-" if text is None else f"|{name}={len(text)}:{text}" for name, text in told)
