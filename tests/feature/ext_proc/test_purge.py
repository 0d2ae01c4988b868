"""A purge over real xDS: from the control plane's HTTP side to the store of a real ext_proc process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from aiohttp import web
from typer.testing import CliRunner, Result

from control_plane.admin.cache import purge_handler
from control_plane.cli.app import app
from control_plane.purges import Purges
from control_plane.resource_types import CACHE_PURGE, NodeKind
from control_plane.xds.store import Store
from gateway_runtime.admin import http_server
from protos.gateway.policy.v1 import cache_purge_pb2
from tests.feature.ext_authz.harness import GATEWAY, control_plane
from tests.feature.ext_proc.harness import Stream, ext_proc, policy, snapshot
from tests.feature.xds.probe import channel as channel_to
from tests.feature.xds.probe import delta, node


@asynccontextmanager
async def http_of(store: Store) -> AsyncIterator[str]:
    """The URL of the control plane's HTTP side."""
    web_app = web.Application()
    web_app.add_routes([web.post("/api/cache/purge", purge_handler(Purges(store)))])
    async with http_server(web_app, "127.0.0.1:0", name="HTTP") as address:
        yield f"http://{address}"


async def gatewayctl(*arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, arguments)


async def is_stored(channel: grpc.aio.Channel, path: str) -> bool:
    return (await Stream(channel, "proc-1").asks(path)).HasField("immediate_response")


@pytest.mark.parametrize(
    ("arguments", "left"),
    [(["--key", "http://h/a"], "/b"), (["--prefix", "/a"], "/b"), (["--tag", "none"], "/a"), (["--all"], None)],
)
async def test_a_purge_is_done_when_the_command_returns(arguments: list[str], left: str | None) -> None:
    """The ACK comes after the entries have gone."""
    async with control_plane() as plane, http_of(plane.store) as url:
        plane.publish(snapshot(policy()))
        async with ext_proc(plane.address) as process:
            ready = await process.line("ready")
            async with grpc.aio.insecure_channel(str(ready["address"])) as channel:
                for path in ("/a", "/b"):
                    await Stream(channel, "proc-1").fetches(path)

                done = await gatewayctl("cache", "purge", *arguments, "--server", url)

                assert 0 == done.exit_code, done.output
                assert "purged on 1 ext_proc" in done.output
                assert ("none" in arguments) is await is_stored(channel, "/a")
                assert left is None or await is_stored(channel, left)
            stats = await gatewayctl("cache", "stats", "--ext-proc", f"http://{ready['admin']}")
            assert "items" in stats.output


async def test_a_purge_outlives_a_new_configuration_and_is_not_done_again() -> None:
    """An ext_proc that was away finds it; one that has done it keeps what it stored since."""
    async with control_plane() as plane:
        plane.publish(snapshot(policy()))
        async with ext_proc(plane.address) as process:
            ready = await process.line("ready")
            async with http_of(plane.store) as url, grpc.aio.insecure_channel(str(ready["address"])) as channel:
                assert 0 == (await gatewayctl("cache", "purge", "--all", "--server", url)).exit_code
                await Stream(channel, "proc-1").fetches("/a")
                plane.publish(snapshot(policy(), policy("proc-2")))
                await process.line("policies_updated", 2)

                assert await is_stored(channel, "/a")
                assert 1 == len(plane.store.feeds[GATEWAY].current.snapshot.of_type(CACHE_PURGE))


async def test_what_cannot_be_purged_is_a_usage_error() -> None:
    """Exit code 2, and 1 where no control plane answers."""
    async with control_plane() as plane, http_of(plane.store) as url:
        plane.publish(snapshot(policy()))

        wrong = await gatewayctl("cache", "purge", "--key", "nothing", "--server", url)

    assert 2 == wrong.exit_code
    assert "key 'nothing'" in wrong.output
    assert 2 == (await gatewayctl("cache", "purge")).exit_code
    assert 1 == (await gatewayctl("cache", "purge", "--all", "--server", url)).exit_code
    assert 1 == (await gatewayctl("cache", "stats", "--ext-proc", url)).exit_code


async def test_one_that_does_not_acknowledge_is_named() -> None:
    """The answer says which caches may still hold what was purged."""
    async with control_plane() as plane, channel_to(plane.address) as opened:
        plane.publish(snapshot(policy()))
        probe = delta(opened, node("deaf", GATEWAY, NodeKind.EXT_PROC.value))
        await probe.subscribe(CACHE_PURGE, "*")
        await probe.receive()
        await probe.ack(CACHE_PURGE)

        outcome = await Purges(plane.store).purge(cache_purge_pb2.CachePurge(all=True), timeout_s=0.2)

        assert ((), ("deaf",)) == (outcome.acknowledged, outcome.missing)
        await probe.receive()
        await probe.ack(CACHE_PURGE)
        outcome = await Purges(plane.store).purge(cache_purge_pb2.CachePurge(all=True), timeout_s=0.2)
        assert ("deaf",) == outcome.missing, "each purge has an ACK of its own"
