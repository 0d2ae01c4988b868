"""Whole exchanges: what Envoy says, and what it is answered, without protobuf and without a clock."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.cache.cache import Cache, serve_fresh
from ext_proc.cache.memory import MemoryStore
from ext_proc.cache.session import CacheSession
from ext_proc.cache.single_flight import Flights
from ext_proc.events import (
    Action,
    BodyMode,
    Chunk,
    Forward,
    PassBody,
    PassHeaders,
    PassTrailers,
    Refuse,
    ReplaceBody,
    RequestStart,
    ResponseStart,
    Serve,
    Trailers,
    Wait,
)
from ext_proc.exchange import Exchange, route_of
from policy.cache_key import QueryRules
from policy.processing import CacheRules, HeaderChanges, Processing, Scope
from tests.unit.ext_proc.rules import DATE, NOW, processing, redacting, rules


class Counts:
    """An observer that counts by name."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def outcome(self, outcome: str) -> None:
        self.counts[outcome] += 1

    def bypassed(self, reason: str) -> None:
        self.counts[f"bypass {reason}"] += 1

    def not_stored(self, reason: str) -> None:
        self.counts[f"not stored {reason}"] += 1

    def stored(self, size: int) -> None:
        self.counts["stored"] += 1

    def transformed(self, direction: str, result: str) -> None:
        self.counts[f"{direction} {result}"] += 1

    def fetched(self, result: str, seconds: float) -> None:
        self.counts[f"fetched {result}"] += 1


class Gateway:
    """One ext_proc process and the exchanges that it has."""

    def __init__(self, policy: Processing) -> None:
        self.route = route_of(policy, "route")
        self.store = MemoryStore(max_bytes=10_000_000, max_entries=100)
        self.flights = Flights()
        self.cache = Cache(self.store, self.flights, wait_s=5.0)
        self.observer = Counts()
        self.now = NOW

    def begin(self, path: str = "/a", method: str = "GET", identity: str = "", **headers: str) -> "Client":
        return Client(self, path, method, identity, {name.replace("_", "-"): value for name, value in headers.items()})

    def fetch(
        self, path: str = "/a", response: dict[str, str] | None = None, body: bytes = b"body", **more: Any
    ) -> str:
        """A whole exchange that reaches the service; what Cache-Status says at its end."""
        client = self.begin(path, **more)
        assert isinstance(client.action, Forward)
        client.answered(response if response is not None else {"cache-control": "max-age=60"}, body)
        return client.cache_status


class Client:
    """One exchange."""

    def __init__(self, gateway: Gateway, path: str, method: str, identity: str, headers: dict[str, str]) -> None:
        self.gateway = gateway
        self.exchange = Exchange(gateway.route, gateway.cache, gateway.observer)
        fields = {":method": method, ":scheme": "http", ":authority": "h", ":path": path, **headers}
        self.action: Action = self.exchange.on(RequestStart(fields, identity), gateway.now)

    def responds(
        self, headers: dict[str, str], *, status: int = 200, end: bool = False, from_upstream: bool = True
    ) -> Action:
        fields = {":status": str(status), **headers}
        self.action = self.exchange.on(ResponseStart(fields, end, from_upstream), self.gateway.now)
        return self.action

    def chunk(self, data: bytes, *, end: bool = False) -> Action:
        return self.exchange.on(Chunk(data, end), self.gateway.now)

    def answered(self, headers: dict[str, str], body: bytes = b"body", *, status: int = 200) -> None:
        action = self.responds(headers, status=status)
        if isinstance(action, PassHeaders) and action.body is not BodyMode.NONE:
            self.chunk(body, end=True)
        self.exchange.close()

    def resume(self) -> Action:
        self.action = self.exchange.resume(self.gateway.now)
        return self.action

    @property
    def cache_status(self) -> str:
        match self.action:
            case Serve():
                return self.action.cache_status
            case PassHeaders():
                return dict(self.action.changes.set)["cache-status"]
            case _:
                raise AssertionError(self.action)


