"""A service that tells what it got: every answer is JSON about the request, or what the path asks for."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import WSMsgType, web

from tests.threads import http_server, in_thread


@dataclass
class Echo:
    """Several instances on ports of their own, in a thread of their own."""

    ports: list[int] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    """Method and path of every request, over all instances."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.raw_path}")
        if request.headers.get("upgrade", "").lower() == "websocket":
            return await _websocket(request)
        if "fail" in request.path:
            return web.Response(status=503)
        if "slow" in request.path:
            await asyncio.sleep(20)
        if "etag" in request.path:
            return web.Response(text="x" * 4000, headers={"etag": '"v1"', "x-envoy-secret": "1"})
        body = await request.read()
        return web.json_response(
            {
                "port": request.transport.get_extra_info("sockname")[1] if request.transport else 0,
                "method": request.method,
                "path": request.raw_path,
                "headers": [[name.lower(), value] for name, value in request.headers.items()],
                "length": len(body),
            },
            headers={"server": "echo"},
        )


async def _websocket(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(f"echo {message.data}")
    return socket


@contextmanager
def echo(instances: int) -> Iterator[Echo]:
    """Run so many instances until the block ends."""
    service = Echo()
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", service.handle)
    with in_thread(http_server(app, instances=instances)) as ports:
        service.ports.extend(ports)
        yield service
