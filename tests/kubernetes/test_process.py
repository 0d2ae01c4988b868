"""`python -m control_plane` with a cluster: gateway file from a ConfigMap, Events, shutdown."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import yaml

from tests.kubernetes.cluster import CORE, SLICES, Namespace, endpoint_slice, kubeconfig

CONFIG = """
version: 1
name: meetinity
listeners: [{name: public, port: 10000}]
services:
  users: {kubernetes: {namespace: NAMESPACE, service: users, port: http}}
routes:
  - {name: users, match: {path_prefix: /users}, service: users, auth: none}
"""


@dataclass
class Process:
    process: asyncio.subprocess.Process
    http: str
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
        yield Process(process, ready["http"], lines)
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


async def test_the_gateway_file_may_come_from_a_config_map(shop: Namespace, tmp_path: Path) -> None:
    """Served from the start, followed at each edit; a faulty edit changes nothing and becomes an Event."""
    text = CONFIG.replace("NAMESPACE", shop.name)
    await shop.create(CORE, "configmaps", {"metadata": {"name": "gateway"}, "data": {"gateway.yaml": text}})
    await shop.create(SLICES, "endpointslices", endpoint_slice("10.1.0.1"))
    async with control_plane(shop, tmp_path) as running:
        found = await running.status()
        assert found["config"]["valid"]
        assert {} == found["kubernetes"]["problems"]
        assert all(one["synced"] and not one["error"] for one in found["kubernetes"]["watches"])

        generation = found["gateways"][0]["generation"]
        edited = text.replace("/users", "/people")
        await shop.patch(CORE, "configmaps", "gateway", {"data": {"gateway.yaml": edited}})
        await running.until(lambda now: now["gateways"][0]["generation"] > generation)

        await shop.patch(CORE, "configmaps", "gateway", {"data": {"gateway.yaml": "version: 2"}})
        await running.until(lambda now: not now["config"]["valid"])
        async with asyncio.timeout(30):
            while not (events := orjson.loads((await shop.list(CORE, "events")).body)["items"]):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert {"ConfigurationFaulty"} == {event["reason"] for event in events}

        running.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert 0 == await running.process.wait()


async def test_a_service_without_endpoints_is_a_problem_in_status(shop: Namespace, tmp_path: Path) -> None:
    """ "My pod gets no traffic" is answered by one look."""
    text = CONFIG.replace("NAMESPACE", shop.name)
    await shop.create(CORE, "configmaps", {"metadata": {"name": "gateway"}, "data": {"gateway.yaml": text}})
    async with control_plane(shop, tmp_path) as running:
        found = await running.status()

    assert {"users": f"Service {shop.name}/users does not exist"} == found["kubernetes"]["problems"]
