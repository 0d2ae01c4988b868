"""The cache as clients of a real Envoy see it: what only Envoy's own behaviour can prove."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import httpx
import pytest
from aiohttp import web

from protos.gateway.policy.v1 import processing_pb2
from tests.e2e.cache_stack import Answer, Stack, policy, stack

pytestmark = pytest.mark.envoy

FRESH = {"cache-control": "max-age=60"}
Run = Callable[..., AbstractAsyncContextManager[Stack]]


@pytest.fixture
def run(envoy_binary: str, tmp_path: Path) -> Run:
    """`async with run(policy(), answer) as it`."""
    return partial(stack, envoy_binary, tmp_path)


def answering(text: str = "hello", status: int = 200, **headers: str) -> Answer:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(text=text, status=status, headers=fields)

    return answer


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in Envoy
            await asyncio.sleep(0.01)


async def test_a_hit_has_the_same_bytes_and_says_so(run: Run) -> None:
    """Length, list fields, octets above 0x7F; Age and Cache-Status are new, the access log has the outcome."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        response = web.Response(body=b"h\xc3\xa9llo", headers={**FRESH, "x-text": "caf\u00e9", "etag": '"1"'})
        response.headers.add("link", "<a>")
        response.headers.add("link", "<b>")
        return response

    async with run(policy(), answer) as it:
        miss = await it.client.get("/a")
        hit = await it.client.get("/a")
        head = await it.client.head("/a")
        await until(lambda: len(it.logged()) == 3)

    assert 1 == len(it.service.seen)
    assert ("edge; fwd=uri-miss; stored", "edge; hit; ttl=60") == (
        miss.headers["cache-status"],
        hit.headers["cache-status"].replace("ttl=59", "ttl=60"),
    )
    ours = {"age", "cache-status", "x-envoy-upstream-service-time"}
    joined = [{name: value for name, value in each.headers.items() if name not in ours} for each in (miss, hit)]
    assert joined[0] == joined[1]
    assert miss.content == hit.content
    assert hit.headers["age"] in ("0", "1")
    assert (b"", "6") == (head.content, head.headers["content-length"])
    assert ["miss", "hit", "hit"] == [line["cache"] for line in it.logged()]


async def test_client_validators_and_ranges_are_answered_from_the_store(run: Run) -> None:
    """304 without a body, 206 with its part, 416 when there is none."""
    async with run(policy(), answering("0123456789", etag='"1"', cache_control="max-age=60")) as it:
        await it.client.get("/a")
        same = await it.client.get("/a", headers={"if-none-match": 'W/"1"'})
        part = await it.client.get("/a", headers={"range": "bytes=2-4"})
        beyond = await it.client.get("/a", headers={"range": "bytes=20-"})

    assert (304, b"", '"1"') == (same.status_code, same.content, same.headers["etag"])
    assert "content-length" not in same.headers
    assert (206, b"234", "bytes 2-4/10") == (part.status_code, part.content, part.headers["content-range"])
    assert (416, "bytes */10") == (beyond.status_code, beyond.headers["content-range"])
    assert 1 == len(it.service.seen)


async def test_a_stale_response_is_revalidated(run: Run) -> None:
    """The origin's 304 becomes the client's 200 with the stored body and the new headers."""

    async def answer(request: web.Request) -> web.StreamResponse:
        headers = {"etag": '"1"', "cache-control": "max-age=0"}
        if request.headers.get("if-none-match") == '"1"':
            return web.Response(status=304, headers={**headers, "x-new": "1"})
        return web.Response(text="body", headers=headers)

    async with run(policy(), answer) as it:
        first = await it.client.get("/a")
        second = await it.client.get("/a")

    assert (200, "body", "1") == (second.status_code, second.text, second.headers["x-new"])
    assert "4" == second.headers["content-length"]
    assert first.headers["etag"] == second.headers["etag"]
    assert "edge; fwd=stale; fwd-status=304; stored" == second.headers["cache-status"]


