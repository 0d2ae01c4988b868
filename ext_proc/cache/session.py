"""One request's business with the cache, from lookup to storing; pure, driven by `exchange.py`."""

from dataclasses import dataclass

from ext_proc.cache import status, storing, validation
from ext_proc.cache.cache import Cache, Observer
from ext_proc.cache.entry import Entry
from ext_proc.cache.fields import Headers
from ext_proc.cache.fleet import FleetTurn, result_of
from ext_proc.cache.lookup import (
    Bypass,
    CachedRoute,
    Found,
    Target,
    Use,
    bypass,
    found_in,
    key_of,
    look_up,
    look_up_variant,
    target_of,
)
from ext_proc.cache.owed import OwedToOthers
from ext_proc.cache.refusals import not_cached
from ext_proc.cache.serving import served
from ext_proc.cache.shared import Fetched, Lease, Place
from ext_proc.cache.single_flight import State
from ext_proc.events import Forward, Outcome, Refuse, RequestStart, ResponseStart, Serve, Wait
from policy.processing import HeaderChanges

_ERRORS = frozenset({500, 502, 503, 504})
"""RFC 5861 section 4."""
_UNCACHEABLE_S = 60.0
"""How long nobody waits for a key whose response may not be stored."""
_FAILED_S = 1.0
"""The same after a failure, which may be over soon."""
_BOUND_TO_BE_NEW = HeaderChanges(remove=validation.CONDITIONS, set=(("accept-encoding", "identity"),))
"""What is stored is whole and uncompressed, so the service is asked for that."""
_AS_IT_CAME = HeaderChanges(set=(("accept-encoding", "identity"),))


