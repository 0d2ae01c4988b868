"""Parts of the gateway and services behind it fail."""

import asyncio
import uuid
from collections import Counter

import aiohttp
import httpx
import pytest

from tests.e2e.load import load
from tests.e2e.stack import Stack
from tests.e2e.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("stack"), pytest.mark.timeout(120)]


def test_a_killed_ext_authz_fails_closed_and_recovers(stack: Stack) -> None:
    """While it is away nobody passes, whether the token is good or not; afterwards all is as before."""
    good, bad = stack.bearer("closed"), {"authorization": "Bearer none"}
    url = stack.url + "/api/users/1"
    with load(url, headers=good, clients=1, pause_s=0.02) as valid, load(url, headers=bad, clients=1) as invalid:
        valid.until_more(3)
        pid = stack.kill("ext_authz")
        until(lambda: valid.statuses[503] > 0, "a refusal with a good token")
        stack.until_restarted("ext_authz", pid)
        until(lambda: httpx.get(url, headers=stack.bearer("recovered")).status_code == 200, "tokens are taken again")
        served = valid.statuses[200]
        until(lambda: valid.statuses[200] > served, "the load passes again")

    assert set(valid.statuses) <= {200, 503}
    assert set(invalid.statuses) <= {401, 503}


def test_a_killed_ext_proc_fails_open(stack: Stack) -> None:
    """Transforms are left out while it is away; nobody gets an error for it."""
    with load(stack.url + "/api/users/1", headers=stack.bearer("open"), clients=1, pause_s=0.05) as tally:
        tally.until_more(3)
        stack.until_restarted("ext_proc", stack.kill("ext_proc"))
        tally.until_more(10)
        cached = f"{stack.url}/api/events/popular?restart={uuid.uuid4()}"
        until(lambda: "hit" in httpx.get(cached).headers.get("cache-status", ""), "the cache is there again")

    assert {} == tally.failures


def test_a_killed_instance_is_retried_elsewhere(stack: Stack) -> None:
    """The other instance answers."""
    url = stack.url + "/api/matching/1"
    _until_both_answer(stack)
    with load(url, headers=stack.bearer("instance"), clients=2, pause_s=0.05) as tally:
        tally.until_more(5)
        stack.until_restarted("matching-2", stack.kill("matching-2"))
        tally.until_more(10)

    assert {} == tally.failures


def test_an_instance_that_fails_is_left_out(stack: Stack) -> None:
    """After three 503s it gets no requests, and no client has seen one."""
    control = f"{stack.demo('matching-1')}/demo"
    _until_both_answer(stack)
    with stack.client(**stack.bearer("ejection")) as client:
        httpx.put(f"{control}/behaviour", json={"status": 503})

        def reached_by(count: int) -> int:
            httpx.delete(f"{control}/requests")
            assert {"matching-2"} == {_instance(client) for _ in range(count)}
            requests: dict[str, int] = httpx.get(f"{control}/requests").json()["requests"]
            return sum(requests.values())

        try:
            reached_by(6)
            until(lambda: reached_by(2) == 0, "it is left out", 1.0)
            assert reached_by(10) == 0
        finally:
            httpx.delete(f"{control}/behaviour")


def _instance(client: httpx.Client) -> str:
    answer = client.get("/api/matching/1")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["instance"])


def _until_both_answer(stack: Stack) -> None:
    """An earlier test may have had one of them left out; of two, only one ever is."""

    def both() -> bool:
        with stack.client(**stack.bearer(f"waiting {uuid.uuid4()}")) as client:  # each with a limit of its own
            return {_instance(client), _instance(client)} == {"matching-1", "matching-2"}

    until(both, "both answer")


def test_weights_are_kept(stack: Stack) -> None:
    """3:1 within four standard deviations (8.7 requests of 400)."""
    with stack.client() as client:
        instances = Counter(client.get("/api/events/1").json()["instance"] for _ in range(400))

    assert 400 == instances.total()
    assert 65 <= instances["events-v2"] <= 135, instances


