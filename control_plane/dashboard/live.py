"""Changes of pages, sent as server-sent events to browsers that show them.

Each page that somebody looks at is rendered once a tick, however many look at it, and of it is sent what has changed.
How many may look is bounded: the control plane has more important things to do.
"""

import asyncio
from collections.abc import Callable, Mapping

import orjson
from aiohttp import web

from control_plane.dashboard.rendering import Part, Update, update

TICK_S = 2.0
_PING_S = 15.0
_MOST_VIEWERS = 64
_MOST_PAGES = 24
Render = Callable[[], str]
"""What is inside of <main> now."""


class _Watched:
    """One page, and who looks at it."""

    def __init__(self, render: Render) -> None:
        self.render = render
        self.parts: dict[str, Part] | None = None
        self.viewers: set[asyncio.Queue[bytes]] = set()


class Live:
    """Call `run` once."""

    def __init__(self, tick_s: float = TICK_S) -> None:
        self._tick_s = tick_s
        self._pages: dict[str, _Watched] = {}
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End all streams: they would never end by themselves."""
        self._closing.set()

    async def run(self) -> None:
        """Look for changes until cancelled."""
        while True:
            await asyncio.sleep(self._tick_s)
            for page in list(self._pages.values()):
                self._refresh(page)
                await asyncio.sleep(0)  # pushes come first

    def _refresh(self, page: _Watched) -> None:
        page.parts, changed = update(page.parts, page.render())
        if changed is not None:
            event = _event(changed)
            for viewer in page.viewers:
                _put_newest(viewer, event, page)

    async def stream(self, request: web.Request, key: str, render: Render) -> web.StreamResponse:
        """Until the browser goes away."""
        viewers = sum(len(page.viewers) for page in self._pages.values())
        if viewers >= _MOST_VIEWERS or (key not in self._pages and len(self._pages) >= _MOST_PAGES):
            raise web.HTTPServiceUnavailable(text="too many look at it already\n", headers={"Retry-After": "30"})
        page = self._pages.setdefault(key, _Watched(render))
        viewer: asyncio.Queue[bytes] = asyncio.Queue(maxsize=8)
        page.viewers.add(viewer)
        try:
            # What it was rendered from may be older than what the others have: it gets all of it once.
            main = render()
            page.parts, changed = update(page.parts, main)
            if changed is not None:
                for other in page.viewers - {viewer}:
                    _put_newest(other, _event(changed), page)
            viewer.put_nowait(_event(Update({name: part.html for name, part in page.parts.items()}, "")))
            return await self._send(request, viewer)
        finally:
            page.viewers.discard(viewer)
            if not page.viewers:
                self._pages.pop(key, None)

    async def _send(self, request: web.Request, viewer: "asyncio.Queue[bytes]") -> web.StreamResponse:
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        closing = asyncio.create_task(self._closing.wait(), name="live closing")
        try:
            await response.write(b"retry: 3000\n\n")
            while not self._closing.is_set():
                await response.write(await self._next(viewer, closing))
        except ConnectionError:
            pass  # the browser has gone
        finally:
            closing.cancel()
        return response

    async def _next(self, viewer: "asyncio.Queue[bytes]", closing: "asyncio.Task[bool]") -> bytes:
        """What comes next; a comment now and then keeps proxies from closing."""
        event = asyncio.create_task(viewer.get(), name="live event")
        await asyncio.wait({event, closing}, timeout=_PING_S, return_when=asyncio.FIRST_COMPLETED)
        if event.done():
            return event.result()
        event.cancel()
        return b": still there\n\n"


def _put_newest(viewer: "asyncio.Queue[bytes]", event: bytes, page: _Watched) -> None:
    """A browser that does not keep up is sent everything once it does, instead of a long past."""
    if viewer.full():
        while not viewer.empty():
            viewer.get_nowait()
        parts: Mapping[str, Part] = page.parts or {}
        event = _event(Update({name: part.html for name, part in parts.items()}, ""))
    viewer.put_nowait(event)


def _event(changed: Update) -> bytes:
    return b"event: update\ndata: " + orjson.dumps({"parts": changed.parts, "main": changed.whole}) + b"\n\n"
