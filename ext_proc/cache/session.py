"""One request's business with the cache, from lookup to storing; pure, driven by `exchange.py`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, assert_never

from ext_proc.cache import status, storing, validation
from ext_proc.cache.entry import Entry
from ext_proc.cache.fields import Headers
from ext_proc.cache.invalidation import invalidated
from ext_proc.cache.lookup import (
    Bypass,
    CachedRoute,
    Found,
    Target,
    Use,
    bypass,
    fresh,
    key_of,
    look_up,
    target_of,
)
from ext_proc.cache.memory import MemoryStore
from ext_proc.cache.ranges import Part, Unsatisfiable, wanted_part
from ext_proc.cache.single_flight import Flights, State, Ticket
from ext_proc.events import Forward, Outcome, Refuse, RequestStart, ResponseStart, Serve, Wait
from policy.processing import HeaderChanges
from policy.purge import ByPrefix, ByTag, ByUri, Everything, Purge

_ERRORS = frozenset({500, 502, 503, 504})
"""RFC 5861 section 4."""
_UNCACHEABLE_S = 60.0
"""How long nobody waits for a key whose response may not be stored."""
_FAILED_S = 1.0
"""The same after a failure, which may be over soon."""
_BOUND_TO_BE_NEW = HeaderChanges(remove=validation.CONDITIONS, set=(("accept-encoding", "identity"),))
"""What is stored is whole and uncompressed, so the service is asked for that."""
_AS_IT_CAME = HeaderChanges(set=(("accept-encoding", "identity"),))


class Observer(Protocol):
    """Counts what happens on one route."""

    def outcome(self, outcome: Outcome) -> None: ...
    def bypassed(self, reason: Bypass) -> None: ...
    def not_stored(self, reason: storing.Reason) -> None: ...
    def stored(self, size: int) -> None: ...


class Cache:
    """What all requests of one process share."""

    def __init__(self, store: MemoryStore, flights: Flights, *, wait_s: float) -> None:
        """
        Args:
            wait_s: the longest that a request waits for another's response.
        """
        self.store = store
        self.flights = flights
        self.wait_s = wait_s
        self._filling: dict[str, set[CacheSession]] = {}

    def expire(self, now: float) -> None:
        """Free what time has made useless; call it once a second or so."""
        self.store.expire(now)
        self.flights.expire(now)

    def begin_fill(self, uri: str, session: "CacheSession") -> None:
        self._filling.setdefault(uri, set()).add(session)

    def end_fill(self, uri: str, session: "CacheSession") -> None:
        sessions = self._filling.get(uri)
        if sessions is not None:
            sessions.discard(session)
            if not sessions:
                del self._filling[uri]

    def invalidate(self, uri: str) -> None:
        """Forget a URI; responses that are on their way since before are not stored either."""
        self.store.remove_uri(uri)
        for session in self._filling.get(uri, ()):
            session.spoil()

    def purge(self, what: Purge) -> int:
        """Forget what an operator names; how many entries that were.

        Responses that are on their way since before are not stored either: what they are tagged with is not known yet,
        so a purge by tag holds for all of them.
        """
        match what:
            case ByUri():
                there = self.store.remove_uri(what.uri)
                self._spoil(lambda uri: uri == what.uri)
            case ByPrefix():
                there = self.store.remove_where(what.covers)
                self._spoil(what.covers)
            case ByTag():
                there = self.store.remove_tag(what.tag)
                self._spoil(lambda _uri: True)
            case Everything():
                there = self.store.remove_where(lambda _uri: True)
                self._spoil(lambda _uri: True)
            case _:
                assert_never(what)
        return there

    def _spoil(self, is_meant: Callable[[str], bool]) -> None:
        for uri, sessions in self._filling.items():
            if is_meant(uri):
                for session in sessions:
                    session.spoil()

    def note_write(self, request: Headers, response: ResponseStart) -> None:
        """Forget what a request has changed, if its method is unsafe and the service did as it asks."""
        if not response.from_upstream:
            return
        for uri in invalidated(
            request.get(":method", ""),
            request.get(":scheme", "http"),
            request.get(":authority", ""),
            request.get(":path", "/"),
            response.status,
            response.headers,
        ):
            self.invalidate(uri)


@dataclass(slots=True)
class Note:
    """What the cache adds to a response that goes on to the client."""

    cache_status: str
    fill: bool = False
    """Its body is wanted: `complete` with it."""


def serve_fresh(
    cache: Cache, route: CachedRoute, observer: Observer, request: RequestStart, now: float
) -> Serve | None:
    """The answer to a plain GET of something fresh, without a session; None: a session has to find out."""
    stored = fresh(cache.store, route, request.headers, request.identity, now)
    if stored is None:
        return None
    observer.outcome("hit")
    age = int(stored.age(now))
    return Serve(stored, age, status.hit(route.cache_name, int(stored.lifetime.fresh_s) - age), "hit")


class CacheSession:
    """The cache's side of one exchange; methods are called in the order in which they stand."""

    __slots__ = (
        "_cache",
        "_conditional",
        "_deadline",
        "_fallback",
        "_fills",
        "_found",
        "_headers",
        "_identity",
        "_observer",
        "_reason",
        "_requested_at",
        "_route",
        "_rules",
        "_spoiled",
        "_storable",
        "_target",
        "_ticket",
    )

    def __init__(
        self,
        cache: Cache,
        route: CachedRoute,
        observer: Observer,
        request: RequestStart,
    ) -> None:
        self._cache = cache
        self._route = route
        self._rules = route.rules
        self._observer = observer
        self._headers: Headers = request.headers
        self._identity = request.identity
        self._ticket: Ticket | None = None
        self._deadline: float | None = None
        self._reason: status.Forwarded = "bypass"
        self._fills = False
        self._spoiled = False
        self._conditional: Entry | None = None
        self._fallback: Entry | None = None
        self._storable: storing.Storable | None = None
        self._requested_at = 0.0

    @property
    def is_filling(self) -> bool:
        """Whether `complete` is wanted: the response's headers said that it can be stored."""
        return self._storable is not None

    def start(self, now: float) -> Forward | Serve | Refuse | Wait:
        self._requested_at = now
        reason = bypass(self._headers, self._rules, self._identity)
        if reason is not None:
            return self._pass_by(reason)
        self._target: Target = target_of(self._headers, self._route, self._identity)
        return self._decide(now, collapsed=False)

    def resume(self, now: float) -> Forward | Serve | Refuse | Wait:
        """After Wait: the ticket's state has changed, or the time is up."""
        ticket = self._ticket
        assert ticket is not None
        if ticket.state is State.WAITING:
            ticket.leave()
        if ticket.state is State.READ:
            self._ticket = None
            return self._decide(now, collapsed=True)
        stored = self._found.stored
        if ticket.state is State.GO and ticket.failed and stored is not None and self._may_serve_on_error(stored, now):
            return self._serve(stored, now, stale=True)
        return self._ask(now, leading=ticket.state is State.LEADING)

    def response(self, event: ResponseStart, shown: dict[str, str], now: float) -> Note | Serve | Refuse:
        """
        Args:
            shown: header fields after the route's transforms.
        """
        code = event.status
        name = self._route.cache_name
        if not self._fills:
            self._cache.note_write(self._headers, event)
        conditional = self._conditional
        if conditional is not None and code == 304 and event.from_upstream:
            return self._refresh(conditional, event.headers, shown, now)
        fallback = self._fallback
        if code in _ERRORS and fallback is not None and self._may_serve_on_error(fallback, now):
            self._decline(now, _FAILED_S, failed=True)
            return self._serve(fallback, now, stale=True, line=status.forwarded(name, "stale", status=code))
        if not self._fills or (code == 304 and conditional is None):
            self._decline(now, 0.0)
            return Note(status.forwarded(name, self._reason))
        judged = storing.judge(
            self._headers, code, event.headers, self._rules, from_upstream=event.from_upstream, now=now
        )
        if not isinstance(judged, storing.Storable) or self._spoiled:
            if not isinstance(judged, storing.Storable):
                self._observer.not_stored(judged)
            failed = code >= 500
            self._decline(now, _FAILED_S if failed else _UNCACHEABLE_S, failed=failed)
            return Note(status.forwarded(name, self._reason))
        self._storable = judged
        return Note(status.forwarded(name, self._reason, stored=True), fill=True)

    def complete(self, event: ResponseStart, shown: dict[str, str], body: bytes, now: float) -> None:
        """The whole response has passed."""
        storable, self._storable = self._storable, None
        assert storable is not None
        entry = storing.entry(
            storable,
            status=event.status,
            origin=event.headers,
            shown=shown,
            body=body,
            requested_at=self._requested_at,
            received_at=now,
        )
        self._store(entry, storable.vary, now)

    def too_large(self, now: float) -> None:
        """The body is longer than the route stores."""
        self._storable = None
        self._observer.not_stored("too-large")
        self._decline(now, _UNCACHEABLE_S)

    def spoil(self) -> None:
        """What is on its way is older than an invalidation."""
        self._spoiled = True

    def close(self) -> None:
        """Whatever happened: nobody waits for this session any more."""
        if self._fills:
            self._cache.end_fill(self._target.uri, self)
        if self._ticket is not None:
            self._ticket.leave()

    def _pass_by(self, reason: Bypass) -> Forward:
        self._observer.bypassed(reason)
        self._observer.outcome("bypass")
        if reason == "method":
            self._reason = "method"
        return Forward(watch=reason not in ("upgrade", "grpc"), outcome="bypass")

    def _decide(self, now: float, *, collapsed: bool) -> Forward | Serve | Refuse | Wait:
        found = self._found = look_up(self._cache.store, self._target, self._rules, self._headers, now)
        stored = found.stored
        if stored is not None and found.use is not Use.ASK:
            if found.use is Use.SERVE:
                return self._serve(stored, now, collapsed=collapsed)
            # A follower has waited for just this response; anybody else is served stale while another asks.
            if found.use is Use.SERVE_STALE or collapsed or self._cache.flights.is_flying(found.key):
                return self._serve(stored, now, stale=True, collapsed=collapsed)
        self._reason = found.reason
        if found.wishes.only_if_cached:
            return self._refuse_to_ask()
        if found.wishes.no_store:
            self._reason = "request"
            return self._pass_by("no-store")
        if self._headers[":method"] == "HEAD" or "range" in self._headers:
            return self._forward(HeaderChanges())
        if found.wishes.no_cache or found.reason == "request":
            self._reason = "request"
            return self._ask(now, leading=True)
        return self._join(found, now)

    def _join(self, found: Found, now: float) -> Forward | Serve | Refuse | Wait:
        ticket = self._ticket = self._cache.flights.join(found.key, now)
        if ticket.state is State.WAITING:
            if self._deadline is None:
                self._deadline = now + self._cache.wait_s
            if self._deadline > now:
                return Wait(ticket, self._deadline - now)
            ticket.leave()
        elif ticket.failed and found.stored is not None and self._may_serve_on_error(found.stored, now):
            return self._serve(found.stored, now, stale=True)
        return self._ask(now, leading=ticket.state is State.LEADING)

    def _ask(self, now: float, *, leading: bool) -> Forward:
        """Go upstream with a request whose response can be stored.

        A key that is known to be uncacheable is asked for as the client asks: its own conditions save transfers.
        """
        self._requested_at = now
        self._fills = True
        self._cache.begin_fill(self._target.uri, self)
        stored = self._found.stored
        self._fallback = stored
        if stored is not None and stored.has_validator:
            self._conditional = stored
            wanted = validation.conditions(stored)
            absent = tuple(name for name in validation.CONDITIONS if name not in dict(wanted))
            return self._forward(HeaderChanges(remove=absent, set=(*_AS_IT_CAME.set, *wanted)))
        return self._forward(_BOUND_TO_BE_NEW if leading else _AS_IT_CAME)

    def _forward(self, changes: HeaderChanges) -> Forward:
        outcome: Outcome = "stale" if self._reason == "stale" else "miss"
        self._observer.outcome(outcome)
        return Forward(changes, watch=True, outcome=outcome)

    def _may_serve_on_error(self, stored: Entry, now: float) -> bool:
        """Whether stale-if-error covers it. Only after an error was met is this asked."""
        if stored.always_revalidate or self._found.wishes.no_cache:
            return False
        overdue = -stored.remaining(now)
        return overdue < stored.lifetime.stale_if_error_s

    def _refresh(self, stored: Entry, answer: Headers, shown: dict[str, str], now: float) -> Serve | Refuse:
        """A 304 to our own question: the stored response is good again, and the client gets it."""
        updated, may_keep = validation.freshened(
            stored, self._headers, answer, shown, self._rules, requested_at=self._requested_at, now=now
        )
        kept = may_keep and not self._spoiled
        if kept:
            self._store(updated, self._cache.store.selecting(self._target.primary), now)
        else:
            self._cache.store.remove(self._found.key)
            self._decline(now, _UNCACHEABLE_S)
        line = status.forwarded(self._route.cache_name, self._reason, status=304, stored=kept)
        return self._serve(updated, now, stale=True, line=line)

    def _store(self, entry: Entry, vary: tuple[str, ...], now: float) -> None:
        if self._spoiled:
            self._decline(now, 0.0)
            return
        store = self._cache.store
        names = tuple(sorted((set(vary) - self._route.fixed).union(self._rules.vary)))
        selecting = store.note_selecting(self._target.primary, names)
        key = key_of(self._target, selecting, self._headers)
        was_stored = store.put(
            key,
            entry,
            primary=self._target.primary,
            uri=self._target.uri,
            selecting=selecting,
            route=self._route.name,
            expires_at=now + storing.kept_s(entry),
        )
        if not was_stored:
            self._observer.not_stored("too-large")
            self._decline(now, _UNCACHEABLE_S)
            return
        self._observer.stored(entry.size)
        served_stale = entry.lifetime.stale_while_revalidate_s > 0
        if entry.always_revalidate or (entry.remaining(now) <= 0 and not served_stale):
            # Each follower has to ask the origin itself; waiting for one another would only serialise them.
            self._decline(now, _UNCACHEABLE_S)
            return
        self._cache.flights.forget_uncacheable(self._found.key)
        if self._ticket is not None:
            self._ticket.stored()

    def _decline(self, now: float, for_s: float, *, failed: bool = False) -> None:
        if self._ticket is not None:
            self._ticket.declined(now + for_s, failed=failed)

    def _serve(
        self, stored: Entry, now: float, *, stale: bool = False, collapsed: bool = False, line: str | None = None
    ) -> Serve | Refuse:
        """
        Args:
            line: Cache-Status where it is not that of a plain hit.
        """
        name = self._route.cache_name
        outcome: Outcome = "collapsed" if collapsed else "stale" if stale else "hit"
        if not self._fills:
            self._observer.outcome(outcome)
        if collapsed:
            line = status.forwarded(name, self._reason, collapsed=True)
        age = int(stored.age(now))
        if line is None:
            line = status.hit(name, int(stored.lifetime.fresh_s) - age)
        headers = self._headers
        not_modified = validation.is_not_modified(headers, stored)
        part: Part | None = None
        if "range" in headers and not not_modified and headers[":method"] == "GET":
            wanted = wanted_part(headers, stored)
            if isinstance(wanted, Unsatisfiable):
                return self._refuse_range(stored, line)
            part = wanted
        return Serve(stored, age, line, outcome, not_modified, part)

    def _refuse_range(self, stored: Entry, line: str) -> Refuse:
        return Refuse(
            416,
            "range-not-satisfiable",
            "Range Not Satisfiable",
            "The range lies outside the resource.",
            (("content-range", f"bytes */{len(stored.body)}"), ("cache-status", line)),
            self._headers.get("x-request-id", ""),
            "hit",
        )

    def _refuse_to_ask(self) -> Refuse:
        self._observer.outcome("miss")
        return Refuse(
            504,
            "not-cached",
            "Gateway Timeout",
            "The request asks for a cached response only, and there is none that it may have.",
            (("cache-status", self._route.cache_name),),
            self._headers.get("x-request-id", ""),
            "miss",
        )
