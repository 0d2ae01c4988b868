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
from tests.ports import free_ports


@dataclass
class Process:
    process: asyncio.subprocess.Process
    http: str
    xds: str
    lines: list[dict[str, Any]]
    """What it has logged; grows."""

    async def status(self) -> dict[str, Any]:
        async with aiohttp.ClientSession() as session, session.get(f"http://{self.http}/api/status") as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def get(self, path: str) -> tuple[int, str]:
        """0 while it does not listen."""
        async with aiohttp.ClientSession() as session:
            try:
                async with session.get(f"http://{self.http}{path}") as answer:
                    return answer.status, await answer.text()
            except aiohttp.ClientConnectionError:
                return 0, ""

    async def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with asyncio.timeout(30):
            while not holds(found := await self.status()):  # noqa: ASYNC110 - the process tells nobody
                await asyncio.sleep(0.05)
        return found

    async def until_logged(self, event: str) -> dict[str, Any]:
        """Its first line of that event."""
        async with asyncio.timeout(30):
            while not (found := self.logged(event)):
                assert self.process.returncode is None, self.lines
                await asyncio.sleep(0.02)
        return found[0]

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line.get("event") == event]


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
async def control_plane(shop: Namespace, directory: Path, *, many: bool = False) -> AsyncIterator[Process]:
    """Ready to serve; with `many` each file of the ConfigMap is a gateway."""
    async with started(shop, directory, many=many) as found:
        await found.until_logged("ready")
        yield found


@asynccontextmanager
async def started(shop: Namespace, directory: Path, *, many: bool = False) -> AsyncIterator[Process]:
    """It may still wait for the cluster."""
    first = free_ports(2)
    http, xds = f"127.0.0.1:{first}", f"127.0.0.1:{first + 1}"
    command = [sys.executable, "-m", "control_plane", "--kubeconfig", written_kubeconfig(shop, directory)]
    config = directory / "config"
    command += ["--config-dir", str(config)] if many else ["--config", str(config / "gateway.yaml")]
    command += ["--config-map", f"{shop.name}/gateway"]
    command += ["--xds-address", xds, "--http-address", http, "--log-format", "json"]
    environment = {**os.environ, "POD_NAMESPACE": shop.name, "POD_NAME": "control-plane-0"}
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    found = Process(process, http, xds, [])
    reading = asyncio.create_task(_read(process, found.lines))
    try:
        yield found
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


def _parsed(line: bytes) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(line) if line.startswith(b"{") else {"text": line.decode()}
    return found


async def _read(process: asyncio.subprocess.Process, lines: list[dict[str, Any]]) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        lines.append(_parsed(line))  # noqa: PERF401 - at once, each