FRESH = {"cache-control": "max-age=60"}


def gateway(cache: CacheRules | None = None, **changes: Any) -> Gateway:
    return Gateway(processing(cache or rules(), **changes))


def test_a_miss_is_stored_and_then_hit() -> None:
    """The hit has the body, its age and what is left of its freshness."""
    g = gateway()
    assert "edge; fwd=uri-miss; stored" == g.fetch()
    g.now += 7

    hit = g.begin().action

    assert isinstance(hit, Serve)
    assert (b"body", 7, "edge; hit; ttl=53", "hit") == (hit.entry.body, hit.age_s, hit.cache_status, hit.outcome)
    assert {"miss": 1, "stored": 1, "hit": 1} == g.observer.counts


def test_head_is_served_from_get_but_never_stored() -> None:
    """A HEAD has no body that a GET could be served."""
    g = gateway()
    assert "edge; fwd=uri-miss" == g.fetch(method="HEAD", body=b"")
    g.fetch()

    assert isinstance(g.begin(method="HEAD").action, Serve)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"cache_control": "no-cache"}, "edge; fwd=request; stored"),
        ({"pragma": "no-cache"}, "edge; fwd=request; stored"),
        ({"cache_control": "max-age=5"}, "edge; fwd=request; stored"),
        ({"cache_control": "min-fresh=55"}, "edge; fwd=request; stored"),
        ({"if_match": '"a"'}, "edge; fwd=bypass"),
        ({"accept": "text/event-stream"}, "edge; fwd=bypass"),
    ],
)
def test_requests_that_do_not_want_what_is_stored(headers: dict[str, str], expected: str) -> None:
    """RFC 9111 section 5.2.1."""
    g = gateway()
    g.fetch()
    g.now += 10

    client = g.begin(**headers)
    client.answered(FRESH)

    assert expected == client.cache_status


def test_no_store_on_a_request_keeps_its_response_out() -> None:
    """RFC 9111 section 5.2.1.5; what is there may still be served."""
    g = gateway()
    assert "edge; fwd=request" == g.fetch(cache_control="no-store")
    assert 0 == len(g.store)
    g.fetch()

    assert isinstance(g.begin(cache_control="no-store").action, Serve)


def test_only_if_cached_is_504_on_a_miss() -> None:
    """RFC 9111 section 5.2.1.7."""
    g = gateway()
    refused = g.begin(cache_control="only-if-cached").action
    assert isinstance(refused, Refuse)
    assert 504 == refused.status
    g.fetch()

    assert isinstance(g.begin(cache_control="only-if-cached").action, Serve)


def test_max_stale_serves_stale_unless_the_origin_forbids() -> None:
    """RFC 9111 section 5.2.1.2."""
    g = gateway()
    g.fetch("/a")
    g.fetch("/b", {"cache-control": "max-age=60, must-revalidate"})
    g.now += 65

    stale = g.begin("/a", cache_control="max-stale=10").action
    assert isinstance(stale, Serve)
    assert ("edge; hit; ttl=-5", "stale") == (stale.cache_status, stale.outcome)
    assert isinstance(g.begin("/b", cache_control="max-stale=10").action, Forward)
    assert isinstance(g.begin("/a", cache_control="max-stale=4").action, Forward)


@pytest.mark.parametrize("headers", [{"upgrade": "websocket"}, {"content_type": "application/grpc"}])
def test_streams_are_left_alone(headers: dict[str, str]) -> None:
    """The response side is not even asked for."""
    action = gateway().begin(**headers).action

    assert isinstance(action, Forward)
    assert action.last


def test_an_unsafe_request_invalidates_unless_it_fails() -> None:
    """RFC 9111 section 4.4."""
    g = gateway()
    g.fetch()
    g.begin(method="POST").answered({}, status=500)
    assert isinstance(g.begin().action, Serve)
    g.begin(method="POST").answered({}, status=201)

    assert isinstance(g.begin().action, Forward)


