"""What takes a stored response out, through the whole gateway as it is delivered."""

import httpx
import pytest

from tests.e2e.stack import GATEWAYCTL, Stack

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("stack"), pytest.mark.timeout(120)]

POPULAR = "/api/events/popular"


def test_a_write_on_another_route_and_a_purge_make_the_next_read_a_miss(stack: Stack) -> None:
    """Reads of the URL are cached by one route; its writes take the next one, which has no cache."""
    server = f"http://127.0.0.1:{stack.ports.http}"
    with stack.client() as client:
        client.get(POPULAR)
        assert "hit" in _status(client.get(POPULAR))

        assert client.post(POPULAR).is_success
        after_write = _status(client.get(POPULAR))
        before_purge = _status(client.get(POPULAR))
        purged = stack.run([*GATEWAYCTL, "cache", "purge", "--key", f"{stack.url}{POPULAR}", "--server", server])
        after_purge = _status(client.get(POPULAR))

    assert "meetinity; fwd=uri-miss; stored" == after_write == after_purge
    assert "hit" in before_purge
    assert 0 == purged.returncode, purged.stderr
    assert "purged on 1 ext_proc" in purged.stdout


def test_stats_of_the_cache(stack: Stack) -> None:
    """By route, from the admin address of ext_proc."""
    with stack.client() as client:
        client.get(POPULAR)
    admin = f"http://127.0.0.1:{stack.ports.ext_proc_admin}"

    shown = stack.run([*GATEWAYCTL, "cache", "stats", "--ext-proc", admin])

    assert 0 == shown.returncode, shown.stderr
    header, *rows = shown.stdout.splitlines()
    assert ["route", "entries", "bytes"] == header.split()[:3]
    assert "popular-events" in [row.split()[0] for row in rows]


def _status(answer: httpx.Response) -> str:
    return answer.headers["cache-status"]
