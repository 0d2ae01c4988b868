"""The cache behind real authentication: what one caller has stored, another never gets."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import httpx
import pytest

from tests.e2e.stack import Stack
from tests.e2e.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("stack"), pytest.mark.timeout(120)]

_ROUTE = "    service: users\n    rewrite: {path_prefix: /users}\n    transform:"
_CACHED = "    service: users\n    rewrite: {path_prefix: /users}\n    cache: {ttl: 1m}\n    transform:"


@contextmanager
def _edited(stack: Stack, old: str, new: str) -> Iterator[httpx.Client]:
    """The file is edited within the block; behind it, the old one is in force again: the route has no cache."""
    before, alice = stack.config.read_text(), stack.bearer("alice")
    with stack.client() as client:
        stack.edit(old, new)
        try:
            yield client
        finally:
            stack.edit(stack.config.read_text(), before)
            until(
                lambda: "cache-status" not in client.get("/api/users/probe", headers=alice).headers, "the cache is off"
            )


def test_scope_user_keeps_callers_apart(stack: Stack) -> None:
    """The proven identity is part of the key; without one the request never gets as far as the cache."""
    path = "/api/users/scope"
    alice, bob = ({"authorization": f"Bearer {stack.token(name)}"} for name in ("alice", "bob"))
    again = {"authorization": f"Bearer {stack.token('alice', nonce='another token of hers')}"}
    with _edited(stack, _ROUTE, _CACHED) as client:
        until(lambda: "cache-status" in client.get("/api/users/probe", headers=alice).headers, "the cache is on")
        answers = [client.get(path, headers=headers) for headers in (alice, bob, again, bob)]
        nobody = client.get(path)

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
    with _edited(stack, _ROUTE, keyed) as client:

        def line(query: str, sub: str, *roles: str, **headers: str) -> str:
            own = {"accept-language": "en", **{name.replace("_", "-"): value for name, value in headers.items()}}
            answer = client.get(f"/api/users/keyed?{query}", headers={**stack.bearer(sub, roles=roles), **own})
            return _status(answer) if "cache-status" in answer.headers else ""

        numbers = count()
        until(lambda: "hit" in line(f"utm_probe={next(numbers)}", "probe"), "the parameters are ignored")
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

    hits = {name for name, said in lines.items() if said == "meetinity; hit; ttl=60"}
    assert {"another campaign", "a forged role", "first again"} == hits, lines
    assert all("stored" in said for name, said in lines.items() if name not in hits)


def _ruled(version: str) -> str:
    """The route with one rule for requests and one for responses, which say the same."""
    headers = f"{{headers: {{set: {{x-rules: {version}}}}}}}"
    return f"    cache: {{ttl: 1m}}\n    transform: {{request: {headers}, response: {headers}}}"


def test_a_reload_is_seen_whole_and_leaves_old_entries_behind(stack: Stack) -> None:
    """No request meets rules of two versions, and what was stored under the old ones is not served under the new."""
    original = f"    transform:{stack.config.read_text().partition(_ROUTE)[2].partition('- name')[0].rstrip()}"
    one, two = _ruled("one"), _ruled("two")
    seen: list[tuple[str, str]] = []
    with _edited(stack, original, one) as client:
        alice = stack.bearer("alice")

        def get(path: str) -> httpx.Response:
            return client.get(f"/api/users/{path}", headers=alice)

        until(lambda: get("probe").headers.get("x-rules") == "one", "the first rules are in force")
        kept = [_status(get("kept")) for _ in range(2)]
        stack.edit(one, two)

        def is_new() -> bool:
            answers = [get("kept"), get(f"new-{len(seen)}")]
            seen.extend((each.json()["headers"]["x-rules"], each.headers["x-rules"]) for each in answers)
            return seen[-1] == ("two", "two")

        until(is_new, "the second rules are in force")
        after = [get("kept") for _ in range(2)]

    assert ["meetinity; fwd=uri-miss; stored", "meetinity; hit; ttl=60"] == kept
    assert {("one", "one"), ("two", "two")} == set(seen)
    assert sorted(seen) == seen, "the old rules came back"
    assert [("two", "two")] * 2 == [(each.json()["headers"]["x-rules"], each.headers["x-rules"]) for each in after]
    assert "meetinity; hit; ttl=60" == _status(after[1])


def _status(answer: httpx.Response) -> str:
    return answer.headers["cache-status"].replace("ttl=59", "ttl=60")