def test_a_fill_that_began_before_an_invalidation_is_not_stored() -> None:
    """It may hold what the unsafe request has just changed."""
    g = gateway()
    reader = g.begin()
    g.begin(method="DELETE").answered({}, status=204)
    reader.answered(FRESH)

    assert 0 == len(g.store)


def test_every_variant_has_its_own_entry() -> None:
    """Normalised the same way at store and lookup; a new one is a vary-miss."""
    g = gateway()
    response = FRESH | {"vary": "Accept-Language"}
    g.fetch(response=response, body=b"en", accept_language="en,  DE")

    hit = g.begin(accept_language="EN,de").action
    assert isinstance(hit, Serve)
    assert b"en" == hit.entry.body
    assert "edge; fwd=vary-miss; stored" == g.fetch(response=response, body=b"de", accept_language="de")
    assert isinstance(g.begin(accept_language="de").action, Serve)
    assert isinstance(g.begin().action, Forward)


def test_a_header_that_the_route_fixes_selects_nothing() -> None:
    """The service sees identity coding and the header that was set on every request."""
    g = gateway(request=HeaderChanges(remove=("x-gone",), set=(("x-set", "1"),)))
    g.fetch(response=FRESH | {"vary": "accept-encoding, x-set, x-gone"}, accept_encoding="gzip", x_set="2", x_gone="3")

    assert isinstance(g.begin(accept_encoding="br").action, Serve)


def test_the_route_s_vary_adds_to_the_origin_s() -> None:
    """Each tenant has its own entry though the service does not say so."""
    g = gateway(rules(vary=("x-tenant",)))
    g.fetch(x_tenant="a")

    assert isinstance(g.begin(x_tenant="a").action, Serve)
    assert isinstance(g.begin(x_tenant="b").action, Forward)


def test_scope_user_keeps_identities_apart() -> None:
    """Nobody gets what was stored for another; without identity the cache is left alone."""
    g = gateway(rules(scope=Scope.USER))
    g.fetch(identity="alice", authorization="Bearer a")

    assert isinstance(g.begin(identity="alice", authorization="Bearer b").action, Serve)
    assert isinstance(g.begin(identity="bob").action, Forward)
    assert "edge; fwd=bypass" == g.fetch()


def test_the_service_is_asked_for_a_whole_uncompressed_response() -> None:
    """A client's condition would bring a 304 that nobody else can use."""
    action = gateway().begin(if_none_match='"a"', accept_encoding="br").action

    assert isinstance(action, Forward)
    assert HeaderChanges(("if-none-match", "if-modified-since"), (("accept-encoding", "identity"),)) == action.changes


def test_a_stale_entry_is_revalidated() -> None:
    """The origin's 304 makes it fresh, and the client gets 200 with the stored body."""
    g = gateway()
    g.fetch(response={"cache-control": "max-age=1", "etag": '"a"'})
    g.now += 5
    client = g.begin()
    assert isinstance(client.action, Forward)
    assert ("if-none-match", '"a"') in client.action.changes.set

    served = client.responds(FRESH | {"etag": '"a"'}, status=304, end=True)

    assert isinstance(served, Serve)
    assert ("edge; fwd=stale; fwd-status=304; stored", False) == (served.cache_status, served.not_modified)
    assert isinstance(g.begin().action, Serve)


def test_a_revalidated_response_can_be_304_for_the_client() -> None:
    """Its own validator is compared with the stored response."""
    g = gateway()
    g.fetch(response={"cache-control": "max-age=1", "etag": '"a"'})
    g.now += 5
    served = g.begin(if_none_match='"a"').responds(FRESH, status=304, end=True)

    assert isinstance(served, Serve)
    assert served.not_modified


