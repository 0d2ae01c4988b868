"""A browser, and a page whose site runs beside it in a thread."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from control_plane.admin.http import Protection
from tests import parts
from tests.feature.dashboard.site import Document, Site, site

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Open = Callable[..., Site]


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """Debian's Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    chromium = parts.chromium(os.environ)
    with sync_playwright() as running:
        opened = running.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu"],
            env={**os.environ, **parts.chromium_environment(chromium)},
        )
        yield opened
        opened.close()


@pytest.fixture
def open_site() -> Iterator[Open]:
    """Start a site; it ends with the test."""
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    threads: list[threading.Thread] = []

    def start(first: Document, protection: Protection | None = None) -> Site:
        started = threading.Event()
        found: list[Site] = []

        async def serve() -> None:
            async with site(first, protection, tick_s=0.2) as running:
                found.append(running)
                started.set()
                await stop.wait()

        thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="site")
        threads.append(thread)
        thread.start()
        assert started.wait(30)
        return found[0]

    yield start
    loop.call_soon_threadsafe(stop.set)
    for thread in threads:
        thread.join(30)
    loop.close()
