"""The service over real gRPC, with policies from a real xDS server."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from ext_authz.__main__ import USER_AGENT_NAME
from ext_authz.audit import AuditLog
from ext_authz.credentials import Authenticator
from ext_authz.jwt.cache import TokenCache
from ext_authz.limiter.charges import Verdict
from ext_authz.limiter.memory import MemoryStore
from ext_authz.metrics import Metrics
from ext_authz.policies import POLICY_TYPE, PolicyStore
from ext_authz.service import POLICY_WAIT_S, Authorization
from gateway_runtime.http2.server import Http2Server
from gateway_runtime.policy_sinks import SECRET_TYPE, PolicySink, SecretSink
from gateway_runtime.xds_client import XdsClient
from tests.feature.ext_authz.harness import GATEWAY, ControlPlane, check, control_plane, eventually, snapshot
from tests.unit.ext_authz.fixtures import (
    NOW_S,
    any_of,
    authz_policy,
    bearer,
    check_request,
    jwt_method,
    rate_limit,
    token,
)


class FaultyStore(MemoryStore):
    """A limiter with a bug."""

    def charge(self, charges: object, now_us: int) -> Verdict:
        raise RuntimeError("10.1.2.3 secret")


@dataclass
class Service:
    address: str
    policies: PolicyStore
    registry: CollectorRegistry
    control_plane: ControlPlane

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def service(limiter: MemoryStore | None = None) -> AsyncIterator[Service]:
    """Everything that `python -m ext_authz` builds, in this process."""
    policies, tokens, registry = PolicyStore(), TokenCache(100), CollectorRegistry()
    limiter = MemoryStore(1000) if limiter is None else limiter
    ready = asyncio.Event()
    async with control_plane() as plane:
        xds = XdsClient(
            target=plane.address,
            node_id="authz-1",
            user_agent_name=USER_AGENT_NAME,
            cluster=GATEWAY,
            sinks={SECRET_TYPE: SecretSink(policies), POLICY_TYPE: PolicySink(policies, time.monotonic)},
            on_ready=ready.set,
        )
        authorization = Authorization(
            policies=policies,
            source=xds,
            authenticator=Authenticator(tokens),
            limiter=limiter,
            metrics=Metrics(registry, policies, tokens, limiter),
            audit=AuditLog(time.monotonic),
            unix_s=lambda: NOW_S,
        )
        server = Http2Server(authorization.methods())
        address = server.bind("127.0.0.1:0", name="ext_authz")
        plane.publish(snapshot())
        task = asyncio.create_task(xds.run())
        async with server.running(drain_s=0.2):
            try:
                async with asyncio.timeout(20):
                    await ready.wait()
                yield Service(address, policies, registry, plane)
            finally:
                task.cancel()
                await asyncio.wait([task])


async def test_policy_arrives_and_is_enforced() -> None:
    """A published policy is enforced; tokens pass, their absence is a 401, and both are counted."""
    async with service() as running:
        running.control_plane.publish(
            snapshot(authz_policy("authz-1", any_of(jwt_method(forward_claims={"sub": "x-user"}))))
        )
        await eventually(lambda: running.policies.get("authz-1") is not None)
        allowed = await check(running.address, check_request(bearer(token()), policy="authz-1", raw=True))
        denied = await check(running.address, check_request(policy="authz-1"))

        assert (allowed.status, allowed.upstream) == (200, {"x-user": "alice"})
        assert denied.status == 401
        assert running.metric("gateway_authz_decisions_total", route="users", reason="ok") == 1
        assert running.metric("gateway_authz_decisions_total", route="users", reason="no_credential") == 1
        assert running.metric("gateway_authz_decision_seconds_count") == 2
        assert b"gateway_authz_limiter_keys" in generate_latest(running.registry)


async def test_request_waits_for_its_policy() -> None:
    """A request that is faster than its policy waits for it and is judged by it."""
    async with service() as running:
        waiting = asyncio.create_task(check(running.address, check_request(policy="authz-late")))
        await asyncio.sleep(0)
        running.control_plane.publish(snapshot(authz_policy("authz-late")))

        assert (await waiting).status == 200


async def test_unknown_policy() -> None:
    """A policy that never comes denies with 503 after the wait."""
    async with service() as running:
        began_s = time.monotonic()
        answer = await check(running.address, check_request(policy="authz-none"))

        assert (answer.status, answer.metadata) == (503, {"reason": "unknown_policy"})
        assert time.monotonic() - began_s >= POLICY_WAIT_S * 0.9


async def test_no_policy_named() -> None:
    """A route that names no policy denies at once."""
    async with service() as running:
        answer = await check(running.address, check_request(policy=""))

        assert answer.status == 503


@pytest.mark.parametrize("message", [b"\xff\xff\xff", b"garbage"])
async def test_nonsense_is_denied(message: bytes) -> None:
    """Bytes that are no CheckRequest are an explicit denial."""
    async with service() as running:
        answer = await check(running.address, message)

        assert (answer.status, answer.code) == (503, 14)
        assert running.metric("gateway_authz_internal_errors_total") == 1


async def test_empty_message_is_denied() -> None:
    """An empty CheckRequest names no policy."""
    async with service() as running:
        assert (await check(running.address, b"")).status == 503


async def test_fault_of_ours_is_denied() -> None:
    """An exception inside is an explicit 503 that shows nothing of it, counted."""
    async with service(FaultyStore(10)) as running:
        running.control_plane.publish(snapshot(authz_policy("authz-1", rate_limits=[rate_limit()])))
        await eventually(lambda: running.policies.get("authz-1") is not None)
        answer = await check(running.address, check_request(policy="authz-1"))

        assert (answer.status, answer.code) == (503, 14)
        assert "10.1.2.3" not in repr(answer)
        assert running.metric("gateway_authz_internal_errors_total") == 1


async def test_fault_of_ours_in_shadow_mode() -> None:
    """A policy that only watches refuses nobody, whatever breaks; identity headers of clients do not pass with it."""
    async with service(FaultyStore(10)) as running:
        policy = authz_policy("authz-1", rate_limits=[rate_limit()], identity_headers=["x-user"], shadow=True)
        running.control_plane.publish(snapshot(policy))
        await eventually(lambda: running.policies.get("authz-1") is not None)
        answer = await check(running.address, check_request({"x-user": "root"}, policy="authz-1"))

        assert (200, "internal") == (answer.status, answer.metadata["shadow_reason"])
        assert "x-user" in answer.removed
        assert 1 == running.metric("gateway_authz_internal_errors_total")
        assert 1 == running.metric("gateway_authz_shadow_denials_total", route="users", reason="internal")


async def test_bad_policy_is_refused_and_good_ones_stay() -> None:
    """A policy that does not compile is NACKed; what was in force stays in force."""
    async with service() as running:
        good = authz_policy("authz-1")
        running.control_plane.publish(snapshot(good))
        await eventually(lambda: running.policies.get("authz-1") is not None)
        running.control_plane.publish(snapshot(good, authz_policy("authz-2", ip=[(["nonsense"], [])])))
        running_on = await check(running.address, check_request(policy="authz-1"))
        refused = await check(running.address, check_request(policy="authz-2"))

        assert (running_on.status, refused.status) == (200, 503)


async def test_limits_hold_over_concurrent_requests_and_edits() -> None:
    """Many requests at once, while policies change, admit what the limit says and no more."""
    async with service() as running:
        versions = [
            authz_policy(
                f"authz-{number}", rate_limits=[rate_limit("all", 20, 3600, key=[])], ip=[([], [f"10.0.0.{number}"])]
            )
            for number in range(5)
        ]
        running.control_plane.publish(snapshot(*versions))
        await eventually(lambda: running.policies.get("authz-4") is not None)
        async with grpc.aio.insecure_channel(running.address):
            answers = await asyncio.gather(
                *(check(running.address, check_request(policy=f"authz-{number % 5}")) for number in range(60))
            )

        assert sum(answer.status == 200 for answer in answers) == 20
