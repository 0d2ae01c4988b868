"""What a client says of itself over xDS stays text on the page, in events and in JSON."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from urllib.parse import urlencode

import aiohttp
import grpc
import orjson
import pytest
from prometheus_client import CollectorRegistry

from control_plane.metrics import Metrics
from control_plane.resource_types import CLUSTER
from control_plane.xds.server import XdsServer
from gateway_runtime.grpc_server import GrpcServer
from tests.feature.dashboard.site import Site, document, fetched, site
from tests.feature.xds.probe import delta, node

HOSTILE = {
    "script": "</script><script>document.title='owned'</script>",
    "attribute": '" onmouseover="alert(1)" x=\'y',
    "image": "<img src=x onerror=alert(1)>",
    "part": '--!><!--end--><!--part verdict--><section id="verdict"></section>',
    "template": "{{ scene }}{% raw %}",
    "controls": "a\x00b\x01\x1b[2J\r\n\t\u202e\u2028\ufffe",
    "long": "<b>" + "x" * 1000,
}
REASON = "<i>" + "y" * 10_240
PATHS = ("/", "/clients", "/clients?state=refusing", "/services", "/routes", "/history")


class Markup(HTMLParser):
    """Which elements and attributes there are."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[tuple[str, str]] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.update((tag, name) for name, _ in attrs)
        self.found.add((tag, ""))


def markup(text: str) -> set[tuple[str, str]]:
    parser = Markup()
    parser.feed(text)
    return parser.found


@asynccontextmanager
async def connected(running: Site) -> AsyncIterator[grpc.aio.Channel]:
    """To the xDS server of the site's store."""
    xds = XdsServer(running.store, Metrics(CollectorRegistry()))
    server = GrpcServer()
    server.server.add_generic_rpc_handlers(tuple(xds.handlers()))
    address = server.bind("127.0.0.1:0", name="xDS")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            yield channel
    finally:
        xds.close()
        await server.stop(drain_s=0.5)


@asynccontextmanager
async def hostile(running: Site, text: str) -> AsyncIterator[None]:
    """A client that is served and refuses what it gets, and one that is not let in, both with such names."""
    async with connected(running) as channel:
        served = node(id=text, cluster="shop", user_agent_name=text)
        served.user_agent_version = text
        probe = delta(channel, served)
        await probe.subscribe(CLUSTER)
        await probe.receive()
        await probe.nack(CLUSTER, reason=f"{text} {REASON}")
        stranger = delta(channel, node(id=text, cluster=f"no {text}", user_agent_name=text))
        await stranger.subscribe(CLUSTER)
        assert grpc.StatusCode.NOT_FOUND == (await stranger.status())[0]
        yield


async def _told(session: aiohttp.ClientSession, url: str) -> bytes:
    """/api/status once the refusal has arrived."""
    while True:
        async with session.get(url + "/api/status") as answer:
            body = await answer.read()
        told = orjson.loads(body)
        if told["refused"] and any(one["nack"] for one in told["nodes"][0]["types"]):
            assert answer.headers["Content-Type"] == "application/json"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            return body


@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_hostile_client_is_text_everywhere(kind: str) -> None:
    """The same elements and attributes as with a harmless one; programs get every character as it was sent."""
    text = HOSTILE[kind]
    found = {}
    for name in ("harmless", text):
        async with site(document()) as running, hostile(running, name), aiohttp.ClientSession() as session:
            status = orjson.loads(await _told(session, running.url))
            view = f"/clients/view?{urlencode({'id': name, 'cluster': 'shop'})}"
            pages = [await fetched(session, running.url + path) for path in (*PATHS, view)]
            async with session.get(f"{running.url}/live?path=/clients") as live:
                await live.content.readuntil(b"\n\n")  # how soon to come back
                event = (await live.content.readuntil(b"\n\n")).decode()
        assert [200] * len(pages) == [code for code, _ in pages]
        found[name] = [markup(page) for _, page in pages]
        assert (name, name, name) == (
            status["nodes"][0]["id"],
            status["nodes"][0]["version"],
            status["refused"][0]["id"],
        )
        assert f"no {name}" == status["refused"][0]["cluster"]
        assert len(status["nodes"][0]["types"][0]["nack"]["reason"]) < 8300
        assert all(not re.search("[\x00-\x08\x0b-\x1f\u202e]", page) for _, page in pages)
        assert (1, 0) == (event.count("data: "), event.count("\r"))

    assert found["harmless"] == found[text]


async def test_a_name_of_10_kib_is_refused() -> None:
    """It would stand in every line of the log and could not be linked to."""
    async with site(document()) as running, connected(running) as channel:
        probe = delta(channel, node(id="x" * 10_240, cluster="shop"))
        await probe.subscribe(CLUSTER)
        status = await probe.status()

    assert (grpc.StatusCode.INVALID_ARGUMENT, "node.id is longer than 1,024 bytes") == status
