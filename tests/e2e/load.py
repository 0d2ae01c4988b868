"""Steady load on a gateway, and what came of it."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import aiohttp

from tests.e2e.waiting import until


@dataclass
class Tally:
    """Answers by status, and requests that got none by the name of their error."""

    statuses: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return self.statuses.total() + self.errors.total()

    @property
    def failures(self) -> dict[str, int]:
        """Everything that is not a 2xx."""
        refused = {str(status): count for status, count in self.statuses.items() if not 200 <= status < 300}
        return {**refused, **self.errors}

    def until_more(self, count: int) -> None:
        """Wait until so many more requests have ended, so that what follows happens under load."""
        goal = self.total + count
        until(lambda: self.total >= goal, f"{count} more requests")


@contextmanager
def load(
    url: str, *, clients: int = 3, pause_s: float = 0.02, headers: Mapping[str, str] | None = None
) -> Iterator[Tally]:
    """GET url over and over inside the block, on kept connections; every request that was begun is counted.

    Runs in a thread with an event loop of its own, so that the test may block.

    Args:
        clients: how many ask at the same time.
        pause_s: between an answer and the next request of one client.
    """
    tally, done = Tally(), threading.Event()

    async def ask_all() -> None:
        timeout = aiohttp.ClientTimeout(total=20)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session, asyncio.TaskGroup() as tasks:
            for number in range(clients):
                tasks.create_task(_ask(session, url, tally, done, pause_s), name=f"load {number}")

    thread = threading.Thread(target=lambda: asyncio.run(ask_all()), name="load")
    thread.start()
    try:
        yield tally
    finally:
        done.set()
        thread.join()


async def _ask(session: aiohttp.ClientSession, url: str, tally: Tally, done: threading.Event, pause_s: float) -> None:
    while not done.is_set():
        try:
            async with session.get(url) as response:
                await response.read()
                tally.statuses[response.status] += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            tally.errors[type(error).__name__] += 1
        await asyncio.sleep(pause_s)
