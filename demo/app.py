"""The HTTP application of one demo instance.

Every path answers with who answered and what arrived: that is how the tour shows identity headers, weights and cache
hits. `/demo/...` is for the person at the console; no route of the default configuration leads to it.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

from aiohttp import web

from demo.behaviour import Behaviour, parse_behaviour
from demo.content import lookup
from demo.login import Issuer, parse_login

CREDENTIALS = frozenset({"authorization", "cookie", "x-api-key"})
"""Request headers whose presence is echoed, not their value."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One process of a demo service."""

    service: str
    name: str


class DemoService:
    """One instance: its present behaviour and how often each path was asked for."""

    def __init__(self, instance: Instance, issuer: Issuer, clock: Callable[[], float] = time.time) -> None:
        self._instance = instance
        self._issuer = issuer
        self._clock = clock
        self._behaviour = Behaviour()
        self._served: Counter[str] = Counter()

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/demo/behaviour", self._show_behaviour),
                web.put("/demo/behaviour", self._set_behaviour),
                web.delete("/demo/behaviour", self._heal),
                web.get("/demo/requests", self._show_requests),
                web.delete("/demo/requests", self._forget_requests),
            ]
        )
        if self._instance.service == "auth":
            app.add_routes([web.post("/auth/login", self._behaved(self._login))])
        app.add_routes([web.route("*", "/{path:.*}", self._behaved(self._echo))])
        return app

    def _behaved(
        self, answer: Callable[[web.Request], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """Count, then wait and fail as told, before answer."""

        async def handler(request: web.Request) -> web.Response:
            self._served[f"{request.method} {request.path}"] += 1
            behaviour = self._behaviour
            if behaviour.delay_ms:
                await asyncio.sleep(behaviour.delay_ms / 1000)
            if behaviour.status is None:
                return await answer(request)
            told = {"instance": self._instance.name, "error": f"told to answer {behaviour.status}"}
            return _json(told, status=behaviour.status)

        return handler

    async def _echo(self, request: web.Request) -> web.Response:
        body = await request.read()
        document: dict[str, object] = {
            "service": self._instance.service,
            "instance": self._instance.name,
            "method": request.method,
            "path": request.path_qs,
            "served": self._served[f"{request.method} {request.path}"],
            "headers": _echoed(request),
        }
        if body:
            document["body_bytes"] = len(body)
        content = lookup(request.path)
        if content is not None:
            document["data"] = content
        return _json(document)

    async def _login(self, request: web.Request) -> web.Response:
        try:
            user = parse_login(await request.json())
        except ValueError as error:
            return _json({"error": str(error)}, status=400)
        token = self._issuer.token(user, int(self._clock()))
        body = {"access_token": token, "token_type": "Bearer", "expires_in": self._issuer.lifetime_s}
        response = _json(body)
        response.headers["Cache-Control"] = "no-store"
        return response

    async def _health(self, _request: web.Request) -> web.Response:
        healthy = self._behaviour.healthy
        return _json({"instance": self._instance.name, "healthy": healthy}, status=200 if healthy else 503)

    async def _show_behaviour(self, _request: web.Request) -> web.Response:
        return _json({"instance": self._instance.name, **asdict(self._behaviour)})

    async def _set_behaviour(self, request: web.Request) -> web.Response:
        try:
            self._behaviour = parse_behaviour(await request.json())
        except ValueError as error:
            return _json({"error": str(error)}, status=400)
        return await self._show_behaviour(request)

    async def _heal(self, request: web.Request) -> web.Response:
        self._behaviour = Behaviour()
        return await self._show_behaviour(request)

    async def _show_requests(self, _request: web.Request) -> web.Response:
        return _json({"instance": self._instance.name, "requests": dict(sorted(self._served.items()))})

    async def _forget_requests(self, request: web.Request) -> web.Response:
        self._served.clear()
        return await self._show_requests(request)


def _echoed(request: web.Request) -> dict[str, str]:
    """Request headers by lower-case name, credentials hidden, repeated ones joined as HTTP allows."""
    shown: dict[str, str] = {}
    for name in sorted({name.lower() for name in request.headers}):
        values = request.headers.getall(name)
        shown[name] = "[present]" if name in CREDENTIALS else ", ".join(values)
    return shown


def _json(document: object, status: int = 200) -> web.Response:
    """Indented, because people read it in a terminal; one final newline for the same reason."""
    text = json.dumps(document, indent=2) + "\n"
    return web.Response(text=text, status=status, content_type="application/json")