def test_a_client_s_condition_on_a_hit_is_answered_here() -> None:
    """RFC 9111 section 4.3.2."""
    g = gateway()
    g.fetch(response=FRESH | {"etag": '"a"'})
    hit = g.begin(if_none_match='W/"a"').action

    assert isinstance(hit, Serve)
    assert hit.not_modified


@pytest.mark.parametrize(("status", "from_upstream"), [(503, False), (504, False), (500, True)])
def test_stale_if_error(status: int, from_upstream: bool) -> None:
    """A failure of the service, or Envoy's own on its behalf, is covered by a stale response."""
    g = gateway(rules(stale_if_error_s=100.0))
    g.fetch()
    g.now += 70
    served = g.begin().responds({}, status=status, from_upstream=from_upstream)

    assert isinstance(served, Serve)
    assert f"edge; fwd=stale; fwd-status={status}" == served.cache_status
    assert "stale" == served.outcome


def test_a_stale_response_is_not_served_before_an_error_was_met() -> None:
    """stale-if-error is no freshness, also where nobody can wait for a response that is never fresh."""
    g = gateway(rules(stale_if_error_s=100.0))
    never_fresh = {"cache-control": "max-age=0", "etag": '"a"'}
    g.fetch(response=never_fresh)

    assert isinstance(g.begin().action, Forward)
    g.begin().responds({}, status=503)
    failed = g.begin()
    assert isinstance(failed.action, Forward), "the mark says that it is uncacheable, not that the service failed"


def test_a_failure_met_by_one_spares_its_followers() -> None:
    """They are served stale at once, and so is who comes within the next second."""
    g = gateway(rules(stale_if_error_s=100.0))
    g.fetch()
    g.now += 70
    leader, follower = g.begin(), g.begin()
    leader.responds({}, status=503)

    assert isinstance(follower.resume(), Serve)
    assert isinstance(g.begin().action, Serve)
    g.now += 2
    assert isinstance(g.begin().action, Forward)


def test_stale_while_revalidating_one_asks_and_the_others_are_served() -> None:
    """RFC 5861 section 3, as far as a callout can: the request that asks waits itself."""
    g = gateway(rules(stale_while_revalidate_s=100.0))
    g.fetch()
    g.now += 70
    first = g.begin()
    assert isinstance(first.action, Forward)
    assert isinstance(g.begin().action, Serve)
    first.answered(FRESH)

    assert "edge; hit; ttl=60" == g.begin().cache_status


def test_followers_get_what_the_leader_stored() -> None:
    """One request reaches the service."""
    g = gateway()
    leader = g.begin()
    followers = [g.begin() for _ in range(3)]
    assert all(isinstance(follower.action, Wait) for follower in followers)

    leader.answered(FRESH)
    for follower in followers:
        follower.resume()

    assert {"edge; fwd=uri-miss; collapsed"} == {follower.cache_status for follower in followers}


def test_a_follower_of_another_variant_does_not_get_the_leader_s() -> None:
    """What the response's Vary says is known only when it comes."""
    g = gateway()
    leader = g.begin(accept_language="en")
    same, other = g.begin(accept_language="en"), g.begin(accept_language="de")
    leader.answered(FRESH | {"vary": "accept-language"})

    assert isinstance(same.resume(), Serve)
    assert isinstance(other.resume(), Forward)


@pytest.mark.parametrize("headers", [{"cache-control": "private"}, FRESH | {"set-cookie": "a=b"}])
def test_followers_of_an_uncacheable_response_go_themselves(headers: dict[str, str]) -> None:
    """At once, when its headers are known; and the next burst does not wait."""
    g = gateway()
    leader = g.begin()
    follower = g.begin()
    leader.responds(headers)

    assert isinstance(follower.resume(), Forward)
    assert isinstance(g.begin().action, Forward)