async def test_a_hundred_identical_misses_are_one_request(stack: Stack) -> None:
    """All of them get its answer, and Cache-Status tells who waited."""
    control = f"{stack.demo('events-v1')}/demo"
    async with aiohttp.ClientSession() as session:
        await session.put(f"{control}/behaviour", json={"delay_ms": 500})
        try:
            before = await _served(session, control)
            async with asyncio.TaskGroup() as tasks:
                url = f"{stack.url}/api/events/popular?hundred=misses"
                asked = [tasks.create_task(_get(session, url)) for _ in range(100)]
            after = await _served(session, control)
        finally:
            await session.delete(f"{control}/behaviour")
    answers = [task.result() for task in asked]

    assert 1 == after - before
    assert {200: 100} == Counter(status for status, _, _ in answers)
    assert 1 == len({body for _, _, body in answers})
    assert 99 == sum("collapsed" in cache_status for _, cache_status, _ in answers), Counter(a[1] for a in answers)


async def _get(session: aiohttp.ClientSession, url: str) -> tuple[int, str, str]:
    async with session.get(url) as response:
        return response.status, response.headers.get("cache-status", ""), await response.text()


async def _served(session: aiohttp.ClientSession, control: str) -> int:
    async with session.get(f"{control}/requests") as response:
        requests: dict[str, int] = (await response.json())["requests"]
    return requests.get("GET /events", 0)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "name"),
    [
        ("GET", "/nowhere", {}, 404, "no-route"),
        ("GET", "/api/users/1", {}, 401, "unauthenticated"),
        ("GET", "/api/users/1", {"authorization": "Bearer none"}, 401, "unauthenticated"),
    ],
)
def test_the_gateway_s_own_answers_are_problems(
    stack: Stack, method: str, path: str, headers: dict[str, str], status: int, name: str
) -> None:
    """RFC 9457, with the request id in header and body."""
    with stack.client() as client:
        _check_problem(client.request(method, path, headers=headers), status, name)


def test_a_proven_identity_that_may_not_is_a_403(stack: Stack) -> None:
    """A role is missing."""
    with stack.client(**stack.bearer("member", roles=["member"])) as client:
        _check_problem(client.get("/api/admin"), 403, "forbidden")


def test_too_many_requests_are_told_when_to_come_back(stack: Stack) -> None:
    """The limit of its own user, so that no other test is in the way."""
    with stack.client(**stack.bearer("greedy")) as client:
        refused = next(answer for _ in range(300) if (answer := client.get("/api/users/1")).status_code != 200)

    _check_problem(refused, 429, "rate-limited")
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["ratelimit"].startswith('"per-user";r=0')


def test_a_service_that_is_away_is_a_problem(stack: Stack) -> None:
    """Nothing listens on the discard port; the answer shows no address."""
    stack.edit('port: "${DEMO_USERS_PORT:-8101}"', "port: 9")
    answers: list[httpx.Response] = []
    back = stack.bearer("back")
    try:
        with stack.client(**stack.bearer("away")) as client:

            def is_away() -> bool:
                answers.append(client.get("/api/users/1"))
                return answers[-1].status_code != 200

            until(is_away, "the service is away", 10)
    finally:
        stack.edit("port: 9}", 'port: "${DEMO_USERS_PORT:-8101}"}')
        until(lambda: httpx.get(f"{stack.url}/api/users", headers=back).status_code == 200, "the service is back", 10)
    problem = answers[-1].json()

    assert ("urn:meetinity:upstream-reset", 502) == (problem["type"], problem["status"])
    assert "application/problem+json" == answers[-1].headers["content-type"]
    assert "127.0.0.1" not in answers[-1].text


def _check_problem(answer: httpx.Response, status: int, name: str) -> None:
    problem = answer.json()
    assert (status, "application/problem+json") == (answer.status_code, answer.headers["content-type"])
    assert (f"urn:meetinity:{name}", status) == (problem["type"], problem["status"])
    assert answer.headers["x-request-id"] == problem["instance"]
