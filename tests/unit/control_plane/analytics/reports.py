"""Reports that tests look at."""

from control_plane.analytics import latency
from control_plane.analytics.entries import Deprecation
from control_plane.analytics.report import Report, report
from control_plane.analytics.storage import Count, DeprecatedUse, Found
from control_plane.analytics.tally import Place
from control_plane.analytics.windows import WINDOWS

NOW_S = 1_795_946_400.0
HOSTILE = "user:<script>alert(1)</script>"


def usage_report() -> Report:
    """Of a day: some of everything."""
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


def empty_report() -> Report:
    """Of an hour in which nobody came."""
    kinds = ("consumer", "route", "version", "status")
    nothing = Found(_count("total", 0), 0, {name: [] for name in kinds}, {}, (), 0)
    return report(nothing, WINDOWS["1h"], NOW_S, gateway="")


def _count(name: str, requests: int, client_errors: int = 0, server_errors: int = 0) -> Count:
    return Count(name, requests, client_errors, server_errors, requests * 10)
