"""Conditional requests in both directions."""

import pytest

from ext_proc.cache.fields import format_http_date
from ext_proc.cache.validation import conditions, freshened, headers_of_304, is_not_modified
from tests.unit.ext_proc.rules import DATE, NOW, rules, stored

BEFORE = format_http_date(NOW - 100)
AFTER = format_http_date(NOW + 100)


@pytest.mark.parametrize(
    ("request_headers", "expected"),
    [
        ({}, False),
        ({"if-none-match": '"a"'}, True),
        ({"if-none-match": 'W/"a"'}, True),
        ({"if-none-match": '"b", "a"'}, True),
        ({"if-none-match": "*"}, True),
        ({"if-none-match": '"b"'}, False),
        ({"if-none-match": '"b"', "if-modified-since": AFTER}, False),
        ({"if-modified-since": DATE}, True),
        ({"if-modified-since": BEFORE}, False),
        ({"if-modified-since": "yesterday"}, False),
    ],
)
def test_client_s_conditions(request_headers: dict[str, str], expected: bool) -> None:
    """Weak comparison; If-None-Match counts alone; invalid dates are ignored (RFC 9110 section 13)."""
    entry = stored({"cache-control": "max-age=60", "etag": '"a"', "last-modified": DATE})

    assert expected == is_not_modified(request_headers, entry)


def test_without_last_modified_date_stands_in() -> None:
    """RFC 9111 section 4.3.2."""
    entry = stored({"cache-control": "max-age=60"})

    assert is_not_modified({"if-modified-since": DATE}, entry)
    assert not is_not_modified({"if-modified-since": BEFORE}, entry)


def test_conditions_hold_for_successful_responses_only() -> None:
    """A stored 404 is served whatever the client's conditions (RFC 9110 section 13.2.1)."""
    entry = stored({"cache-control": "max-age=60", "etag": '"a"'}, status=404)

    assert not is_not_modified({"if-none-match": '"a"'}, entry)


def test_a_304_repeats_what_it_has_to() -> None:
    """RFC 9110 section 15.4.5; Last-Modified only where there is no ETag."""
    entry = stored({"cache-control": "max-age=60", "etag": '"a"', "vary": "x", "last-modified": DATE, "x-other": "1"})

    assert {"cache-control", "date", "etag", "vary"} == dict(headers_of_304(entry)).keys()
    assert "last-modified" in dict(headers_of_304(stored({"cache-control": "max-age=60", "last-modified": DATE})))


def test_our_own_conditions_come_from_the_origin_s_validators() -> None:
    """Not from what a transform made of them."""
    entry = stored({"cache-control": "max-age=60", "etag": '"a"', "last-modified": BEFORE})

    assert (("if-none-match", '"a"'), ("if-modified-since", BEFORE)) == conditions(entry)


def test_a_304_updates_headers_and_age_but_not_what_describes_the_body() -> None:
    """RFC 9111 section 3.2."""
    entry = stored({"cache-control": "max-age=1", "etag": '"a"', "x-kept": "1", "x-new": "1", "content-type": "text/a"})
    answer = {"cache-control": "max-age=9", "x-new": "2", "content-type": "text/b", "content-length": "0"}

    updated, may_keep = freshened(entry, {}, answer, answer, rules(), requested_at=NOW + 50, now=NOW + 50)

    assert may_keep
    assert 9.0 == updated.lifetime.fresh_s
    assert 0.0 == updated.age(NOW + 50)
    assert entry.body == updated.body
    assert {
        "date": format_http_date(NOW + 50),
        "cache-control": "max-age=9",
        "etag": '"a"',
        "x-kept": "1",
        "x-new": "2",
        "content-type": "text/a",
    } == dict(updated.headers)


def test_a_304_that_forbids_storing_ends_the_entry() -> None:
    """The client still gets the body that the origin has just confirmed."""
    entry = stored({"cache-control": "max-age=1", "etag": '"a"'})
    answer = {"cache-control": "no-store"}

    _, may_keep = freshened(entry, {}, answer, answer, rules(), requested_at=NOW, now=NOW)

    assert not may_keep
