"""Servers of asyncio for tests that are not: each in a thread with an event loop of its own."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import TypeVar

from aiohttp import web

T = TypeVar("T")
_START_S, _END_S = 30, 10


@contextmanager
def in_thread(server: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """What the server gives, which runs until the block ends; a start that fails is raised here."""
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    started: Future[T] = Future()

    async def run() -> None:
        try:
            async with server as given:
                started.set_result(given)
                await stop.wait()
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), name="server of a test")
    thread.start()
    try:
        yield started.result(_START_S)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(_END_S)
        loop.close()


@asynccontextmanager
async def http_server(
    app: web.Application, *, instances: int = 1, auto_decompress: bool = True
) -> AsyncIterator[list[int]]:
    """Listens on free ports of 127.0.0.1, one for each instance; a request ends with its client."""
    runner = web.AppRunner(
        app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1, auto_decompress=auto_decompress
    )
    await runner.setup()
    try:
        for _ in range(instances):
            await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield [address[1] for address in runner.addresses]
    finally:
        await runner.cleanup()
