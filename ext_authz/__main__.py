"""python -m ext_authz: builds the objects, one TaskGroup, nothing else."""

import asyncio
import os
import sys
import time

from prometheus_client import CollectorRegistry

from ext_authz import settings as flags
from ext_authz.audit import AuditLog
from ext_authz.credentials import Authenticator
from ext_authz.jwks import FetchGuards, KeyFetcher
from ext_authz.jwt.cache import TokenCache
from ext_authz.jwt.sources import sources_of
from ext_authz.limiter.memory import MemoryStore
from ext_authz.metrics import Metrics
from ext_authz.nonces import MemoryNonces
from ext_authz.policies import PolicyStore
from ext_authz.service import Authorization
from ext_authz.settings import Settings
from ext_authz.sinks import POLICY_TYPE, SECRET_TYPE, PolicySink, SecretSink
from gateway_runtime.admin import admin_app, http_server
from gateway_runtime.grpc_server import GrpcServer, ServerOptions, serve
from gateway_runtime.process import raise_on_signal, run
from gateway_runtime.telemetry import configure_logging, logger
from gateway_runtime.tracing import Tracing, TracingMetrics
from gateway_runtime.tracing_sink import TRACING_TYPE, TracingSink
from gateway_runtime.workers import raise_when_orphaned, run_workers
from gateway_runtime.xds_client import XdsClient

USER_AGENT_NAME = "meetinity-ext-authz"
MAX_CHECK_BYTES = 64 * 1024 * 1024
"""A signed route sends the body along; how large it may be is the route's to say, not ours."""
EXPIRY_INTERVAL_S = 5.0


async def serve_worker(settings: Settings) -> None:
    """Serve Check calls on one address until a signal; SERVING as soon as the first policies are in force."""
    log = logger("ext_authz")
    policies = PolicyStore(share=settings.share)
    tokens = TokenCache(settings.token_cache)
    limiter = MemoryStore(settings.limiter_keys)
    registry = CollectorRegistry()
    tracing = Tracing("ext_authz")
    TracingMetrics(registry, tracing)
    ready = asyncio.Event()
    server = GrpcServer(ServerOptions(max_receive_bytes=MAX_CHECK_BYTES))
    fetcher = KeyFetcher(FetchGuards(settings.jwks_allow_http, settings.jwks_allow_private))

    def want_keys() -> None:
        fetcher.want(sources_of(policies.methods.values()))

    xds = XdsClient(
        target=settings.xds_address,
        node_id=settings.node_id,
        user_agent_name=USER_AGENT_NAME,
        cluster=settings.gateway,
        sinks={
            SECRET_TYPE: SecretSink(policies),
            POLICY_TYPE: PolicySink(policies, time.monotonic, want_keys),
            TRACING_TYPE: TracingSink(tracing),
        },
        on_ready=ready.set,
        dialling=settings.dialling,
    )
    authorization = Authorization(
        policies=policies,
        source=xds,
        authenticator=Authenticator(tokens, fetcher.ring),
        limiter=limiter,
        metrics=Metrics(registry, policies, tokens, limiter, fetcher.ages_s),
        audit=AuditLog(time.monotonic),
        nonces=MemoryNonces(time.time()),
        tracing=tracing,
    )
    server.server.add_generic_rpc_handlers((authorization.handler(),))
    address = server.bind(settings.addresses[0], name="ext_authz")
    admin = admin_app(registry, lambda: None if ready.is_set() else "no policies yet")

    async def expire_policies() -> None:
        while True:
            await asyncio.sleep(EXPIRY_INTERVAL_S)
            policies.expire(time.monotonic())
            want_keys()

    async with (
        tracing.running(),
        http_server(admin, settings.admin_addresses[0], name="ext_authz admin") as admin_address,
    ):

        async def announce() -> None:
            await ready.wait()
            await server.set_serving(True)
            log.info("ready", address=address, admin=admin_address, policies=len(policies))

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(serve(server, notice_s=settings.notice_s, drain_s=settings.drain_s), name="grpc")
            tasks.create_task(xds.run(), name="xds")
            tasks.create_task(fetcher.run(), name="jwks")
            tasks.create_task(announce(), name="announce")
            tasks.create_task(expire_policies(), name="expiry")
            tasks.create_task(raise_on_signal(), name="signals")
            if settings.worker_of is not None:
                tasks.create_task(raise_when_orphaned(settings.worker_of), name="parent")


async def serve_workers(settings: Settings) -> None:
    """Be the parent of several workers until a signal."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_workers("ext_authz", flags.worker_arguments(settings)), name="workers")
        tasks.create_task(raise_on_signal(), name="signals")


def main() -> int:
    settings = flags.parse(sys.argv[1:], os.environ)
    configure_logging(settings.log_level, settings.log_format, process="ext_authz")
    serve_all = serve_workers if len(settings.addresses) > 1 else serve_worker
    return run(lambda: serve_all(settings))


if __name__ == "__main__":
    sys.exit(main())