async def test_a_hundred_concurrent_misses_reach_the_service_once(run: Run) -> None:
    """Longer than Envoy's message timeout: the followers' timers are extended, once."""

    async def slow(_request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(1.3)
        return web.Response(text="one", headers=FRESH)

    async with run(policy(), slow) as it:
        answers = await asyncio.gather(*(it.client.get("/a") for _ in range(100)))

    assert 1 == len(it.service.seen)
    assert {(200, "one")} == {(answer.status_code, answer.text) for answer in answers}
    statuses = sorted(answer.headers["cache-status"] for answer in answers)
    assert ["edge; fwd=uri-miss; collapsed"] * 99 + ["edge; fwd=uri-miss; stored"] == statuses


async def test_followers_of_a_leader_that_leaves_get_an_answer(run: Run) -> None:
    """One takes over; the service sees two requests, and nobody hangs."""
    started = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        started.set()
        await asyncio.sleep(30 if "x-leader" in request.headers else 0.1)
        return web.Response(text="one", headers=FRESH)

    async with run(policy(), slow) as it:
        leader = asyncio.create_task(it.client.get("/a", headers={"x-leader": "1"}))
        await started.wait()
        followers = [asyncio.create_task(it.client.get("/a")) for _ in range(20)]
        await until(lambda: sum(map(len, _followers(it))) == 20)
        leader.cancel()
        answers = await asyncio.gather(*followers)

    assert {(200, "one")} == {(answer.status_code, answer.text) for answer in answers}
    assert 2 == len(it.service.seen)


def _followers(it: Stack) -> list[list[object]]:
    return [list(flight.followers) for flight in it.flights._flights.values()]


async def test_followers_of_an_uncacheable_response_are_released_at_once(run: Run) -> None:
    """Each has its own response, and the next burst does not wait in line."""

    async def private(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.2)
        return web.Response(text=request.headers["x-user"], headers={"cache-control": "private", "set-cookie": "a=b"})

    async with run(policy(), private) as it:
        users = [str(number) for number in range(10)]
        first = await asyncio.gather(*(it.client.get("/a", headers={"x-user": user}) for user in users))
        second = await asyncio.gather(*(it.client.get("/a", headers={"x-user": user}) for user in users))

    assert [users, users] == [[answer.text for answer in answers] for answers in (first, second)]
    assert 20 == len(it.service.seen)


async def test_waiting_is_bounded_and_never_a_504(run: Run) -> None:
    """A follower whose time is up goes to the service itself."""

    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(3 if "x-leader" in request.headers else 0)
        return web.Response(text="one", headers=FRESH)

    async with run(policy(), slow, wait_s=0.3) as it:
        leader = asyncio.create_task(it.client.get("/a", headers={"x-leader": "1"}))
        await until(lambda: len(it.service.seen) == 1)
        follower = await it.client.get("/a")

        assert (200, "edge; fwd=uri-miss; stored") == (follower.status_code, follower.headers["cache-status"])
        assert 200 == (await leader).status_code


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_passes_untouched(run: Run, chunked: bool) -> None:
    """By Content-Length or counted; not stored, not a 500, though Envoy's buffer is smaller than the body."""
    body = bytes(range(256)) * 16_000

    async def large(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=FRESH)
        if not chunked:
            response.content_length = len(body)
        await response.prepare(request)
        for start in range(0, len(body), 300_000):
            await response.write(body[start : start + 300_000])
        await response.write_eof()
        return response

    async with run(policy(), large) as it:
        answers = [await it.client.get("/a") for _ in range(2)]

    assert [body, body] == [answer.content for answer in answers]
    assert [None if chunked else str(len(body))] * 2 == [answer.headers.get("content-length") for answer in answers]
    assert 0 == len(it.store)


async def test_a_large_response_below_the_limit_is_stored_and_streamed(run: Run) -> None:
    """Larger than Envoy's buffer in both directions; parts, HEAD and the client's own validator as of a small one."""
    body = bytes(range(256)) * 12_000

    async def large(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, headers={**FRESH, "etag": '"1"', "x-text": "caf\u00e9"})

    async with run(policy(max_body_bytes=8 << 20), large) as it:
        answers = [await it.client.get("/a") for _ in range(2)]
        part = await it.client.get("/a", headers={"range": "bytes=1000-900999"})
        head = await it.client.head("/a")
        same = await it.client.get("/a", headers={"if-none-match": '"1"'})
        await until(lambda: len(it.logged()) == 5)

    assert [body, body] == [answer.content for answer in answers]
    assert [str(len(body))] * 3 == [answer.headers["content-length"] for answer in (*answers, head)]
    assert (206, body[1000:901_000], f"bytes 1000-900999/{len(body)}") == (
        part.status_code,
        part.content,
        part.headers["content-range"],
    )
    assert (200, b"", 304) == (head.status_code, head.content, same.status_code)
    assert answers[0].headers["x-text"] == answers[1].headers["x-text"]
    assert ["miss", "hit", "hit", "hit", "hit"] == [line["cache"] for line in it.logged()]
    assert 1 == len(it.service.seen)


async def test_a_truncated_response_is_not_stored(run: Run) -> None:
    """The service's connection broke when half of the body had reached the client."""
    half_arrived = asyncio.Event()

    async def truncated(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=FRESH)
        response.content_length = 100
        await response.prepare(request)
        await response.write(b"x" * 50)
        await half_arrived.wait()
        transport = request.transport
        assert transport is not None
        transport.abort()
        return response

    async with run(policy(), truncated) as it:
        async with it.client.stream("GET", "/a") as response:
            chunks = response.aiter_bytes()
            await anext(chunks)
            half_arrived.set()
            with pytest.raises(httpx.RemoteProtocolError):
                await anext(chunks)
        await until(lambda: not len(it.flights))

    assert 0 == len(it.store)


@pytest.mark.parametrize("status", [200, 204, 404])
async def test_empty_and_negative_responses(run: Run, status: int) -> None:
    """No hang, nothing lost."""
    async with run(policy(), answering("", status, cache_control="max-age=60")) as it:
        answers = [await it.client.get("/a") for _ in range(2)]

    assert [(status, b"")] * 2 == [(answer.status_code, answer.content) for answer in answers]
    assert 1 == len(it.service.seen)


async def _broken(request: web.Request) -> web.StreamResponse:
    transport = request.transport
    assert transport is not None
    transport.abort()
    return web.Response()


async def _fails(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=500, text="failed")


async def _hangs(_request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response()


@pytest.mark.parametrize(("failure", "status"), [(_broken, 503), (_fails, 500), (_hangs, 504)])
async def test_stale_if_error(run: Run, failure: Answer, status: int) -> None:
    """A reset, an error and the route's timeout are all covered by the stale response."""
    async with run(policy(stale_if_error_s=60), answering("good", cache_control="max-age=0, x")) as it:
        await it.client.get("/a")
        it.service.answer = failure
        stale = await it.client.get("/a")

    assert (200, "good") == (stale.status_code, stale.text)
    assert f"edge; fwd=stale; fwd-status={status}" == stale.headers["cache-status"]


async def test_envoy_s_own_errors_are_not_stored(run: Run) -> None:
    """A 503 for a broken connection passes, and the next request reaches the service."""
    async with run(policy(ttl_s=60), _broken) as it:
        failed = await it.client.get("/a")
        it.service.answer = answering("good")
        good = await it.client.get("/a")

    assert (503, "good") == (failed.status_code, good.text)


async def test_stale_while_revalidate(run: Run) -> None:
    """While one request asks the origin, the others are served the stale response."""
    gate = asyncio.Event()

    async def gated(_request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return web.Response(text="new", headers=FRESH)

    async with run(policy(stale_while_revalidate_s=60), answering("old", cache_control="max-age=0, x")) as it:
        await it.client.get("/a")
        it.service.answer = gated
        asking = asyncio.create_task(it.client.get("/a"))
        await until(lambda: len(it.service.seen) == 2)
        meanwhile = [await it.client.get("/a") for _ in range(3)]
        gate.set()

        assert ["old"] * 3 == [answer.text for answer in meanwhile]
        assert meanwhile[0].headers["cache-status"].startswith("edge; hit; ttl=")
        assert "new" == (await asking).text
        assert "new" == (await it.client.get("/a")).text
    assert 2 == len(it.service.seen)


async def test_unsafe_methods_invalidate(run: Run) -> None:
    """With a body, which the cache does not touch."""

    async def echo(request: web.Request) -> web.StreamResponse:
        return web.Response(body=await request.read(), headers=FRESH)

    async with run(policy(), echo) as it:
        await it.client.get("/a")
        post = await it.client.post("/a", content=b"x" * 100_000)
        after = await it.client.get("/a")

    assert (b"x" * 100_000, "edge; fwd=method") == (post.content, post.headers["cache-status"])
    assert "edge; fwd=uri-miss; stored" == after.headers["cache-status"]


async def test_an_event_stream_is_not_held(run: Run) -> None:
    """Its first event arrives while it is open."""

    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream", **FRESH})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await asyncio.sleep(30)
        return response

    async with run(policy(), events) as it, it.client.stream("GET", "/a") as response:
        first = await anext(response.aiter_bytes())

        assert b"data: 1\n\n" == first


async def test_trailers_do_not_hide_the_end_of_a_body(run: Run) -> None:
    """A chunked body with trailers is stored and served."""

    async def with_trailers(request: web.Request) -> web.StreamResponse:
        transport = request.transport
        assert transport is not None
        transport.write(b"HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ntransfer-encoding: chunked\r\n\r\n")
        transport.write(b"5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n")
        transport.close()
        return web.Response()

    async with run(policy(), with_trailers) as it:
        answers = [await it.client.get("/a") for _ in range(2)]

    assert ["hello", "hello"] == [answer.text for answer in answers]
    assert 1 == len(it.store)


def redacting() -> processing_pb2.ProcessingPolicy:
    message = policy()
    message.response.remove_headers.append("x-internal")
    message.response.set_headers.add(name="x-set", value="1")
    message.response.add_headers.add(name="x-added", value="2")
    message.response.body.add().redact.fields.append("password")
    message.request.set_headers.add(name="x-to-service", value="1")
    message.request.remove_headers.append("x-debug")
    return message


@pytest.mark.parametrize("chunked", [False, True])
async def test_transforms_are_the_same_on_miss_and_hit(run: Run, chunked: bool) -> None:
    """Headers in both directions and a redacted body, with the right length."""

    async def answer(request: web.Request) -> web.StreamResponse:
        seen = {name: request.headers.get(name) for name in ("x-to-service", "x-debug")}
        body = json.dumps({"password": "secret" * 10, "seen": seen}).encode()
        response = web.Response(
            body=body,
            content_type="application/json",
            headers={**FRESH, "x-internal": "1", "x-added": "1", "etag": '"1"'},
        )
        if chunked:
            response.enable_chunked_encoding()
        return response

    async with run(redacting(), answer) as it:
        miss = await it.client.get("/a", headers={"X-Debug": "1", "X-To-Service": "mine"})
        hit = await it.client.get("/a")

    expected = {"password": "[redacted]", "seen": {"x-to-service": "1", "x-debug": None}}
    assert [expected, expected] == [miss.json(), hit.json()]
    assert miss.content == hit.content
    for answer_ in (miss, hit):
        assert str(len(answer_.content)) == answer_.headers["content-length"]
        assert ("1", "1, 2", 'W/"1"') == tuple(answer_.headers[name] for name in ("x-set", "x-added", "etag"))
        assert "x-internal" not in answer_.headers


async def test_a_body_that_cannot_be_redacted_is_blocked(run: Run) -> None:
    """502, and nothing of it reaches the client."""
    async with run(redacting(), answering('{"password": "secret"', content_type="application/json")) as it:
        bad = await it.client.get("/bad")
        it.service.answer = answering("password: secret", content_type="text/html")
        html = await it.client.get("/html")

    for answer in (bad, html):
        assert 502 == answer.status_code
        assert "application/problem+json" == answer.headers["content-type"]
        assert "secret" not in answer.text
