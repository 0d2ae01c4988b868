"""`python -m control_plane` as a process of its own, with a cluster."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import yaml

from tests.kubernetes.cluster import Namespace, kubeconfig


@dataclass
class Process:
    process: asyncio.subprocess.Process
    http: str
    xds: str
    lines: list[dict[str, Any]]

    async def status(self) -> dict[str, Any]:
        async with aiohttp.ClientSession() as session, session.get(f"http://{self.http}/api/status") as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with asyncio.timeout(30):
            while not holds(found := await self.status()):  # noqa: ASYNC110 - the process tells nobody
                await asyncio.sleep(0.05)
        return found


def written_kubeconfig(shop: Namespace, directory: Path) -> str:
    """The real one, or one for the double."""
    if shop.server is None:
        return kubeconfig()
    file = directory / "kubeconfig"
    document: Mapping[str, object] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": shop.server.url}}],
        "users": [{"name": "test", "user": {"token": "good"}}],
    }
    file.write_text(yaml.safe_dump(document))
    return str(file)


@asynccontextmanager
async def control_plane(shop: Namespace, directory: Path) -> AsyncIterator[Process]:
    command = [sys.executable, "-m", "control_plane", "--kubeconfig", written_kubeconfig(shop, directory)]
    command += ["--config", str(directory / "config" / "gateway.yaml"), "--config-map", f"{shop.name}/gateway"]
    command += ["--xds-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0", "--log-format", "json"]
    environment = {**os.environ, "POD_NAMESPACE": shop.name, "POD_NAME": "control-plane-0"}
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    lines: list[dict[str, Any]] = []
    reading = None
    try:
        async with asyncio.timeout(30):
            ready = await _until_ready(process, lines)
        reading = asyncio.create_task(_read(process, lines))
        yield Process(process, ready["http"], ready["xds"], lines)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        if reading is not None:
            await reading


def _parsed(line: bytes) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(line) if line.startswith(b"{") else {"text": line.decode()}
    return found


async def _until_ready(process: asyncio.subprocess.Process, lines: list[dict[str, Any]]) -> dict[str, Any]:
    assert process.stdout is not None
    async for line in process.stdout:
        lines.append(_parsed(line))
        if lines[-1].get("event") == "ready":
            return lines[-1]
    raise AssertionError(lines)


async def _read(process: asyncio.subprocess.Process, lines: list[dict[str, Any]]) -> None:
    assert process.stdout is not None
    lines.extend([_parsed(line) async for line in process.stdout])
