"""What may be stored, and in which form."""

from typing import Any

import pytest

from ext_proc.cache.storing import Storable, entry, judge, kept_s, vary_names
from policy.processing import Scope
from tests.unit.ext_proc.rules import DATE, NOW, rules, stored

FRESH = "max-age=60"


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (200, {"cache-control": "no-store, max-age=60"}, "no-store"),
        (200, {"cache-control": "private, max-age=60"}, "private"),
        (200, {"cache-control": FRESH, "set-cookie": "a=b"}, "set-cookie"),
        (200, {"cache-control": FRESH, "vary": "*"}, "vary"),
        (200, {"cache-control": FRESH, "vary": "accept, *"}, "vary"),
        (206, {"cache-control": FRESH}, "status"),
        (304, {"cache-control": FRESH}, "status"),
        (451, {"cache-control": FRESH}, "status"),
        (503, {}, "status"),
        (200, {}, "expired"),
        (200, {"cache-control": "max-age=0"}, "expired"),
        (200, {"cache-control": FRESH, "content-length": "1001"}, "too-large"),
        (200, {"cache-control": FRESH, "content-type": "text/event-stream"}, "stream"),
        (226, {"cache-control": "must-understand, max-age=60"}, "status"),
    ],
)
def test_not_stored(status: int, headers: dict[str, str], expected: str) -> None:
    """RFC 9111 section 3, and Set-Cookie never."""
    assert expected == judge({}, status, headers, rules(ttl_s=None), from_upstream=True, now=NOW)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {"cache-control": FRESH}),
        (302, {"cache-control": FRESH}),
        (404, {"cache-control": FRESH}),
        (503, {"cache-control": FRESH}),
        (200, {"cache-control": "no-store, must-understand, max-age=60"}),
        (200, {"cache-control": 'private="x-user", max-age=60'}),
        (200, {"cache-control": "no-cache", "etag": '"a"'}),
        (200, {"cache-control": "max-age=0, stale-while-revalidate=5"}),
        (200, {"cdn-cache-control": "max-age=60", "cache-control": "no-store"}),
    ],
)
def test_stored(status: int, headers: dict[str, str]) -> None:
    """Any final status with explicit freshness, also what can only be revalidated."""
    assert isinstance(judge({}, status, headers, rules(), from_upstream=True, now=NOW), Storable)


def test_envoy_s_own_replies_are_not_stored() -> None:
    """A 503 for a refused connection says nothing about the resource."""
    headers = {"cache-control": FRESH}

    assert "local-reply" == judge({}, 200, headers, rules(), from_upstream=False, now=NOW)


@pytest.mark.parametrize(
    ("value", "changes", "expected"),
    [
        ("max-age=60", {}, False),
        ("max-age=60, public", {}, True),
        ("s-maxage=60", {}, True),
        ("max-age=60, must-revalidate", {}, True),
        ("max-age=60", {"scope": Scope.USER}, True),
    ],
)
def test_responses_to_authorized_requests(value: str, changes: dict[str, Any], expected: bool) -> None:
    """RFC 9111 section 3.5, unless the identity is in the key."""
    found = judge(
        {"authorization": "Bearer x"}, 200, {"cache-control": value}, rules(**changes), from_upstream=True, now=NOW
    )

    assert expected == isinstance(found, Storable)


@pytest.mark.parametrize(
    ("change", "headers"),
    [
        ("ignore_no_store", {"cache-control": "no-store, max-age=60"}),
        ("ignore_private", {"cache-control": "private, max-age=60"}),
        ("ignore_set_cookie", {"cache-control": FRESH, "set-cookie": "a=b"}),
    ],
)
def test_overrides_are_explicit(change: str, headers: dict[str, str]) -> None:
    """What an operator says on purpose."""
    assert isinstance(judge({}, 200, headers, rules(**{change: True}), from_upstream=True, now=NOW), Storable)


@pytest.mark.parametrize(
    ("value", "expected"), [("", ()), ("B, a,b", ("a", "b")), ("*", None), (",".join(f"h{n}" for n in range(17)), None)]
)
def test_vary_names(value: str, expected: tuple[str, ...] | None) -> None:
    """Lower case, unique, sorted."""
    assert expected == vary_names({"vary": value})


def test_an_entry_drops_what_belongs_to_one_connection_or_one_answer() -> None:
    """RFC 9111 section 3.1, qualified private and no-cache, cookies under an override, Envoy's and broken fields."""
    headers = {
        "date": DATE,
        "cache-control": 'max-age=60, private="x-p", no-cache="x-n"',
        "connection": "close, x-hop",
        "x-hop": "1",
        "x-p": "1",
        "x-n": "1",
        "set-cookie": "a=b",
        "age": "3",
        "cache-status": "origin; hit",
        "content-length": "2",
        "keep-alive": "1",
        "x-envoy-upstream-service-time": "1",
        "x-broken": "a\nb",
        ":status": "200",
        "x-kept": "ä",
    }
    judged = judge({}, 200, headers, rules(ignore_set_cookie=True), from_upstream=True, now=NOW)
    assert isinstance(judged, Storable)
    kept = entry(judged, status=200, origin=headers, shown=headers, body=b"", requested_at=NOW, received_at=NOW)

    assert {"date": DATE, "cache-control": headers["cache-control"], "x-kept": "ä"} == dict(kept.headers)
    assert 3.0 == kept.initial_age_s


def test_a_response_without_date_gets_one() -> None:
    """RFC 9110 section 6.6.1."""
    judged = judge({}, 200, {"cache-control": FRESH}, rules(), from_upstream=True, now=NOW)
    assert isinstance(judged, Storable)

    kept = entry(judged, status=200, origin={}, shown={}, body=b"", requested_at=NOW, received_at=NOW)

    assert (("date", DATE),) == kept.headers


def test_entries_are_kept_as_long_as_they_can_be_of_use() -> None:
    """Fresh, then stale if allowed, longer with a validator."""
    assert 60.0 == kept_s(stored({"cache-control": "max-age=60"}))
    assert 50.0 == kept_s(stored({"cache-control": "max-age=60", "age": "10"}))
    assert 660.0 == kept_s(stored({"cache-control": "max-age=60", "etag": '"a"'}))
    assert 5060.0 == kept_s(stored({"cache-control": "max-age=60, stale-if-error=5000"}))