@dataclass(slots=True)
class Note:
    """What the cache adds to a response that goes on to the client."""

    cache_status: str
    fill: bool = False
    """Its body is wanted: `complete` with it."""


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
        "_owed",
        "_reason",
        "_requested_at",
        "_route",
        "_rules",
        "_storable",
        "_target",
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
        self._owed = OwedToOthers(cache)
        self._deadline: float | None = None
        self._reason: status.Forwarded = "bypass"
        self._fills = False
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
        shared = self._cache.shared_store(self._rules.store)
        if shared is not None:
            self._owed.fleet = FleetTurn(shared)
        return self._decide(now, collapsed=False)

    def resume(self, now: float) -> Forward | Serve | Refuse | Wait:
        """After Wait: what it waited for is there, or the time is up."""
        if self._owed.fleet is not None and self._owed.fleet.is_asking:
            return self._fetched(self._owed.fleet, now)
        ticket = self._owed.ticket
        assert ticket is not None
        if ticket.state is State.WAITING:
            ticket.leave()
        if ticket.state is State.READ:
            self._owed.ticket = None
            return self._decide(now, collapsed=True)
        stored = self._found.stored
        if ticket.state is State.GO and ticket.failed and stored is not None and self._may_serve_on_error(stored, now):
            return self._serve(stored, now, stale=True)
        return self._lead(now) if ticket.state is State.LEADING else self._ask(now, leading=False)

    def response(self, event: ResponseStart, shown: dict[str, str], now: float) -> Note | Serve | Refuse:
        """
        Args:
            shown: header fields after the route's transforms.
        """
        code = event.status
        name = self._route.cache_name
        if not self._fills:
            self._cache.note_write(self._headers, event, self._rules.query)
        conditional = self._conditional
        if conditional is not None and code == 304 and event.from_upstream:
            return self._refresh(conditional, event.headers, shown, now)
        fallback = self._fallback
        if code in _ERRORS and fallback is not None and self._may_serve_on_error(fallback, now):
            self._owed.decline(now, _FAILED_S, failed=True)
            return self._serve(fallback, now, stale=True, line=status.forwarded(name, "stale", status=code))
        if not self._fills or (code == 304 and conditional is None):
            self._owed.decline(now, 0.0)
            return Note(status.forwarded(name, self._reason))
        judged = storing.judge(
            self._headers, code, event.headers, self._rules, from_upstream=event.from_upstream, now=now
        )
        if not isinstance(judged, storing.Storable) or self._owed.is_spoiled:
            if not isinstance(judged, storing.Storable):
                self._observer.not_stored(judged)
            failed = code >= 500
            self._owed.decline(now, _FAILED_S if failed else _UNCACHEABLE_S, failed=failed)
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
        self._owed.decline(now, _UNCACHEABLE_S)

    def close(self) -> None:
        """Whatever happened: nobody waits for this session any more."""
        self._owed.close()

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
        if found.wishes.no_store and not found.wishes.only_if_cached:
            self._reason = "request"
            return self._pass_by("no-store")
        if not self._is_alone(found):
            return self._join(found, now)
        if self._owed.fleet is not None and self._owed.fleet.is_up:
            return self._fetch(self._owed.fleet, now, lease=False)
        return self._go_alone(now)

    def _is_alone(self, found: Found) -> bool:
        """Whether the request has wishes of its own, so that nobody else waits for what it gets."""
        headers, wishes = self._headers, found.wishes
        own = wishes.only_if_cached or wishes.no_cache or headers[":method"] == "HEAD" or "range" in headers
        return own or found.reason == "request"

    def _go_alone(self, now: float) -> Forward | Refuse:
        if self._found.wishes.only_if_cached:
            self._observer.outcome("miss")
            return not_cached(self._route.cache_name, self._headers)
        if self._headers[":method"] == "HEAD" or "range" in self._headers:
            return self._forward(HeaderChanges())
        self._reason = "request"
        return self._ask(now, leading=True)

    def _join(self, found: Found, now: float) -> Forward | Serve | Refuse | Wait:
        ticket = self._owed.ticket = self._cache.flights.join(found.key, now)
        if ticket.state is State.LEADING:
            return self._lead(now)
        if ticket.state is State.WAITING:
            left_s = self._wait_left_s(now)
            if left_s > 0:
                return Wait(ticket, left_s)
            ticket.leave()
        elif ticket.failed and found.stored is not None and self._may_serve_on_error(found.stored, now):
            return self._serve(found.stored, now, stale=True)
        return self._ask(now, leading=False)

    def _wait_left_s(self, now: float) -> float:
        """How much longer this request may wait for others; the time runs from the first question."""
        if self._deadline is None:
            self._deadline = now + self._cache.wait_s
        return self._deadline - now

    def _lead(self, now: float) -> Forward | Wait:
        """The first of this process's requests for a key looks whether another process has it, or asks just now."""
        if self._owed.fleet is not None and self._owed.fleet.is_up:
            return self._fetch(self._owed.fleet, now, lease=True)
        return self._ask(now, leading=True)

    def _fetch(self, fleet: FleetTurn, now: float, *, lease: bool, is_exact: bool = False) -> Wait:
        """Ask the shared store; what is invalidated meanwhile is as good as not there."""
        self._owed.begin_fill(self._target.uri)
        found = self._found
        place = Place(self._target.uri, self._target.primary, found.key, found.selecting)
        pending = fleet.ask(place, now, lease=lease, is_exact=is_exact)
        return Wait(pending, max(fleet.patience_s, self._wait_left_s(now)) if fleet.has_waited else fleet.patience_s)

    def _fetched(self, fleet: FleetTurn, now: float) -> Forward | Serve | Refuse | Wait:
        """After Wait: the shared store has answered, or takes too long."""
        answer = fleet.answered()
        alone = self._is_alone(self._found)
        if answer.selecting is not None:
            return self._look_again(fleet, answer.selecting, now, lease=not alone)
        stored = None if self._owed.is_spoiled else answer.entry
        if stored is not None:
            stored = self._keep(stored, now)
            self._found = found_in(self._found, stored, self._target, self._headers, now)
            self._reason = self._found.reason
        self._observer.fetched(result_of(answer, self._found), fleet.took_s(now))
        served = self._serve_fetched(fleet, answer, now)
        if served is not None:
            return served
        return self._go_alone(now) if alone or self._is_alone(self._found) else self._take_turn(fleet, answer, now)

    def _look_again(self, fleet: FleetTurn, names: tuple[str, ...], now: float, *, lease: bool) -> Wait:
        """Variants differ by other request headers than this process knew."""
        known = self._cache.store.selecting(self._target.primary)
        selecting = tuple(sorted({*names, *known}))
        self._found = look_up_variant(self._cache.store, self._target, selecting, self._headers, now, is_known=True)
        self._reason = self._found.reason
        return self._fetch(fleet, now, lease=lease, is_exact=True)

    def _keep(self, stored: Entry, now: float) -> Entry:
        """Put what the shared store has into memory, unless something newer is there; which of them counts."""
        mine = self._found.stored
        if mine is not None and mine.received_at >= stored.received_at:
            return mine
        store, target = self._cache.store, self._target
        selecting = store.note_selecting(target.primary, self._found.selecting)
        store.put(
            key_of(target, selecting, self._headers),
            stored,
            primary=target.primary,
            uri=target.uri,
            selecting=selecting,
            route=self._route.name,
            expires_at=stored.received_at + storing.kept_s(stored),
        )
        return stored

    def _serve_fetched(self, fleet: FleetTurn, answer: Fetched, now: float) -> Serve | Refuse | None:
        found = self._found
        stored = found.stored
        if stored is None or found.use is Use.ASK:
            return None
        stale = found.use is not Use.SERVE
        if found.use is Use.SERVE_WHILE_REVALIDATING and answer.lease is not Lease.HELD and not fleet.has_waited:
            return None
        fleet.decline(0.0, failed=False)
        if self._owed.ticket is not None:
            self._owed.ticket.stored()
        return self._serve(stored, now, stale=stale, collapsed=fleet.has_waited)

    def _take_turn(self, fleet: FleetTurn, answer: Fetched, now: float) -> Forward | Serve | Refuse | Wait:
        """Nobody has it: ask the origin, or wait for the process that does."""
        stored = self._found.stored
        if answer.lease is Lease.UNCACHEABLE:
            self._owed.decline(now, answer.uncacheable_s, failed=answer.failed)
            if answer.failed and stored is not None and self._may_serve_on_error(stored, now):
                return self._serve(stored, now, stale=True)
            return self._ask(now, leading=False)
        if answer.lease is Lease.HELD and self._wait_left_s(now) > 0:
            fleet.wait_for_another()
            return self._fetch(fleet, now, lease=True)
        return self._ask(now, leading=True)

    def _ask(self, now: float, *, leading: bool) -> Forward:
        """Go upstream with a request whose response can be stored.

        A key that is known to be uncacheable is asked for as the client asks: its own conditions save transfers.
        """
        self._requested_at = now
        self._fills = True
        self._owed.begin_fill(self._target.uri)
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
        kept = may_keep and not self._owed.is_spoiled
        if kept:
            self._store(updated, self._cache.store.selecting(self._target.primary), now, keeps_body=True)
        else:
            self._cache.store.remove(self._found.key)
            self._owed.decline(now, _UNCACHEABLE_S)
        line = status.forwarded(self._route.cache_name, self._reason, status=304, stored=kept)
        return self._serve(updated, now, stale=True, line=line)

    def _store(self, entry: Entry, vary: tuple[str, ...], now: float, *, keeps_body: bool = False) -> None:
        if self._owed.is_spoiled:
            self._owed.decline(now, 0.0)
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
            self._owed.decline(now, _UNCACHEABLE_S)
            return
        self._observer.stored(entry.size)
        served_stale = entry.lifetime.stale_while_revalidate_s > 0
        # Each follower has to ask the origin itself; waiting for one another would only serialise them.
        asks_again = entry.always_revalidate or (entry.remaining(now) <= 0 and not served_stale)
        if self._owed.fleet is not None:
            uncacheable_s = _UNCACHEABLE_S if asks_again else 0.0
            replaces = self._reason == "request"
            self._owed.fleet.put(
                key, selecting, entry, now, uncacheable_s=uncacheable_s, replaces=replaces, keeps_body=keeps_body
            )
        if asks_again:
            self._owed.decline(now, _UNCACHEABLE_S)
            return
        self._cache.flights.forget_uncacheable(self._found.key)
        if self._owed.ticket is not None:
            self._owed.ticket.stored()

    def _serve(
        self, stored: Entry, now: float, *, stale: bool = False, collapsed: bool = False, line: str | None = None
    ) -> Serve | Refuse:
        """
        Args:
            line: Cache-Status where it is not that of a plain hit.
        """
        outcome: Outcome = "collapsed" if collapsed else "stale" if stale else "hit"
        if not self._fills:
            self._observer.outcome(outcome)
        name = self._route.cache_name
        if collapsed:
            line = status.forwarded(name, self._reason, collapsed=True)
        return served(stored, self._headers, name, outcome, line, now)
