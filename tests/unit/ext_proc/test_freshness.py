"""How long responses are fresh, and how old they are."""

from typing import Any

import pytest

from ext_proc.cache.fields import format_http_date
from ext_proc.cache.freshness import Wishes, control_of, initial_age, lifetime, wishes_of
from tests.unit.ext_proc.rules import DATE, NOW, rules

LATER = format_http_date(NOW + 100)
EARLIER = format_http_date(NOW - 1000)


@pytest.mark.parametrize(
    ("headers", "changes", "expected"),
    [
        ({"cache-control": "max-age=5"}, {}, 5),
        ({"cache-control": "max-age=5, s-maxage=9"}, {}, 9),
        ({"cache-control": "max-age=5", "expires": LATER}, {}, 5),
        ({"expires": LATER, "date": DATE}, {}, 100),
        ({"expires": LATER}, {}, 100),
        ({"expires": "0"}, {"ttl_s": 60.0}, 0),
        ({"expires": EARLIER, "date": DATE}, {"ttl_s": 60.0}, 0),
        ({"expires": f"{LATER}, {LATER}"}, {}, 0),
        ({"cache-control": "max-age=x"}, {"ttl_s": 60.0}, 0),
        ({"cache-control": "max-age=-5"}, {"ttl_s": 60.0}, 0),
        ({"cache-control": "max-age=1, max-age=2"}, {"ttl_s": 60.0}, 0),
        ({"cache-control": "max-age=99999999999999999999"}, {}, 2**31),
        ({"cache-control": "public"}, {"ttl_s": 60.0}, 60),
        ({}, {"ttl_s": 60.0}, 60),
        ({"last-modified": EARLIER, "date": DATE}, {}, 100),
        ({"last-modified": EARLIER, "date": DATE}, {"ttl_s": 7.0}, 7),
        ({"last-modified": format_http_date(0), "date": DATE}, {}, 86_400),
        ({}, {}, 0),
        ({"cache-control": "max-age=5, no-cache"}, {}, 0),
        ({"cache-control": 'max-age=5, no-cache="x-a"'}, {}, 5),
        ({"cdn-cache-control": "max-age=7", "cache-control": "max-age=5"}, {}, 7),
        ({"cdn-cache-control": "max-age=7", "expires": "0"}, {}, 7),
        ({"cdn-cache-control": "public", "expires": LATER}, {"ttl_s": 3.0}, 3),
        ({"cdn-cache-control": "&", "cache-control": "max-age=5"}, {}, 5),
    ],
)
def test_lifetime(headers: dict[str, str], changes: dict[str, Any], expected: float) -> None:
    """RFC 9111 section 4.2.1: s-maxage, max-age, Expires; then the route's ttl; then the heuristic."""
    assert expected == lifetime(200, headers, control_of(headers), rules(**changes), NOW).fresh_s


@pytest.mark.parametrize(("status", "expected"), [(200, 60), (404, 60), (302, 0), (500, 0), (204, 0)])
def test_a_route_s_ttl_holds_for_some_statuses(status: int, expected: float) -> None:
    """Only what the contract names."""
    assert expected == lifetime(status, {}, control_of({}), rules(ttl_s=60.0), NOW).fresh_s


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("max-age=1", (30.0, 40.0)),
        ("max-age=1, stale-while-revalidate=3, stale-if-error=4", (3.0, 4.0)),
        ("max-age=1, must-revalidate, stale-while-revalidate=3", (0.0, 0.0)),
        ("max-age=1, proxy-revalidate", (0.0, 0.0)),
        ("s-maxage=1", (0.0, 0.0)),
        ("s-maxage=1, stale-while-revalidate=3", (3.0, 0.0)),
        ("no-cache", (0.0, 0.0)),
    ],
)
def test_stale_windows(value: str, expected: tuple[float, float]) -> None:
    """RFC 5861: the origin's own windows win over the route's, and its prohibitions over both."""
    headers = {"cache-control": value}
    found = lifetime(
        200, headers, control_of(headers), rules(stale_while_revalidate_s=30.0, stale_if_error_s=40.0), NOW
    )

    assert expected == (found.stale_while_revalidate_s, found.stale_if_error_s)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"date": DATE}, 2),
        ({"date": format_http_date(NOW - 30)}, 32),
        ({"date": format_http_date(NOW + 500)}, 2),
        ({"date": DATE, "age": "10"}, 12),
        ({"date": DATE, "age": "-10"}, 2),
        ({"date": DATE, "age": "7, 100"}, 9),
        ({}, 2),
    ],
)
def test_initial_age(headers: dict[str, str], expected: float) -> None:
    """RFC 9111 section 4.2.3: the larger of what Date and Age say, plus the delay, never negative."""
    assert expected == initial_age(headers, requested_at=NOW, received_at=NOW + 2)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, Wishes()),
        ({"cache-control": "no-store"}, Wishes(no_store=True)),
        ({"cache-control": "max-age=0"}, Wishes(max_age_s=0)),
        ({"cache-control": "max-stale"}, Wishes(max_stale_s=2**31)),
        ({"cache-control": "max-stale=5, min-fresh=3"}, Wishes(max_stale_s=5, min_fresh_s=3)),
        ({"cache-control": "only-if-cached"}, Wishes(only_if_cached=True)),
        ({"pragma": "no-cache"}, Wishes(no_cache=True)),
        ({"pragma": "no-cache", "cache-control": "x"}, Wishes()),
    ],
)
def test_requests_cache_control(headers: dict[str, str], expected: Wishes) -> None:
    """RFC 9111 sections 5.2.1 and 5.4: Pragma counts only without Cache-Control."""
    assert expected == wishes_of(headers)
