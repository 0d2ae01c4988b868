"""The configuration changes, breaks, and loses its control plane, all under load."""

import httpx
import pytest

from tests.e2e.load import load
from tests.e2e.stack import Stack
from tests.e2e.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("stack"), pytest.mark.timeout(120)]

LOADED = "/api/events/1"
HEALTHY = '{"status":"ok"}'


def _health(stack: Stack) -> str:
    return httpx.get(f"{stack.url}/health").text


def test_an_edit_takes_effect_without_a_failed_request(stack: Stack) -> None:
    """Routes, clusters and policies change under load; nobody notices but for the new answer."""
    with load(stack.url + LOADED) as tally:
        tally.until_more(20)
        for number in range(3):
            changed = f'{{"status":"edit {number}"}}'
            stack.edit(f"body: '{HEALTHY}'", f"body: '{changed}'")
            stack.edit("weight: 3", f"weight: {30 + number}")
            stack.edit("rate: 300/second", f"rate: 30{number + 1}/second")
            until(lambda changed=changed: _health(stack) == changed, f"the edit {number} is live", 5)  # type: ignore[misc]
            tally.until_more(20)
            stack.edit(f"body: '{changed}'", f"body: '{HEALTHY}'")
            stack.edit(f"weight: {30 + number}", "weight: 3")
            stack.edit(f"rate: 30{number + 1}/second", "rate: 300/second")
            until(lambda: _health(stack) == HEALTHY, "the old text is back", 5)
        tally.until_more(20)

    assert {} == tally.failures


def test_a_broken_edit_changes_nothing(stack: Stack) -> None:
    """The last good configuration serves on; the metric says that the file is not valid, until it is."""
    assert stack.metric("gateway_config_valid") == 1
    with load(stack.url + LOADED) as tally:
        stack.edit("routes:  ", "rooutes:  ")
        stack.edit(HEALTHY, "broken")
        until(lambda: stack.metric("gateway_config_valid") == 0, "the file is known to be faulty", 5)
        tally.until_more(20)
        assert HEALTHY == _health(stack)
        assert 200 == httpx.get(f"http://127.0.0.1:{stack.ports.http}/readyz").status_code
        stack.edit("rooutes:  ", "routes:  ")
        stack.edit("body: 'broken'", f"body: '{HEALTHY}'")
        until(lambda: stack.metric("gateway_config_valid") == 1, "the file is good again", 5)

    assert {} == tally.failures


def test_a_killed_control_plane_loses_no_request(stack: Stack) -> None:
    """Envoy serves on alone; a change made after the restart arrives."""
    with load(stack.url + LOADED) as tally:
        tally.until_more(20)
        pid = stack.kill("control_plane")
        stack.until_restarted("control_plane", pid)
        tally.until_more(20)
        stack.edit(HEALTHY, '{"status":"after the restart"}')
        until(lambda: "after the restart" in _health(stack), "a change after the restart is live", 20)
        stack.edit('{"status":"after the restart"}', HEALTHY)
        until(lambda: _health(stack) == HEALTHY, "the old text is back", 5)

    assert {} == tally.failures


def test_a_broken_file_at_the_restart_serves_the_last_good_one(stack: Stack) -> None:
    """A crash at a bad moment is not an outage."""
    stack.edit(HEALTHY, "broken")
    stack.edit("version: 1", "version: one")
    try:
        stack.until_restarted("control_plane", stack.kill("control_plane"))
        until(lambda: _ready(stack), "the control plane is ready", 10)
        assert stack.metric("gateway_config_valid") == 0
        assert HEALTHY == _health(stack)
    finally:
        stack.edit("version: one", "version: 1")
        stack.edit("broken", HEALTHY)
    until(lambda: stack.metric("gateway_config_valid") == 1, "the file is good again", 5)


def _ready(stack: Stack) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{stack.ports.http}/readyz").status_code == 200
    except httpx.TransportError:
        return False