def test_a_response_to_a_known_uncacheable_key_is_stored_once_it_may_be() -> None:
    """And others wait for each other again."""
    g = gateway()
    g.fetch(response={"cache-control": "private"})
    assert "edge; fwd=uri-miss; stored" == g.fetch()
    g.now += 61

    assert isinstance(g.begin().action, Forward)
    assert isinstance(g.begin().action, Wait)


def test_a_known_uncacheable_key_keeps_the_client_s_conditions() -> None:
    """They save a transfer that the cache cannot save."""
    g = gateway()
    g.fetch(response={"cache-control": "private", "etag": '"a"'})
    action = g.begin(if_none_match='"a"').action

    assert isinstance(action, Forward)
    assert () == action.changes.remove


def test_a_lost_leader_is_replaced_by_one_follower() -> None:
    """Its client went away before the response was complete."""
    g = gateway()
    leader, first, second = g.begin(), g.begin(), g.begin()
    leader.responds(FRESH)
    leader.chunk(b"bo")
    leader.exchange.close()

    assert isinstance(first.resume(), Forward)
    assert 0 == len(g.store)
    first.answered(FRESH)
    assert isinstance(second.resume(), Serve)


def test_waiting_is_bounded() -> None:
    """A follower whose time is up goes itself and may store what it gets."""
    g = gateway()
    g.begin()
    follower = g.begin()
    assert isinstance(follower.action, Wait)
    assert 5.0 == follower.action.at_most_s
    g.now += 5
    assert isinstance(follower.resume(), Forward)
    follower.answered(FRESH)

    assert isinstance(g.begin().action, Serve)


def test_a_body_over_the_limit_passes_and_is_not_stored() -> None:
    """Counted where no Content-Length tells; followers are released when it is known."""
    g = gateway(rules(max_body_bytes=5))
    leader, follower = g.begin(), g.begin()
    leader.responds(FRESH)

    assert not leader.chunk(b"12345").last
    assert PassBody(last=True) == leader.chunk(b"6")
    assert isinstance(follower.resume(), Forward)
    assert 0 == len(g.store)


def test_a_truncated_body_is_not_stored() -> None:
    """Shorter than its Content-Length, or without an end."""
    g = gateway()
    short = g.begin("/short")
    short.responds(FRESH | {"content-length": "10"})
    short.chunk(b"12345", end=True)
    reset = g.begin("/reset")
    reset.responds(FRESH)
    reset.chunk(b"12345")
    reset.exchange.close()

    assert 0 == len(g.store)


def test_trailers_end_a_body() -> None:
    """Then no chunk says so."""
    g = gateway()
    client = g.begin()
    client.responds(FRESH)
    client.chunk(b"1")
    assert isinstance(client.exchange.on(Trailers(), g.now), PassTrailers)

    assert isinstance(g.begin().action, Serve)


def test_a_complete_content_length_ends_the_stream_early() -> None:
    """No need to be sent an empty last chunk."""
    g = gateway()
    client = g.begin()
    client.responds(FRESH | {"content-length": "1"})

    assert PassBody(last=True) == client.chunk(b"1")
    assert isinstance(g.begin().action, Serve)


def test_a_range_of_what_is_not_stored_passes() -> None:
    """A 206 is nobody else's response."""
    g = gateway()
    client = g.begin(range="bytes=0-1")
    assert isinstance(client.action, Forward)
    assert not client.action.changes
    client.answered(FRESH, status=206)
    assert 0 == len(g.store)
    g.fetch()
    served = g.begin(range="bytes=0-1").action
    assert isinstance(served, Serve)
    assert served.part is not None
    refused = g.begin(range="bytes=9-").action
    assert isinstance(refused, Refuse)
    assert 416 == refused.status


def test_what_is_stored_has_the_response_s_changes() -> None:
    """A hit looks like the miss before it, and the origin's own fields decide about storing."""
    changes = HeaderChanges(remove=("server", "cache-control"), set=(("x-set", "1"),), append=(("link", "<b>"),))
    g = gateway(response=changes)
    g.fetch(response=FRESH | {"server": "x", "link": "<a>"})
    hit = g.begin().action

    assert isinstance(hit, Serve)
    assert {"link": "<a>, <b>", "x-set": "1"} == {n: v for n, v in hit.entry.headers if n != "date"}


