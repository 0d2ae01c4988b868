"""Usage as the real Envoy tells it: who called what, and what is lost when analytics dies."""

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from tests.e2e.load import load
from tests.e2e.stack import GATEWAYCTL, Stack
from tests.e2e.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("stack"), pytest.mark.timeout(120)]


def _usage(stack: Stack, output: str) -> str:
    server = f"http://127.0.0.1:{stack.ports.analytics_http}"
    done = stack.run([*GATEWAYCTL, "usage", "--window", "1h", "--top", "1000", "-o", output, "--server", server])
    assert done.returncode == 0, done.stderr
    return done.stdout


def _report(stack: Stack) -> dict[str, Any]:
    answer = httpx.get(f"http://127.0.0.1:{stack.ports.analytics_http}/api/usage?window=1h&top=1000", timeout=20)
    found: dict[str, Any] = answer.json()
    return found


def _requests_of(stack: Stack, consumer: str) -> int:
    lines = _report(stack)["by_consumer"]
    return sum(line["requests"] for line in lines if line["name"] == consumer)


def _get(stack: Stack, headers: Mapping[str, str], *paths: str) -> list[int]:
    with stack.client(**headers) as client:
        return [client.get(path).status_code for path in paths]


def test_requests_are_counted_by_who_made_them(stack: Stack) -> None:
    """By subject, route, version and status; a route that is not logged is not counted."""
    first = _get(stack, stack.bearer("usage-1"), *["/api/users/1"] * 5, "/api/users/v2/x", "/health", "/api/admin")
    second = _get(stack, stack.bearer("usage-2"), *["/api/members"] * 3)
    assert [200, 200, 200, 200, 200, 200, 200, 403, 200, 200, 200] == first + second
    until(lambda: _requests_of(stack, "user:usage-2") == 3, "all of them counted")
    rows = csv.DictReader(io.StringIO(_usage(stack, "csv")))
    found = {
        (row["consumer"], row["route"], row["version"], row["status"]): int(row["requests"])
        for row in rows
        if row["consumer"].startswith("user:usage-")
    }

    assert {
        ("user:usage-1", "users", "", "200"): 6,
        ("user:usage-1", "admin", "", "403"): 1,
        ("user:usage-2", "members", "", "200"): 3,
    } == found


def test_who_still_calls_what_is_deprecated_is_known(stack: Stack) -> None:
    """With the route's dates and its successor, on the terminal and for programs."""
    _get(stack, stack.bearer("old-caller"), "/api/members", "/api/members")
    until(lambda: _requests_of(stack, "user:old-caller") == 2, "counted")
    (deprecated,) = json.loads(_usage(stack, "json"))["deprecated"]
    callers = {caller["consumer"]: caller["requests"] for caller in deprecated["last_callers"]}

    assert ("members", "2026-09-01T00:00:00+00:00", "/api/users") == (
        deprecated["route"],
        deprecated["since"],
        deprecated["successor"],
    )
    assert 2 == callers["user:old-caller"]
    assert "deprecated: route members" in _usage(stack, "table")


def test_a_killed_analytics_costs_entries_and_no_request(stack: Stack) -> None:
    """No request fails or waits; it comes back with what was stored, goes on, and knows how much it has missed."""
    _get(stack, stack.bearer("before-the-kill"), "/api/users/1")
    until(lambda: _requests_of(stack, "user:before-the-kill") == 1, "stored, since a report stores first")
    until(lambda: _watched(stack) == 1, "the Envoy has told its counters: before that nobody's loss is known")
    lost_before = _report(stack)["lost"]
    with load(stack.url + "/api/users/1", headers=stack.bearer("killed-under-load"), clients=2) as tally:
        tally.until_more(50)
        pid = stack.kill("analytics")
        tally.until_more(50)
        stack.until_restarted("analytics", pid)
        until(lambda: _is_up(stack), "analytics answers again")
        tally.until_more(50)
    sent = tally.total

    assert {} == {status: count for status, count in tally.failures.items() if status != "429"}
    assert 1 == _requests_of(stack, "user:before-the-kill")

    def all_accounted_for() -> bool:
        counted = _requests_of(stack, "user:killed-under-load")
        return 0 < counted and counted + _report(stack)["lost"] - lost_before == sent

    until(all_accounted_for, "counted and lost add up to what was sent", 60)


def _watched(stack: Stack) -> float | None:
    return stack.metric("gateway_analytics_watched_envoys", stack.ports.analytics_http)


def _is_up(stack: Stack) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{stack.ports.analytics_http}/readyz").status_code == 200
    except httpx.TransportError:
        return False
