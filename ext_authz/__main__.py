"""python -m ext_authz: builds the objects, one TaskGroup, nothing else."""

import asyncio
import os
import secrets
import sys
import time
from collections.abc import Awaitable, Sequence

from prometheus_client import CollectorRegistry

from ext_authz import settings as flags
from ext_authz.audit import AuditLog
from ext_authz.credential_metrics import CredentialMetrics
from ext_authz.credentials import Authenticator
from ext_authz.jwks import FetchGuards, KeyFetcher
from ext_authz.jwt.cache import TokenCache
from ext_authz.jwt.sources import sources_of
from ext_authz.limiter.charges import Charge, Verdict
from ext_authz.limiter.memory import MemoryStore
from ext_authz.metrics import Metrics
from ext_authz.nonces import MemoryNonces
from ext_authz.policies import PolicyStore
from ext_authz.rate_limit_service import RateLimits
from ext_authz.redis_scripts import usable_scripts
from ext_authz.redis_sets import RedisNonces, RedisSets, SharedNonces
from ext_authz.redis_store import RedisStore, Tuning
from ext_authz.revocation_polling import RevocationPolling
from ext_authz.service import Authorization
from ext_authz.settings import Settings
from ext_authz.sinks import POLICY_TYPE, SECRET_TYPE, PolicySink, SecretSink
from ext_authz.store_metrics import StoreMetrics
from ext_authz.stores import SharedStores
from gateway_runtime.admin import admin_app, http_server, register_process_metrics
from gateway_runtime.http2.connection import Limits
from gateway_runtime.http2.server import Http2Server
from gateway_runtime.process import raise_on_signal, run
from gateway_runtime.reporting import report
from gateway_runtime.telemetry import configure_logging, logger
from gateway_runtime.tracing import Tracing, TracingMetrics
from gateway_runtime.tracing_sink import TRACING_TYPE, TracingSink
from gateway_runtime.workers import raise_when_orphaned, run_workers
from gateway_runtime.xds_client import XdsClient
from policy.authz import Policy
from policy.stores import RedisAddress

USER_AGENT_NAME = "meetinity-ext-authz"
MAX_CHECK_BYTES = 64 * 1024 * 1024
"""A signed route sends the body along; how large it may be is the route's to say, not ours."""
REPORTED = frozenset({"gateway_authz_decisions_total"})
"""What the control plane is told for its status page."""
EXPIRY_INTERVAL_S = 5.0


async def serve_worker(settings: Settings) -> None:
    """Serve Check calls on one address until a signal; SERVING as soon as the first policies are in force."""
    log = logger("ext_authz")
    policies = PolicyStore(share=settings.share)
    tokens = TokenCache(settings.token_cache)
    limiter = MemoryStore(settings.limiter_keys)
    registry = CollectorRegistry()
    register_process_metrics(registry)
    tracing = Tracing("ext_authz")
    TracingMetrics(registry, tracing)
    ready = asyncio.Event()
    fetcher = KeyFetcher(FetchGuards(settings.jwks_allow_http, settings.jwks_allow_private))

    def open_store(address: RedisAddress) -> RedisStore:
        return RedisStore(
            usable_scripts(address.url),
            prefix=address.prefix,
            name=secrets.token_hex(8),
            share=settings.share,
            tuning=Tuning(timeout_s=settings.store_timeout_s),
        )

    stores = SharedStores(open_store)
    nonces = MemoryNonces(time.time())
    shared_nonces = SharedNonces(lambda address: RedisNonces(RedisSets(address.url), address.prefix, time.time))
    polling = RevocationPolling(RedisSets)
    CredentialMetrics(registry, nonces, polling.ages_s)

    def want_keys() -> None:
        stores.want(policies.redis_addresses)
        shared_nonces.want(policies.nonce_stores)
        polling.want(policies.revocation_lists)
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

    def charge(policy: Policy, charges: Sequence[Charge], now_us: int) -> Verdict | Awaitable[Verdict]:
        shared = policy.rate_limit_store and stores.get(policy.rate_limit_store)
        return (shared or limiter).charge(charges, now_us)

    rate_limits = RateLimits(policies.domain, charge)
    StoreMetrics(registry, lambda: stores.all, lambda: rate_limits.answers)
    authorization = Authorization(
        policies=policies,
        source=xds,
        authenticator=Authenticator(tokens, fetcher.ring, polling.revocations),
        limiter=limiter,
        metrics=Metrics(registry, policies, tokens, limiter, fetcher.ages_s),
        audit=AuditLog(time.monotonic),
        nonces=nonces,
        shared_nonces=shared_nonces,
        tracing=tracing,
        shared_store=stores.get,
    )
    server = Http2Server(
        {**authorization.methods(), **rate_limits.methods()}, Limits(max_message_bytes=MAX_CHECK_BYTES)
    )
    address = server.bind(settings.addresses[0], name="ext_authz")
    admin = admin_app(registry, lambda: None if ready.is_set() else "no policies yet")

    async def expire_policies() -> None:
        while True:
            await asyncio.sleep(EXPIRY_INTERVAL_S)
            policies.expire(time.monotonic())
            want_keys()
            await shared_nonces.close_leaving()

    async with (
        tracing.running(),
        http_server(admin, settings.admin_addresses[0], name="ext_authz admin") as admin_address,
    ):

        async def announce() -> None:
            await ready.wait()
            await server.set_serving(True)
            log.info("ready", address=address, admin=admin_address, policies=len(policies))

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve(notice_s=settings.notice_s, drain_s=settings.drain_s), name="grpc")
            tasks.create_task(xds.run(), name="xds")
            tasks.create_task(report(xds, registry, REPORTED), name="report")
            tasks.create_task(fetcher.run(), name="jwks")
            tasks.create_task(polling.run(), name="revocation")
            tasks.create_task(stores.run(), name="stores")
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
