"""The report: sums, shares, the rest, and its forms."""

import csv
import io
import json
import re

import pytest

from control_plane.analytics import latency
from control_plane.analytics.entries import OTHER, Deprecation, Key
from control_plane.analytics.page import page
from control_plane.analytics.report import Report, report, to_csv, to_json
from control_plane.analytics.storage import Count, DeprecatedUse, Found
from control_plane.analytics.tally import Place
from control_plane.analytics.windows import WINDOWS, Window, bucket, expired_before

NOW_S = 1_795_946_400.0
HOSTILE = "user:<script>alert(1)</script>"


def _count(name: str, requests: int, client_errors: int = 0, server_errors: int = 0) -> Count:
    return Count(name, requests, client_errors, server_errors, requests * 10)


def _report() -> Report:
    place = Place("edge", "users", "v1")
    found = Found(
        totals=_count("total", 100, 10, 5),
        consumers=3,
        by={
            "consumer": [_count(HOSTILE, 60, 10), _count("key:acme", 20)],
            "route": [_count("users", 98, 10, 5), _count("", 2)],
            "version": [_count("v1", 100, 10, 5)],
            "status": [_count("200", 85), _count("404", 10, 10), _count("503", 5, 0, 5)],
        },
        latency={place: {latency.bin_of(0.1): 100}},
        deprecated=(
            DeprecatedUse(
                place, Deprecation("@1788220800", "", "/v2"), 25, 2, (("user:bob", 3, NOW_S - 60), ("key:x", 1, NOW_S))
            ),
        ),
        lost=4,
    )
    return report(found, WINDOWS["24h"], NOW_S, gateway="edge")


def test_what_is_not_named_is_the_rest() -> None:
    """So that every list adds up to the total."""
    made = _report()

    assert (OTHER, 20, 0, 5, 200) == (
        made.by_consumer[-1].name,
        made.by_consumer[-1].requests,
        made.by_consumer[-1].client_errors,
        made.by_consumer[-1].server_errors,
        made.by_consumer[-1].bytes,
    )
    for lines in (made.by_consumer, made.by_route, made.by_version, made.by_status):
        assert 100 == sum(line.requests for line in lines)


def test_shares_are_of_all_requests() -> None:
    """Of deprecated routes too: that is how far their callers have moved on."""
    made = _report()

    assert [0.6, 0.2, 0.2] == [line.share for line in made.by_consumer]
    assert (0.25, 2) == (made.deprecated[0].share, made.deprecated[0].consumers)
    assert "2026-09-01T00:00:00+00:00" == made.deprecated[0].since


def test_json_holds_everything() -> None:
    """Under the names of the fields."""
    document = json.loads(to_json(_report()))

    assert ("24h", "edge", 100, 4) == (
        document["window"],
        document["gateway"],
        document["total"]["requests"],
        document["lost"],
    )
    assert 100 == pytest.approx(document["by_route"][0]["latency_ms"]["p99"], rel=0.01)
    assert ["user:bob", "key:x"] == [caller["consumer"] for caller in document["deprecated"][0]["last_callers"]]


def test_csv_is_no_formula() -> None:
    """A subject that begins like one is text to a spreadsheet."""
    text = to_csv([(Key("edge", "user:a,b", "users", "v1", 200), 3, 30), (Key("edge", "=1+1", "", "", 0), 1, 0)])

    assert [
        ["gateway", "consumer", "route", "version", "status", "requests", "bytes"],
        ["edge", "user:a,b", "users", "v1", "200", "3", "30"],
        ["edge", "'=1+1", "", "", "0", "1", "0"],
    ] == list(csv.reader(io.StringIO(text)))


def test_the_page_shows_it_and_runs_nothing() -> None:
    """Names of callers are text; nothing is loaded from elsewhere."""
    html = page(_report())

    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert [] == re.findall(r"(?:src|href)=.https?:", html)
    for text in ("not counted", "Deprecated: users, v1", "user:bob", "/v2", "(no route)"):
        assert text in html


def test_an_empty_window_has_a_page_too() -> None:
    """It says so."""
    nothing = Found(_count("total", 0), 0, {name: [] for name in ("consumer", "route", "version", "status")}, {}, (), 0)

    assert "No requests in this window" in page(report(nothing, WINDOWS["1h"], NOW_S, gateway=""))


def test_a_window_ends_with_the_bucket_that_has_begun() -> None:
    """An hour is sixty minutes, the current one included; older buckets go only after they are needed."""
    window = Window("1h", 60, 60)

    assert 60 == len(range(window.first_bucket(NOW_S), bucket(NOW_S, 60) + 1, 60))
    assert expired_before(window, NOW_S) < window.first_bucket(NOW_S)
