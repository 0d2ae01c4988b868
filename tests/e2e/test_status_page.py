"""The status page over a real gateway: numbers that Envoy and the callouts have pushed."""

import re

import httpx
import pytest

from tests.e2e.stack import Stack
from tests.e2e.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("stack"), pytest.mark.timeout(150)]


def _page(stack: Stack, path: str) -> str:
    answer = httpx.get(f"http://127.0.0.1:{stack.ports.http}{path}")
    assert 200 == answer.status_code
    return answer.text


def test_requests_denials_and_hits_reach_the_page(stack: Stack) -> None:
    """Of Envoy, ext_authz and ext_proc, without any port being asked."""

    def seen() -> bool:
        with stack.client() as client:
            for _ in range(10):
                client.get("/api/events/popular?status-page")
                client.get("/api/users/1")
        routes = _page(stack, "/routes?q=popular-events")
        return bool(
            re.search(r'class="value">[0-9.]*[1-9][0-9.]* /s', _page(stack, "/"))
            and re.search(r"[0-9.]*[1-9][0-9.]* %</td>", routes)
            and re.search(r"no_credential.*?[1-9]", _page(stack, "/routes/view?name=users"), re.DOTALL)
        )

    until(seen, "numbers on the status page", 50)


def test_an_ejected_endpoint_is_shown_as_envoy_sees_it(stack: Stack) -> None:
    """The configuration says it is there, Envoy says that it gets nothing."""
    failing = stack.demo("matching-1")
    httpx.put(f"{failing}/demo/behaviour", json={"status": 503})
    try:

        def ejected() -> bool:
            with stack.client(**stack.bearer("alice")) as client:
                for _ in range(8):
                    client.get("/api/matching")
            return "healthy on 0 of 1 Envoy" in _page(stack, "/services/view?name=matching")

        until(ejected, "the ejected endpoint on the status page", 50)
        assert "matching has 1 of 2 endpoints healthy" in _page(stack, "/")
    finally:
        httpx.delete(f"{failing}/demo/behaviour")
