"""python -m ext_proc: builds the objects, one TaskGroup, nothing else."""

import asyncio
import os
import sys
import time
from typing import Never

from prometheus_client import CollectorRegistry

from ext_proc import settings as flags
from ext_proc.cache.cache import Cache
from ext_proc.cache.memory import MemoryStore
from ext_proc.cache.single_flight import Flights
from ext_proc.metrics import Metrics
from ext_proc.policies import PolicyStore
from ext_proc.redis_cache import RedisCache
from ext_proc.redis_calls import usable_calls
from ext_proc.redis_queue import Tuning
from ext_proc.redis_stores import RedisStores
from ext_proc.service import ExternalProcessor
from ext_proc.settings import Settings
from ext_proc.sinks import POLICY_TYPE, PURGE_TYPE, PurgeSink, Stores
from ext_proc.store_metrics import StoreMetrics
from gateway_runtime.admin import admin_app, http_server, register_process_metrics
from gateway_runtime.certificates import expiry_of_client
from gateway_runtime.http2.connection import Limits
from gateway_runtime.http2.server import Http2Server
from gateway_runtime.policy_sinks import SECRET_TYPE, PolicySink, SecretSink
from gateway_runtime.process import raise_on_signal, run
from gateway_runtime.reporting import report
from gateway_runtime.telemetry import Logs, configure_logging, logger
from gateway_runtime.tracing import Tracing, TracingMetrics
from gateway_runtime.tracing_sink import TRACING_TYPE, TracingSink
from gateway_runtime.workers import raise_when_orphaned, run_workers
from gateway_runtime.xds_client import XdsClient
from policy.stores import RedisAddress

USER_AGENT_NAME = "meetinity-ext-proc"
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Envoy sends body chunks as large as they came; gRPC's default of 4 MiB would end the stream."""
REPORTED = frozenset({"gateway_cache_requests_total"})
"""What the control plane is told for its status page."""
EXPIRY_INTERVAL_S = 1.0


async def serve_worker(settings: Settings, logs: Logs) -> None:
    """Serve Process streams on one address until a signal; SERVING as soon as the first policies are in force."""
    log = logger("ext_proc")
    policies = PolicyStore()
    registry = CollectorRegistry()
    register_process_metrics(registry, logs)
    registry.register(expiry_of_client(settings.dialling.tls))
    store_metrics = StoreMetrics(registry)

    def open_store(address: RedisAddress) -> RedisCache:
        tuning = Tuning(timeout_s=settings.store_timeout_s)
        return RedisCache(
            usable_calls(address.url), prefix=address.prefix, memory=cache, metrics=store_metrics, tuning=tuning
        )

    shared = RedisStores(open_store)
    cache = Cache(
        MemoryStore(max_bytes=settings.cache_bytes, max_entries=settings.cache_entries),
        Flights(),
        wait_s=settings.wait_s,
        shared=shared,
    )
    stores = Stores(policies, shared)
    tracing = Tracing("ext_proc")
    TracingMetrics(registry, tracing)
    ready = asyncio.Event()
    xds = _xds_client(settings, policies, cache, stores, tracing, ready)
    metrics = Metrics(registry, cache.store)
    processor = ExternalProcessor(policies=policies, source=xds, cache=cache, metrics=metrics, tracing=tracing)
    server = Http2Server(processor.methods(), Limits(max_message_bytes=MAX_MESSAGE_BYTES))
    address = server.bind(settings.addresses[0], name="ext_proc")
    admin = admin_app(registry, lambda: None if ready.is_set() else "no policies yet")
    async with (
        tracing.running(),
        http_server(admin, settings.admin_addresses[0], name="ext_proc admin") as admin_address,
    ):

        async def announce() -> None:
            await ready.wait()
            await server.set_serving(True)
            log.info("ready", address=address, admin=admin_address, policies=len(policies))

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve(notice_s=settings.notice_s, drain_s=settings.drain_s), name="grpc")
            tasks.create_task(xds.run(), name="xds")
            tasks.create_task(shared.run(), name="stores")
            tasks.create_task(report(xds, registry, REPORTED), name="report")
            tasks.create_task(announce(), name="announce")
            tasks.create_task(_expire(policies, processor, cache, stores), name="expiry")
            tasks.create_task(raise_on_signal(), name="signals")
            if settings.worker_of is not None:
                tasks.create_task(raise_when_orphaned(settings.worker_of), name="parent")


def _xds_client(
    settings: Settings, policies: PolicyStore, cache: Cache, stores: Stores, tracing: Tracing, ready: asyncio.Event
) -> XdsClient:
    return XdsClient(
        target=settings.xds_address,
        node_id=settings.node_id,
        user_agent_name=USER_AGENT_NAME,
        cluster=settings.gateway,
        sinks={
            SECRET_TYPE: SecretSink(stores),
            POLICY_TYPE: PolicySink(policies, time.monotonic, stores.refresh),
            PURGE_TYPE: PurgeSink(cache),
            TRACING_TYPE: TracingSink(tracing),
        },
        on_ready=ready.set,
        dialling=settings.dialling,
    )


async def _expire(policies: PolicyStore, processor: ExternalProcessor, cache: Cache, stores: Stores) -> Never:
    """Free what time has made useless."""
    while True:
        await asyncio.sleep(EXPIRY_INTERVAL_S)
        policies.expire(time.monotonic())
        stores.refresh()
        processor.forget_routes()
        cache.expire(time.time())


async def serve_workers(settings: Settings) -> None:
    """Be the parent of several workers until a signal."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_workers("ext_proc", flags.worker_arguments(settings)), name="workers")
        tasks.create_task(raise_on_signal(), name="signals")


def main() -> int:
    settings = flags.parse(sys.argv[1:], os.environ)
    logs = configure_logging(settings.log_level, settings.log_format, process="ext_proc")
    if len(settings.addresses) > 1:
        return run(lambda: serve_workers(settings))
    return run(lambda: serve_worker(settings, logs))


if __name__ == "__main__":
    sys.exit(main())
