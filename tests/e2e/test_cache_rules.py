"""RFC 9111 and its neighbours through a real Envoy: what is stored, what is served, and under which key.

The service answers with the status and headers that the request asks for in `x-answer`, which no key holds.
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import aiohttp
import httpx
import pytest
from aiohttp import web

from tests.e2e.cache_stack import Stack, policy, stack

pytestmark = pytest.mark.envoy

Run = Callable[..., AbstractAsyncContextManager[Stack]]


@pytest.fixture
def run(envoy_binary: str, tmp_path: Path) -> Run:
    return partial(stack, envoy_binary, tmp_path)


async def as_asked(request: web.Request) -> web.StreamResponse:
    wanted = json.loads(request.headers.get("x-answer", "{}"))
    response = web.Response(status=wanted.pop("status", 200), text=request.headers.get("x-text", "body"))
    for name, value in wanted.items():
        for line in value if isinstance(value, list) else [value]:
            response.headers.add(name, line)
    return response


async def get(it: Stack, path: str, answer: dict[str, object] | None = None, **headers: str) -> httpx.Response:
    own = {name.replace("_", "-"): value for name, value in headers.items()}
    method = own.pop("method", "GET")
    if answer is not None:
        own["x-answer"] = json.dumps(answer)
    return await it.client.request(method, path, headers=own)


def status(answer: httpx.Response) -> str:
    return str(answer.headers.get("cache-status", "none")).replace("ttl=59", "ttl=60")


HIT = "edge; hit; ttl=60"
STORED = "edge; fwd=uri-miss; stored"
PASSED = "edge; fwd=uri-miss"


async def test_directives_of_responses(run: Run) -> None:
    """What the service says about caching, in every form, decides whether the second request is a hit."""
    stored: dict[str, dict[str, object]] = {
        "max-age": {"cache-control": "max-age=60"},
        "s-maxage-wins": {"cache-control": "max-age=0, s-maxage=60"},
        "quoted": {"cache-control": 'max-age="60"'},
        "two-lines": {"cache-control": ["public", "max-age=60"]},
        "targeted": {"cache-control": "no-store", "cdn-cache-control": "max-age=60"},
        "private-field": {"cache-control": 'max-age=60, private="x-secret"', "x-secret": "1"},
        "404": {"status": 404, "cache-control": "max-age=60"},
        "503-explicit": {"status": 503, "cache-control": "max-age=60"},
        "301": {"status": 301, "location": "/b", "cache-control": "max-age=60"},
    }
    passed: dict[str, dict[str, object]] = {
        "nothing": {},
        "no-store": {"cache-control": "max-age=60, no-store"},
        "private": {"cache-control": "max-age=60, private"},
        "invalid": {"cache-control": "max-age=1.5"},
        "conflict": {"cache-control": ["max-age=60", "max-age=0"]},
        "targeted": {"cache-control": "max-age=60", "cdn-cache-control": "no-store"},
        "set-cookie": {"cache-control": "max-age=60", "set-cookie": "a=b"},
        "vary-star": {"cache-control": "max-age=60", "vary": ["accept", "*"]},
        "expired": {"expires": "0"},
        "206": {"status": 206, "cache-control": "max-age=60", "content-range": "bytes 0-3/9"},
        "503": {"status": 503},
    }
    async with run(policy(), as_asked) as it:
        first = {name: status(await get(it, f"/stored/{name}", answer)) for name, answer in stored.items()}
        second = {name: await get(it, f"/stored/{name}", {}) for name in stored}
        third = {name: status(await get(it, f"/passed/{name}", answer)) for name, answer in passed.items()}
        fourth = {name: status(await get(it, f"/passed/{name}", {})) for name in passed}
        never_fresh = [status(await get(it, "/no-cache", {"cache-control": "no-cache", "etag": '"1"'})) for _ in "12"]

    assert dict.fromkeys(stored, STORED) == first
    assert dict.fromkeys(stored, HIT) == {name: status(answer) for name, answer in second.items()}
    assert [404, 503, 301] == [second[name].status_code for name in ("404", "503-explicit", "301")]
    assert "x-secret" not in second["private-field"].headers
    assert dict.fromkeys(passed, PASSED) == third == fourth
    assert [STORED, "edge; fwd=stale; stored"] == never_fresh


async def test_directives_of_requests(run: Run) -> None:
    """The client's wishes: not from the store, only from it, fresher, or staler than that."""
    fresh: dict[str, object] = {"cache-control": "max-age=60", "age": "20"}
    async with run(policy(), as_asked) as it:
        await get(it, "/a", fresh)
        await get(it, "/stale", {"cache-control": "max-age=10", "age": "20"})
        await get(it, "/must", {"cache-control": "max-age=10, must-revalidate", "age": "20"})
        wishes = ("max-stale=60", "min-fresh=50", "max-age=10", "no-cache", "no-store")
        answers = {wish: status(await get(it, "/a", fresh, cache_control=wish)) for wish in wishes}
        pragma = await get(it, "/a", fresh, pragma="no-cache")
        only = await get(it, "/nothing", cache_control="only-if-cached")
        stale = [status(await get(it, path, cache_control="max-stale=60")) for path in ("/stale", "/must")]

    assert {
        "max-stale=60": "edge; hit; ttl=40",
        "min-fresh=50": "edge; fwd=request; stored",
        "max-age=10": "edge; fwd=request; stored",
        "no-cache": "edge; fwd=request; stored",
        "no-store": "edge; hit; ttl=40",
    } == {wish: line.replace("ttl=39", "ttl=40") for wish, line in answers.items()}
    assert ("edge; fwd=request; stored", 504) == (status(pragma), only.status_code)
    assert stale[0].startswith("edge; hit; ttl=-")
    assert "edge; fwd=stale" == stale[1]