def test_the_origin_s_cache_status_is_kept() -> None:
    """RFC 9211: each cache adds its member at the end."""
    client = gateway().begin()
    client.responds(FRESH | {"cache-status": "origin; hit"})

    assert "origin; hit, edge; fwd=uri-miss; stored" == client.cache_status


def test_a_stream_that_begins_with_a_response_passes_untouched() -> None:
    """Envoy's reply before this filter saw the request."""
    exchange = Exchange(route_of(processing(rules()), "route"), gateway().cache, Counts())

    assert PassHeaders() == exchange.on(ResponseStart({":status": "401"}, True, False), NOW)


def test_a_transform_without_cache_asks_for_the_response_only_if_it_changes_it() -> None:
    """A request transform costs one message."""
    only_request = Gateway(processing(request=HeaderChanges(set=(("x", "1"),)))).begin().action
    both = Gateway(processing(response=HeaderChanges(remove=("server",)))).begin()

    assert Forward(HeaderChanges(set=(("x", "1"),))) == only_request
    assert Forward(watch=True) == both.action
    assert PassHeaders(HeaderChanges(remove=("server",))) == both.responds({"server": "x"})


REDACT: dict[str, Any] = {"transform": redacting("password")}


def test_redacted_bodies_are_the_same_on_miss_and_hit() -> None:
    """What is stored is what the client got; the ETag is weak, Range is not forwarded."""
    g = gateway(**REDACT)
    client = g.begin()
    assert isinstance(client.action, Forward)
    assert "range" in client.action.changes.remove
    headers = client.responds(FRESH | {"content-type": "application/json", "etag": '"a"', "content-length": "16"})
    assert isinstance(headers, PassHeaders)
    assert BodyMode.WHOLE is headers.body
    replaced = client.chunk(b'{"password":"x"}', end=True)
    assert ReplaceBody(b'{"password":"[redacted]"}', HeaderChanges(set=(("etag", 'W/"a"'),))) == replaced

    hit = g.begin().action
    assert isinstance(hit, Serve)
    assert b'{"password":"[redacted]"}' == hit.entry.body
    assert 'W/"a"' == dict(hit.entry.headers)["etag"]


def test_what_cannot_be_redacted_is_blocked() -> None:
    """By its headers or by its body; and nobody waits for it."""
    g = gateway(**REDACT)
    by_type = g.begin("/html")
    refused = by_type.responds(FRESH | {"content-type": "text/html"})
    assert isinstance(refused, Refuse)
    assert 502 == refused.status
    by_body = g.begin("/bad")
    follower = g.begin("/bad")
    by_body.responds(FRESH | {"content-type": "application/json"})

    assert isinstance(by_body.chunk(b"{", end=True), Refuse)
    assert isinstance(follower.resume(), Forward)


def test_bodies_without_members_are_not_redacted() -> None:
    """Images, and what Envoy itself answers."""
    g = gateway(**REDACT)
    image = g.begin("/image").responds(FRESH | {"content-type": "image/png"})
    local = g.begin("/down").responds({"content-type": "text/plain"}, status=503, from_upstream=False)

    assert isinstance(image, PassHeaders)
    assert BodyMode.STREAMED is image.body
    assert isinstance(local, PassHeaders)
    assert BodyMode.NONE is local.body


def test_a_write_on_a_route_without_cache_invalidates_what_another_stored() -> None:
    """Once it has succeeded; its answer passes untouched, and reads are not watched."""
    g = gateway()
    g.fetch()
    route = g.route
    g.route = route_of(processing(None, invalidates=True), "writes")

    assert Forward() == g.begin().action
    failed = g.begin(method="POST")
    assert Forward(watch=True) == failed.action
    assert PassHeaders() == failed.responds({}, status=500)
    assert 1 == len(g.store)
    assert PassHeaders() == g.begin(method="POST").responds({}, status=201)

    assert 0 == len(g.store)
    g.route = route
    assert isinstance(g.begin().action, Forward)


