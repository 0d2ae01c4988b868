"""What the bench of ext_proc compares: python -m tests.performance.ext_proc_servers KIND ADDRESS [REDIS_URL]

grpcio    grpc.aio; decides nothing: a request is answered with constant bytes, or passes where its path says so
sleeping  the same after 200 ms
own       the same as grpcio on our own transport
ours      ext_proc, its policy in place from the start; with REDIS_URL its cache is shared
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import grpc
from prometheus_client import CollectorRegistry

from ext_proc.cache.cache import Cache
from ext_proc.cache.memory import MemoryStore
from ext_proc.cache.single_flight import Flights
from ext_proc.metrics import Metrics
from ext_proc.policies import PolicyStore
from ext_proc.redis_cache import RedisCache
from ext_proc.redis_calls import open_calls
from ext_proc.redis_stores import RedisStores
from ext_proc.service import ExternalProcessor
from ext_proc.store_metrics import StoreMetrics
from gateway_runtime.grpc_server import GrpcServer, serve
from gateway_runtime.http2.connection import Limits, Open
from gateway_runtime.http2.methods import Stream, Streaming
from gateway_runtime.http2.server import Http2Server
from gateway_runtime.process import raise_on_signal, run
from policy.processing import StoreName
from policy.stores import RedisAddress
from tests.performance import ext_proc_messages as messages

SLEEP_S = 0.2
MAX_MESSAGE_BYTES = 16 << 20


def handler(sleep_s: float) -> grpc.GenericRpcHandler:
    """What a person would write first, with everything serialised beforehand."""

    async def process(requests: AsyncIterator[bytes], _context: object) -> AsyncIterator[bytes]:
        is_first = True
        async for request in requests:
            if not is_first:
                yield messages.CONTINUE
                return
            if messages.PASSING in request:
                is_first = False
                yield messages.WATCH
                continue
            if sleep_s:
                await asyncio.sleep(sleep_s)
            yield messages.HIT
            return

    return grpc.method_handlers_generic_handler(
        "envoy.service.ext_proc.v3.ExternalProcessor", {"Process": grpc.stream_stream_rpc_method_handler(process)}
    )


async def bare(context: Stream) -> None:
    """The same on our own transport."""
    request = await context.read()
    if request is None or messages.PASSING not in request:
        context.close(messages.HIT)
        return
    await context.write(messages.WATCH)
    await context.read()
    context.close(messages.CONTINUE)


class NoPolicies:
    """All of them are there already."""

    async def request(self, type_url: str, name: str) -> None:
        await asyncio.Event().wait()


async def serve_ours(address: str, redis_url: str) -> None:
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        policies = PolicyStore()
        policy = messages.policy(shared=bool(redis_url))
        policies.update_policies({policy.name: policy.SerializeToString()}, (), 0.0)
        registry = CollectorRegistry()
        stores = RedisStores(
            lambda each: RedisCache(
                open_calls(each.url), prefix=each.prefix, memory=cache, metrics=StoreMetrics(registry)
            )
        )
        store = MemoryStore(max_bytes=1 << 30, max_entries=1_000_000)
        cache = Cache(store, Flights(), wait_s=10.0, shared=stores)
        if redis_url:
            stores.want({StoreName("redis", "bench:"): RedisAddress(redis_url, "bench:")})
            tasks.create_task(stores.run(), name="stores")
            async with asyncio.timeout(10):
                while not all(each.is_up for each in stores.all()):  # noqa: ASYNC110 - Redis, not we, is waited for
                    await asyncio.sleep(0.01)
        processor = ExternalProcessor(
            policies=policies, source=NoPolicies(), cache=cache, metrics=Metrics(registry, store)
        )
        await serve_own(dict(processor.methods()), address, stack)


async def serve_own(methods: dict[str, Open], address: str, stack: AsyncExitStack) -> None:
    server = Http2Server(methods, Limits(max_message_bytes=MAX_MESSAGE_BYTES))
    server.bind(address, name="ext_proc")
    await stack.enter_async_context(server.running(drain_s=0))
    await server.set_serving(True)
    await raise_on_signal()


async def serve_bare(address: str) -> None:
    async with AsyncExitStack() as stack:
        await serve_own({messages.METHOD: lambda call: Streaming(bare, call)}, address, stack)


async def serve_handler(address: str, sleep_s: float) -> None:
    server = GrpcServer()
    server.server.add_generic_rpc_handlers((handler(sleep_s),))
    server.bind(address, name="empty ext_proc")
    await server.set_serving(True)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(server, drain_s=0), name="grpc")
        tasks.create_task(raise_on_signal(), name="signals")


def main(kind: str, address: str, redis_url: str = "") -> int:
    match kind:
        case "grpcio":
            return run(lambda: serve_handler(address, 0.0))
        case "sleeping":
            return run(lambda: serve_handler(address, SLEEP_S))
        case "own":
            return run(lambda: serve_bare(address))
        case _:
            return run(lambda: serve_ours(address, redis_url))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