async def test_requests_with_credentials(run: Run) -> None:
    """Neither stored nor served without the service's leave, and `private` wins whatever else is said."""
    leaves = ("max-age=60", "max-age=60, public", "s-maxage=60", "max-age=60, must-revalidate", "s-maxage=60, private")
    async with run(policy(), as_asked) as it:
        for number, leave in enumerate(leaves):
            await get(it, f"/{number}", {"cache-control": leave}, authorization="Bearer a")
        again = [status(await get(it, f"/{number}", {}, authorization="Bearer b")) for number in range(len(leaves))]
        await get(it, "/anybody", {"cache-control": "max-age=60"})
        theirs = await get(it, "/anybody", {"cache-control": "max-age=60"}, authorization="Bearer a", x_text="theirs")
        anybody = status(await get(it, "/anybody"))

    assert [PASSED, HIT, HIT, HIT, PASSED] == again
    assert ("edge; fwd=request", "theirs", HIT) == (status(theirs), theirs.text, anybody)


async def test_variants(run: Run) -> None:
    """One for each value of what the service's Vary names, however it is written; HEAD finds them too."""
    english: dict[str, object] = {"cache-control": "max-age=60", "vary": "Accept-Language"}
    async with run(policy(), as_asked) as it:
        lines = [
            status(await get(it, "/a", english, accept_language=language, x_text=language, method=method))
            for language, method in (("en", "GET"), ("da", "GET"), ("EN ,de", "GET"), ("en,DE", "GET"), ("da", "HEAD"))
        ]
        danish = await get(it, "/a", accept_language="da")

    assert [STORED, "edge; fwd=vary-miss; stored", "edge; fwd=vary-miss; stored", HIT, HIT] == lines
    assert "da" == danish.text


async def test_keys(run: Run) -> None:
    """Equal URLs share an entry, others never do; what no key holds cannot change what others get."""
    fresh: dict[str, object] = {"cache-control": "max-age=60"}
    async with run(policy(), as_asked) as it:
        await get(it, "/k?b=1&a=2", fresh)
        same = [status(await get(it, "/k?a=2&b=1", fresh)), status(await get(it, "/k?b=1&a=2", host="TESTSERVER"))]
        await get(it, "/k?a=2&b=1", fresh, host="Example.com:80")
        same.append(status(await get(it, "/k?a=2&b=1", host="example.com")))
        others = [
            status(await get(it, path, fresh)) for path in ("/k?a=2%26b=1", "/k?a=2&b=1&b=0", "/k?", "/k", "/K?a=2&b=1")
        ]
        await get(it, "/poison", fresh, x_forwarded_host="evil.example", x_text="ours")
        poisoned = await get(it, "/poison", forwarded="host=evil.example")
        head = status(await get(it, "/head", fresh, method="HEAD"))
        after_head = await get(it, "/head", fresh)

    assert (HIT, HIT) == (same[0], same[2])
    assert [STORED] * 5 == others
    assert (HIT, "ours") == (status(poisoned), poisoned.text)
    assert ("edge; fwd=uri-miss", STORED, "body") == (head, status(after_head), after_head.text)


