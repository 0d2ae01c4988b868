"""Requests stay in the zone of the Envoy that has taken them, as far as that keeps the load of all endpoints even."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import aiohttp
import pytest
from aiohttp import web

from control_plane.config.loading import load
from control_plane.config_file import DiskFiles
from control_plane.translate import translate
from control_plane.translate.bootstrap import API_TYPES, BootstrapSettings, bootstrap
from tests.feature.xds.serving import Serving, serving
from tests.ports import free_ports

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(120)]
LIMIT_S = 30.0
EVEN = "envoys: {endpoints: [{address: 127.0.0.1, port: 1, zone: a}, {address: 127.0.0.1, port: 2, zone: b}]}"
"""As many Envoys in each zone."""
ALL_IN_A = "envoys: {endpoints: [{address: 127.0.0.1, port: 1, zone: a}, {address: 127.0.0.1, port: 2, zone: a}]}"


@dataclass
class Zones:
    """An Envoy in zone a, and a service with three endpoints in each of the zones a and b."""

    xds: Serving
    folder: Path
    upstreams: dict[int, str]
    """Zone by port."""
    port: int
    http: aiohttp.ClientSession
    texts: list[str] = field(default_factory=list)

    async def serve(self, envoys: str, zone_aware: str = "{min_endpoints: 6}") -> None:
        """Until Envoy has it."""
        self.texts.append(f"version-{len(self.texts)}")
        endpoints = ", ".join(
            f"{{address: 127.0.0.1, port: {port}, zone: {zone}}}" for port, zone in self.upstreams.items()
        )
        file = self.folder / "gateway.yaml"
        file.write_text(
            f"""
version: 1
name: meetinity
listeners: [{{name: public, address: 127.0.0.1, port: {self.port}}}]
{envoys}
services: {{users: {{endpoints: [{endpoints}], zone_aware: {zone_aware}}}}}
routes:
  - {{name: version, match: {{path: /version}}, auth: none, direct_response: {{status: 200, body: {self.texts[-1]}}}}}
  - {{name: users, match: {{path_prefix: /}}, service: users, auth: none}}
"""
        )
        loaded = load(str(file), DiskFiles(), {})
        assert loaded.gateway is not None, loaded.faults
        snapshot = translate(loaded.gateway, {}, {})
        self.xds.publish(*(resource for named in snapshot.resources.values() for resource in named.values()))
        async with asyncio.timeout(LIMIT_S):
            while await self.get("/version") != self.texts[-1]:  # noqa: ASYNC110 - Envoy is asked
                await asyncio.sleep(0.02)

    async def get(self, path: str) -> str:
        try:
            async with self.http.get(f"http://127.0.0.1:{self.port}{path}") as answer:
                return await answer.text()
        except aiohttp.ClientError as error:
            return type(error).__name__

    async def spread(self) -> Counter[str]:
        """Of sixty requests, by zone."""
        return Counter([await self.get("/users") for _ in range(60)])


@asynccontextmanager
async def zones(
    binary: str, folder: Path, api_type: Literal["delta-grpc", "grpc"], *, per_type: bool = False
) -> AsyncIterator[Zones]:
    port, admin, status = free_ports_of(3)
    async with AsyncExitStack() as stack:
        upstreams = {await stack.enter_async_context(upstream(zone)): zone for zone in "aaabbb"}
        xds = await stack.enter_async_context(serving())
        http = await stack.enter_async_context(aiohttp.ClientSession())
        settings = BootstrapSettings(
            name="meetinity",
            node_id="zones",
            xds_host="127.0.0.1",
            xds_port=int(xds.address.rpartition(":")[2]),
            admin_port=admin,
            status_address="127.0.0.1",
            status_port=status,
            api_type=API_TYPES[api_type],
            per_type=per_type,
            zone="a",
        )
        config = folder / "envoy.pb"
        config.write_bytes(bootstrap(settings).SerializeToString())
        process = await asyncio.create_subprocess_exec(
            *(binary, "-c", str(config), "--concurrency", "1", "--use-dynamic-base-id"),
            *("--log-path", str(folder / "envoy.log")),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            yield Zones(xds, folder, upstreams, port, http)
        finally:
            process.terminate()
            await process.wait()


def free_ports_of(count: int) -> range:
    first = free_ports(count)
    return range(first, first + count)


@asynccontextmanager
async def upstream(zone: str) -> AsyncIterator[int]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=zone)

    app = web.Application()
    app.router.add_get("/users", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def test_requests_stay_in_their_zone(envoy_binary: str, tmp_path: Path) -> None:
    """Not when all Envoys are in one of two zones: half of the endpoints would do all the work."""
    async with zones(envoy_binary, tmp_path, "delta-grpc") as stand:
        await stand.serve(EVEN)
        assert {"a": 60} == await stand.spread()

        await stand.serve(ALL_IN_A)
        assert {"a", "b"} == (await stand.spread()).keys()

        await stand.serve(EVEN, "{min_endpoints: 7}")
        assert {"a": 30, "b": 30} == await stand.spread()

        await stand.serve(EVEN, "none")
        assert {"a": 30, "b": 30} == await stand.spread()


@pytest.mark.parametrize("per_type", [False, True])
@pytest.mark.parametrize("api_type", ["delta-grpc", "grpc"])
async def test_an_envoy_with_a_zone_needs_no_other_envoys(
    envoy_binary: str, tmp_path: Path, api_type: Literal["delta-grpc", "grpc"], per_type: bool
) -> None:
    """A gateway.yaml without `envoys` is served to it all the same, to all zones alike; and it may say more later."""
    async with zones(envoy_binary, tmp_path, api_type, per_type=per_type) as stand:
        await stand.serve("")
        assert {"a": 30, "b": 30} == await stand.spread()

        await stand.serve(EVEN)
        assert {"a": 60} == await stand.spread()
