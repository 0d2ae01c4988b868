"""Processes that share a Redis by the address that xDS brings: one fills, all serve; one dies, another takes over."""

import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc
import pytest
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc_pb2

from control_plane.resource_types import PROCESSING_POLICY, NodeKind
from control_plane.snapshot import Resource, Snapshot
from tests.feature.ext_authz.harness import DEADLINE_S, ControlPlane, Process, control_plane
from tests.feature.ext_proc.harness import FRESH, Stream, ext_proc, policy
from tests.feature.ext_proc.test_purge import gatewayctl, http_of
from tests.redis_servers import RedisServer

pytestmark = [pytest.mark.redis, pytest.mark.xdist_group("redis cache")]


@dataclass
class Two:
    """Two processes, and channels to them."""

    plane: ControlPlane
    processes: list[Process]
    channels: list[grpc.aio.Channel]
    published: Snapshot

    def stream(self, number: int) -> Stream:
        return Stream(self.channels[number], "proc-1")


def shared(url: str, prefix: str) -> Snapshot:
    message = policy()
    message.cache.store.url_secret = "redis"
    message.cache.store.prefix = prefix
    secret = secret_pb2.Secret(name="redis")
    secret.generic_secret.secret.inline_string = url
    kinds = frozenset({NodeKind.EXT_PROC})
    return Snapshot.of([Resource.of(each.name, each, kinds) for each in (secret, message)])


@asynccontextmanager
async def two(redis: RedisServer) -> AsyncIterator[Two]:
    async with AsyncExitStack() as stack:
        plane = await stack.enter_async_context(control_plane())
        published = shared(redis.url, f"{os.urandom(6).hex()}:")
        plane.publish(published)
        processes = [await stack.enter_async_context(ext_proc(plane.address)) for _ in range(2)]
        channels = []
        for process in processes:
            ready = await process.line("ready")
            await process.line("cache_store_up")
            channels.append(await stack.enter_async_context(grpc.aio.insecure_channel(str(ready["address"]))))
        yield Two(plane, processes, channels, published)


async def test_one_fills_and_the_other_serves(redis: RedisServer) -> None:
    """A follower in the other process waits for just this response."""
    async with two(redis) as it:
        leader = it.stream(0)
        await leader.asks()
        follower = it.stream(1)
        patience = await follower.asks()
        await leader.responds({"content-length": "4", "cache-control": "max-age=60"})
        await leader.sends(b"body")
        answer = await follower.hears()
        later = await it.stream(1).asks()

    assert patience.HasField("override_message_timeout")
    assert (b"body", b"body") == (answer.immediate_response.body, later.immediate_response.body)
    assert "collapsed" in cache_status(answer)
    assert "; hit" in cache_status(later)


async def test_a_killed_leader_is_replaced_by_one_of_another_process(redis: RedisServer) -> None:
    """SIGKILL: the lease expires within its two seconds, and exactly one follower goes to the service."""
    async with two(redis) as it:
        await it.stream(0).asks()
        followers = [it.stream(1) for _ in range(3)]
        for follower in followers:
            assert (await follower.asks()).HasField("override_message_timeout")
        it.processes[0].process.kill()
        leader = await followers[0].hears()
        await followers[0].responds({"content-length": "4", "cache-control": "max-age=60"})
        await followers[0].sends(b"body")
        others = [await follower.hears() for follower in followers[1:]]

    assert leader.HasField("request_headers")
    assert [b"body"] * 2 == [each.immediate_response.body for each in others]


def cache_status(answer: ext_proc_pb2.ProcessingResponse) -> str:
    headers = answer.immediate_response.headers.set_headers
    return next(each.header.raw_value.decode() for each in headers if each.header.key == "cache-status")


async def test_a_purge_holds_in_the_whole_fleet_when_it_returns(redis: RedisServer) -> None:
    """The next request is a miss wherever it comes, and what it brings is everybody's: one fetch in the fleet."""
    async with two(redis) as it, http_of(it.plane.store) as url:
        await it.stream(0).fetches()
        for arguments in (("--tag", "t"), ("--key", "http://h/a"), ("--prefix", "/a"), ("--all",)):
            before = [(await it.stream(number).asks()).HasField("immediate_response") for number in (0, 1)]
            done = await gatewayctl("cache", "purge", *arguments, "--server", url)
            anew = it.stream(1)
            miss = await anew.asks()
            await anew.responds(FRESH)
            await anew.sends(arguments[0].encode()[:4])
            after = [await it.stream(number).asks() for number in (0, 1, 0, 1)]

            assert 0 == done.exit_code, done.output
            assert [True, True] == before
            assert miss.HasField("request_headers")
            assert [arguments[0].encode()[:4]] * 4 == [each.immediate_response.body for each in after]


async def test_a_purge_holds_within_a_second_where_nobody_told(redis: RedisServer) -> None:
    """A process of another control plane, with the same Redis: it learns of the purge from there."""
    took_s = []
    async with two(redis) as it, http_of(it.plane.store) as url, control_plane() as another:
        another.publish(it.published)
        async with ext_proc(another.address) as process:
            ready = await process.line("ready")
            await process.line("cache_store_up")
            async with grpc.aio.insecure_channel(str(ready["address"])) as channel:
                for _ in range(3):
                    await it.stream(0).fetches()
                    assert (await Stream(channel, "proc-1").asks()).HasField("immediate_response")
                    assert 0 == (await gatewayctl("cache", "purge", "--tag", "t", "--server", url)).exit_code
                    began_s = time.monotonic()
                    asking = Stream(channel, "proc-1")
                    while (await asking.asks()).HasField("immediate_response"):
                        assert time.monotonic() - began_s < DEADLINE_S
                        asking = Stream(channel, "proc-1")
                    took_s.append(time.monotonic() - began_s)
                    await asking.responds(FRESH)
                    await asking.sends(b"anew")
                    assert 0 == (await gatewayctl("cache", "purge", "--all", "--server", url)).exit_code

    assert sorted(took_s)[1] < 1


async def test_an_address_that_is_missing_is_told_once() -> None:
    """The process serves from memory."""
    async with control_plane() as plane:
        complete = shared("redis://127.0.0.1:1/0", "p:")
        plane.publish(Snapshot.of(list(complete.of_type(PROCESSING_POLICY).values())))
        async with ext_proc(plane.address) as process:
            ready = await process.line("ready")
            unusable = await process.line("cache_store_unusable")
            async with grpc.aio.insecure_channel(str(ready["address"])) as channel:
                await Stream(channel, "proc-1").fetches()
                hit = await Stream(channel, "proc-1").asks()
            await process.end()

    assert "redis" in str(unusable["reason"])
    assert b"body" == hit.immediate_response.body
    assert 1 == sum(line.get("event") == "cache_store_unusable" for line in process.lines)
