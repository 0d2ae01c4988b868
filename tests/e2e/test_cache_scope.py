"""The cache behind real authentication: what one caller has stored, another never gets."""

import httpx
import pytest

from tests.e2e.stack import Stack
from tests.e2e.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("stack"), pytest.mark.timeout(120)]

_ROUTE = "    service: users\n    rewrite: {path_prefix: /users}\n    transform:"
_CACHED = "    service: users\n    rewrite: {path_prefix: /users}\n    cache: {ttl: 1m}\n    transform:"


def test_scope_user_keeps_callers_apart(stack: Stack) -> None:
    """The proven identity is part of the key; without one the request never gets as far as the cache."""
    path = "/api/users/scope"
    alice, bob = ({"authorization": f"Bearer {stack.token(name)}"} for name in ("alice", "bob"))
    again = {"authorization": f"Bearer {stack.token('alice', nonce='another token of hers')}"}
    stack.edit(_ROUTE, _CACHED)
    try:
        with stack.client() as client:
            until(lambda: "cache-status" in client.get("/api/users/probe", headers=alice).headers, "the cache is on")
            answers = [client.get(path, headers=headers) for headers in (alice, bob, again, bob)]
            nobody = client.get(path)
    finally:
        stack.edit(_CACHED, _ROUTE)

    assert [
        "meetinity; fwd=uri-miss; stored",
        "meetinity; fwd=uri-miss; stored",
        "meetinity; hit; ttl=60",
        "meetinity; hit; ttl=60",
    ] == [_status(answer) for answer in answers]
    assert ["alice", "bob", "alice", "bob"] == [answer.json()["headers"]["x-user-id"] for answer in answers]
    assert 401 == nobody.status_code
    assert "cache-status" not in nobody.headers


def test_a_key_of_header_query_user_and_claim(stack: Stack) -> None:
    """What the route names tells responses apart, and nothing else; what a client says of its claims does not."""
    keyed = _ROUTE.replace(
        "    transform:",
        "    cache: {ttl: 1m, vary: [accept-language, x-user-roles], query: {ignore: [utm_*]}}\n    transform:",
    )
    stack.edit(_ROUTE, keyed)
    try:
        with stack.client() as client:

            def line(query: str, sub: str, *roles: str, **headers: str) -> str:
                own = {"accept-language": "en", **{name.replace("_", "-"): value for name, value in headers.items()}}
                answer = client.get(f"/api/users/keyed?{query}", headers={**stack.bearer(sub, roles=roles), **own})
                return _status(answer) if "cache-status" in answer.headers else ""

            until(lambda: line("probe", "alice") != "", "the cache is on")
            lines = {
                "first": line("page=1&utm_source=a", "alice", "editor"),
                "another campaign": line("page=1&utm_source=b", "alice", "editor"),
                "another page": line("page=2", "alice", "editor"),
                "another language": line("page=1", "alice", "editor", accept_language="da"),
                "another role": line("page=1", "alice", "admin"),
                "another user": line("page=1", "bob", "editor"),
                "a forged role": line("page=1", "alice", "editor", x_user_roles="admin"),
                "first again": line("page=1", "alice", "editor"),
            }
    finally:
        stack.edit(keyed, _ROUTE)

    hits = {name for name, said in lines.items() if said == "meetinity; hit; ttl=60"}
    assert {"another campaign", "a forged role", "first again"} == hits, lines
    assert all("stored" in said for name, said in lines.items() if name not in hits)


def _status(answer: httpx.Response) -> str:
    return answer.headers["cache-status"].replace("ttl=59", "ttl=60")
