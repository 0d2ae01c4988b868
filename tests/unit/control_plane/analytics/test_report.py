"""The report: sums, shares, the rest, and its forms."""

import csv
import io
import json
import re

import pytest

from control_plane.analytics.entries import OTHER, Key
from control_plane.analytics.page import page
from control_plane.analytics.report import to_csv, to_json
from control_plane.analytics.windows import Window, bucket, expired_before
from tests.unit.control_plane.analytics.reports import NOW_S, empty_report, usage_report


def test_what_is_not_named_is_the_rest() -> None:
    """So that every list adds up to the total."""
    made = usage_report()

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
    made = usage_report()

    assert [0.6, 0.2, 0.2] == [line.share for line in made.by_consumer]
    assert (0.25, 2) == (made.deprecated[0].share, made.deprecated[0].consumers)
    assert "2026-09-01T00:00:00+00:00" == made.deprecated[0].since


def test_json_holds_everything() -> None:
    """Under the names of the fields."""
    document = json.loads(to_json(usage_report()))

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
    html = page(usage_report())

    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert [] == re.findall(r"(?:src|href)=.https?:", html)
    for text in ("not counted", "Deprecated: users, v1", "user:bob", "/v2", "(no route)"):
        assert text in html


def test_an_empty_window_has_a_page_too() -> None:
    """It says so."""
    assert "No requests in this window" in page(empty_report())


def test_a_window_ends_with_the_bucket_that_has_begun() -> None:
    """An hour is sixty minutes, the current one included; older buckets go only after they are needed."""
    window = Window("1h", 60, 60)

    assert 60 == len(range(window.first_bucket(NOW_S), bucket(NOW_S, 60) + 1, 60))
    assert expired_before(window, NOW_S) < window.first_bucket(NOW_S)


def test_the_page_loads_itself_again_only_if_asked_to() -> None:
    """Whoever reads slowly, or is read to, decides; the choice stays over windows."""
    calm, lively = page(usage_report()), page(usage_report(), reloads=True)

    assert (False, True) == ("http-equiv" in calm, 'http-equiv="refresh" content="30"' in lively)
    assert 'href="/?window=24h&amp;gateway=edge&amp;reload=30">load it again every 30 s' in calm
    assert 'href="/?window=1h&amp;gateway=edge&amp;reload=30">1h' in lively
    assert 'href="/?window=24h&amp;gateway=edge">stop loading it again' in lively
