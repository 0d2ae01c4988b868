"""python -m ext_authz: builds the objects, one TaskGroup, nothing else."""

import asyncio
import os
import sys
import time

from prometheus_client import CollectorRegistry

from ext_authz import settings as flags
from ext_authz.audit import AuditLog
from ext_authz.credential_metrics import CredentialMetrics
from ext_authz.credentials import Authenticator
from ext_authz.jwt.cache import TokenCache
from ext_authz.metrics import Metrics
from ext_authz.nonces import MemoryNonces
from ext_authz.policies import POLICY_TYPE, PolicyStore
from ext_authz.rate_limit_service import RateLimits
from ext_authz.service import Authorization
from ext_authz.settings import Settings
from ext_authz.sources import Sources
from ext_authz.store_metrics import StoreMetrics
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

USER_AGENT_NAME = "meetinity-ext-authz"
MAX_CHECK_BYTES = 64 * 1024 * 1024
"""A signed route sends the body along; how large it may be is the route's to say, not ours."""
REPORTED = frozenset({"gateway_authz_decisions_total"})
"""What the control plane is told for its status page."""


async def serve_worker(settings: Settings, logs: Logs) -> None:
    """Serve Check calls on one address until a signal; SERVING as soon as the first policies are in force."""
    policies = PolicyStore(share=settings.share)
    sources = Sources(policies, settings)
    registry = CollectorRegistry()
    register_process_metrics(registry, logs)
    registry.register(expiry_of_client(settings.dialling.tls))
    tracing = Tracing("ext_authz")
    TracingMetrics(registry, tracing)
    ready = asyncio.Event()
    xds = _xds_client(settings, policies, sources, tracing, ready)
    server = _server(registry, policies, sources, xds, tracing, settings.token_cache)
    address = server.bind(settings.addresses[0], name="ext_authz")
    admin = admin_app(registry, lambda: None if ready.is_set() else "no policies yet")
    async with (
        tracing.running(),
        http_server(admin, settings.admin_addresses[0], name="ext_authz admin") as admin_address,
    ):

        async def announce() -> None:
            await ready.wait()
            await server.set_serving(True)
            logger("ext_authz").info("ready", address=address, admin=admin_address, policies=len(policies))

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve(notice_s=settings.notice_s, drain_s=settings.drain_s), name="grpc")
            tasks.create_task(xds.run(), name="xds")
            tasks.create_task(report(xds, registry, REPORTED), name="report")
            tasks.create_task(sources.run(), name="sources")
            tasks.create_task(announce(), name="announce")
            tasks.create_task(raise_on_signal(), name="signals")
            if settings.worker_of is not None:
                tasks.create_task(raise_when_orphaned(settings.worker_of), name="parent")


def _xds_client(
    settings: Settings, policies: PolicyStore, sources: Sources, tracing: Tracing, ready: asyncio.Event
) -> XdsClient:
    return XdsClient(
        target=settings.xds_address,
        node_id=settings.node_id,
        user_agent_name=USER_AGENT_NAME,
        cluster=settings.gateway,
        sinks={
            SECRET_TYPE: SecretSink(policies),
            POLICY_TYPE: PolicySink(policies, time.monotonic, sources.want),
            TRACING_TYPE: TracingSink(tracing),
        },
        on_ready=ready.set,
        dialling=settings.dialling,
    )


def _server(
    registry: CollectorRegistry,
    policies: PolicyStore,
    sources: Sources,
    xds: XdsClient,
    tracing: Tracing,
    token_cache: int,
) -> Http2Server:
    """Of Check calls and of Envoy's rate limit service, with what both count."""
    tokens = TokenCache(token_cache)
    nonces = MemoryNonces(time.time())
    rate_limits = RateLimits(policies.domain, sources.charge)
    CredentialMetrics(registry, nonces, sources.revocation.ages_s)
    StoreMetrics(registry, lambda: sources.stores.all, lambda: rate_limits.answers)
    authorization = Authorization(
        policies=policies,
        source=xds,
        authenticator=Authenticator(tokens, sources.keys.ring, sources.revocation.revocations),
        limiter=sources.limiter,
        metrics=Metrics(registry, policies, tokens, sources.limiter, sources.keys.ages_s),
        audit=AuditLog(time.monotonic),
        nonces=nonces,
        shared_nonces=sources.nonces,
        tracing=tracing,
        shared_store=sources.stores.get,
    )
    limits = Limits(max_message_bytes=MAX_CHECK_BYTES)
    return Http2Server({**authorization.methods(), **rate_limits.methods()}, limits)


async def serve_workers(settings: Settings) -> None:
    """Be the parent of several workers until a signal."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_workers("ext_authz", flags.worker_arguments(settings)), name="workers")
        tasks.create_task(raise_on_signal(), name="signals")


def main() -> int:
    settings = flags.parse(sys.argv[1:], os.environ)
    logs = configure_logging(settings.log_level, settings.log_format, process="ext_authz")
    if len(settings.addresses) > 1:
        return run(lambda: serve_workers(settings))
    return run(lambda: serve_worker(settings, logs))


if __name__ == "__main__":
    sys.exit(main())
