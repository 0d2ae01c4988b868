"""Fixtures of the xDS feature tests."""

from collections.abc import AsyncIterator

import pytest

from tests.feature.xds.serving import Serving, serving


@pytest.fixture
async def xds() -> AsyncIterator[Serving]:
    """A running server with nothing published."""
    async with serving() as running:
        yield running