WISHES = {
    "accept": ["*/*", "text/event-stream", "text/html"],
    "authorization": ["Bearer x"],
    "cache-control": ["no-cache", "max-age=3", "max-age=30", "min-fresh=100", "no-store", "only-if-cached"],
    "content-type": ["application/grpc", "text/plain"],
    "if-match": ['"a"'],
    "if-modified-since": [DATE],
    "if-none-match": ['"a"', "*"],
    "if-range": ['"a"'],
    "if-unmodified-since": [DATE],
    "pragma": ["no-cache"],
    "range": ["bytes=0-1", "bytes=900-"],
    "upgrade": ["websocket"],
    "x-other": ["1"],
}


@given(
    st.sampled_from(["GET", "HEAD", "POST", "OPTIONS"]),
    st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in WISHES.items()}),
    st.sampled_from([Scope.PUBLIC, Scope.USER]),
    st.sampled_from(["", "alice"]),
    st.sampled_from(["max-age=60", "max-age=60, no-cache", "max-age=5, stale-while-revalidate=60"]),
)
def test_the_shortcut_of_a_hit_comes_to_the_same(
    method: str, headers: dict[str, str], scope: Scope, identity: str, control: str
) -> None:
    """Whatever a request wishes, it is answered as by the long way."""
    g = gateway(rules(vary=("accept",), scope=scope))
    for accept in WISHES["accept"]:
        g.fetch(response={"cache-control": control, "etag": '"a"'}, identity="alice", accept=accept)
    g.now += 10
    fields = {":method": method, ":scheme": "http", ":authority": "h", ":path": "/a", **headers}
    request = RequestStart(fields, identity)
    assert g.route.cached is not None

    served = serve_fresh(g.cache, g.route.cached, g.observer, request, g.now)

    if served is not None:
        assert served == CacheSession(g.cache, g.route.cached, g.observer, request).start(g.now)


def test_a_plain_hit_takes_the_shortcut() -> None:
    """Most requests wish for nothing."""
    g = gateway()
    g.fetch()
    request = RequestStart({":method": "GET", ":scheme": "http", ":authority": "h", ":path": "/a"}, "")
    assert g.route.cached is not None

    assert serve_fresh(g.cache, g.route.cached, g.observer, request, g.now) is not None


@pytest.mark.parametrize(
    ("said", "served"), [("max-age=60", False), ("max-age=60, public", True), ("s-maxage=60", True)]
)
def test_credentials_and_what_was_stored_without_them(said: str, served: bool) -> None:
    """Only what the service gives to everybody answers them; else their response is theirs, and the other stays."""
    gateway = Gateway(processing(rules(stale_if_error_s=60.0)))
    gateway.fetch("/a", {"cache-control": said, "etag": '"1"'})
    theirs = gateway.begin("/a", authorization="Bearer a")

    assert served is isinstance(theirs.action, Serve)
    if not served:
        assert isinstance(theirs.action, Forward)
        assert "if-none-match" not in dict(theirs.action.changes.set)
        theirs.answered({}, status=503)
        assert isinstance(theirs.action, PassHeaders)
        assert "edge; hit; ttl=60" == gateway.begin("/a").cache_status


def test_parameters_that_do_not_count() -> None:
    """Requests that differ in them only share a response."""
    gateway = Gateway(processing(rules(query=QueryRules(allow=False, names=("utm_*",)))))
    gateway.fetch("/a?utm_source=mail&page=2")

    assert "edge; hit; ttl=60" == gateway.begin("/a?page=2&utm_medium=x").cache_status
    assert isinstance(gateway.begin("/a?page=3").action, Forward)