async def test_writes_that_make_invalid(run: Run) -> None:
    """The URL itself and those that its successful answer names, on the same origin; an error changes nothing."""
    fresh: dict[str, object] = {"cache-control": "max-age=60"}
    paths = ("/self", "/location", "/content", "/other")
    async with run(policy(), as_asked) as it:
        for path in paths:
            await get(it, path, fresh)
        await get(it, "/self", {"status": 500}, method="POST")
        kept = status(await get(it, "/self"))
        base = str(it.client.base_url).rstrip("/")
        named: dict[str, object] = {"status": 201, "location": f"{base}/location", "content-location": "/content"}
        await get(it, "/self", named, method="PROPFIND")
        await get(it, "/x", {"location": "http://elsewhere.example/other"}, method="POST")
        after = [status(await get(it, path, fresh)) for path in paths]

    assert HIT == kept
    assert [STORED, STORED, STORED, HIT] == after


async def test_headers_of_a_hit(run: Run) -> None:
    """Lists and octets as they came, Age with what it had; nothing of one connection."""
    sent: dict[str, object] = {
        "cache-control": "max-age=60",
        "link": ["<a>", "<b>"],
        "www-authenticate": ["Basic", "Bearer"],
        "x-octets": "caf\u00e9",
        "age": "20",
        "date": "Sun, 06 Nov 1994 08:49:37 GMT",
        "keep-alive": "timeout=5",
        "x-hop": "1",
        "connection": "x-hop",
        "proxy-authenticate": "Basic",
    }
    sent["cache-control"] = "max-age=2000000000"
    async with run(policy(), as_asked) as it:
        miss = await get(it, "/a", sent)
        hit = await get(it, "/a")
        part = await get(it, "/a", range="bytes=0-1", if_range='"other"')

    assert ("<a>, <b>", "Basic, Bearer") == (hit.headers["link"], hit.headers["www-authenticate"])
    assert "caf" in miss.headers["x-octets"]
    assert miss.headers["x-octets"] == hit.headers["x-octets"]
    assert "Sun, 06 Nov 1994 08:49:37 GMT" == hit.headers["date"]
    assert int(hit.headers["age"]) > 20
    assert set() == {"keep-alive", "x-hop", "proxy-authenticate", "transfer-encoding"} & set(hit.headers)
    assert (200, "4") == (part.status_code, hit.headers["content-length"])


async def test_informational_responses_and_upgrades(run: Run) -> None:
    """103 before the response is no response; a WebSocket and gRPC have nothing to do with the cache."""

    async def hinting(request: web.Request) -> web.StreamResponse:
        if request.headers.get("upgrade"):
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            await socket.send_str(await socket.receive_str())
            return socket
        transport = request.transport
        assert transport is not None
        transport.write(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n")
        return web.Response(text="whole", headers={"cache-control": "max-age=60"})

    async with run(policy(), hinting) as it:
        answers = [await it.client.get("/a") for _ in range(2)]
        grpc = [status(await get(it, "/g", content_type="application/grpc")) for _ in range(2)]
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{str(it.client.base_url).rstrip('/')}/ws") as socket,
        ):
            await socket.send_str("hello")
            echoed = await asyncio.wait_for(socket.receive_str(), 10)

    assert [("whole", 200)] * 2 == [(answer.text, answer.status_code) for answer in answers]
    assert [STORED, HIT] == [status(answer) for answer in answers]
    assert "hello" == echoed
    assert HIT not in grpc
