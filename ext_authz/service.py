"""envoy.service.auth.v3.Authorization over bytes: decode, decide, encode."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, Protocol

from ext_authz.audit import AuditLog
from ext_authz.credentials import Authenticator
from ext_authz.decision import Allow, Decision, Deny, Now, decide, decision_steps
from ext_authz.driving import Driving, Nonces
from ext_authz.limiter.charges import AsyncStore, Store
from ext_authz.metrics import Metrics
from ext_authz.nonces import MemoryNonces, NonceStore
from ext_authz.policies import POLICY_TYPE, LoadedPolicy, PolicyStore
from ext_authz.reasons import Reason
from ext_authz.request import Request, parse
from ext_authz.response import denied
from gateway_runtime.http2.connection import Open
from gateway_runtime.http2.methods import Unary
from gateway_runtime.telemetry import logger
from gateway_runtime.tracing import Call, Span, Tracing
from policy.authz import Policy
from policy.stores import RedisAddress

SERVICE = "envoy.service.auth.v3.Authorization"
_CHECK = f"{SERVICE}/Check"
POLICY_WAIT_S = 0.3
"""How long a request may wait for a policy that xDS has not brought yet."""


class PolicySource(Protocol):
    """What can bring a policy by name (gateway_runtime.xds_client.XdsClient)."""

    async def request(self, type_url: str, name: str) -> None: ...


class ReplyingCall(Call, Protocol):
    """A call that can be answered after `check` has returned."""

    def reply(self, message: bytes) -> None: ...


class Authorization:
    """Answers Check calls. Every answer is explicit; a fault of ours is a denial, logged and counted."""

    def __init__(
        self,
        *,
        policies: PolicyStore,
        source: PolicySource,
        authenticator: Authenticator,
        limiter: Store,
        metrics: Metrics,
        audit: AuditLog,
        nonces: MemoryNonces | None = None,
        shared_nonces: NonceStore | None = None,
        tracing: Tracing | None = None,
        shared_store: Callable[[RedisAddress], AsyncStore | None] = lambda _: None,
        unix_s: Callable[[], float] = time.time,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """
        Args:
            tracing: None: no spans.
            shared_store: where the buckets of policies are that do not keep them in `limiter`.
        """
        self._policies = policies
        self._source = source
        self._authenticator = authenticator
        self._limiter = limiter
        self._nonces = Nonces(nonces, shared_nonces)
        self._metrics = metrics
        self._audit = audit
        self._tracing = tracing or Tracing("ext_authz")
        self._shared_store = shared_store
        self._unix_s = unix_s
        self._monotonic_ns = monotonic_ns
        self._log = logger("ext_authz")

    def methods(self) -> Mapping[str, Open]:
        """For `Http2Server`; messages stay bytes on both sides."""
        return {f"/{_CHECK}": Unary(self.check)}

    def check(self, message: bytes, call: ReplyingCall) -> bytes | Coroutine[Any, Any, bytes | None] | None:
        """Judge one request: a serialised CheckRequest in, a serialised CheckResponse out. Never raises.

        At once; None where a shared store has to be asked, then `call.reply` gets the answer; a coroutine only where a
        policy has to be waited for.
        """
        started_ns = self._monotonic_ns()
        span = self._tracing.of_call(_CHECK, call) if self._tracing.is_on else None
        request: Request | None = None
        loaded: LoadedPolicy | None = None
        try:
            request = parse(message)
            loaded = self._policies.get(request.policy)
            if loaded is None:
                return self._later(request, started_ns, span, call)
            if self._waits(loaded.policy):
                return self._driven(request, loaded, started_ns, span, call)
            now = Now(self._unix_s(), started_ns // 1000)
            decision = decide(loaded.policy, request, now, self._authenticator, self._limiter, self._nonces.local)
            reason, answer = self._answer(decision, request, loaded, _trace_id(span))
        except Exception:
            reason, answer = self._failed(request, loaded, span)
        return self._counted(reason, answer, request, started_ns, span)

    def _waits(self, policy: Policy) -> bool:
        return policy.rate_limit_store is not None or (
            policy.authentication is not None and bool(policy.authentication.nonce_stores)
        )

    async def _later(self, request: Request, started_ns: int, span: Span | None, call: ReplyingCall) -> bytes | None:
        """The policy has not come yet."""
        outcome: Decision | Exception = Deny(Reason.UNKNOWN_POLICY)
        loaded: LoadedPolicy | None = None
        try:
            loaded = await self._awaited(request.policy)
            if loaded is not None:
                return self._driven(request, loaded, started_ns, span, call)
        except Exception as error:
            outcome = error
        return self._ended(outcome, request, loaded, started_ns, span)

    def _driven(
        self, request: Request, loaded: LoadedPolicy, started_ns: int, span: Span | None, call: ReplyingCall
    ) -> bytes | None:
        """Ask the stores of the policy; None: they have to be waited for."""
        policy = loaded.policy
        now = Now(self._unix_s(), started_ns // 1000)
        shared = self._shared_store(policy.rate_limit_store) if policy.rate_limit_store is not None else None
        driving = Driving(
            decision_steps(policy, request, now, self._authenticator),
            now,
            shared or self._limiter,
            self._nonces,
            lambda outcome: call.reply(self._ended(outcome, request, loaded, started_ns, span)),
        )
        decision = driving.start()
        return None if decision is None else self._ended(decision, request, loaded, started_ns, span)

    def _ended(
        self,
        outcome: Decision | Exception,
        request: Request,
        loaded: LoadedPolicy | None,
        started_ns: int,
        span: Span | None,
    ) -> bytes:
        try:
            if isinstance(outcome, Exception):
                raise outcome
            reason, answer = self._answer(outcome, request, loaded, _trace_id(span))
        except Exception:
            reason, answer = self._failed(request, loaded, span)
        return self._counted(reason, answer, request, started_ns, span)

    def _answer(
        self, decision: Decision, request: Request, loaded: LoadedPolicy | None, trace_id: str | None
    ) -> tuple[str, bytes]:
        if decision.would_refuse:
            self._metrics.count_would_refuse(request.route, (limit.name for limit in decision.would_refuse))
        if loaded is None or not isinstance(decision, Allow):
            return self._denied(decision, request, loaded, trace_id)
        if decision.would_deny is not None:
            self._audit.would_deny(request, decision.would_deny, trace_id)
            self._metrics.count_would_deny(request.route, decision.would_deny.reason.label)
        return "ok", loaded.replies.allowed(decision, request)

    def _failed(self, request: Request | None, loaded: LoadedPolicy | None, span: Span | None) -> tuple[str, bytes]:
        """A fault of ours, inside its `except`: logged, counted, denied; in shadow mode nobody is denied."""
        self._log.exception("check_failed", route=request.route if request is not None else None)
        self._metrics.internal_errors.inc()
        denial = Deny(Reason.INTERNAL)
        if request is not None and loaded is not None and loaded.policy.shadow:
            with suppress(Exception):
                return self._answer(Allow(None, None, (), denial), request, loaded, _trace_id(span))
        return denial.reason.label, denied(denial, request)

    def _counted(
        self, reason: str, answer: bytes, request: Request | None, started_ns: int, span: Span | None
    ) -> bytes:
        route = request.route if request is not None else ""
        trace_id = None if span is None else span.identity.trace_id
        self._metrics.count(route, reason, self._monotonic_ns() - started_ns, trace_id)
        if span is not None:
            _end(span, request, reason)
        return answer

    def _denied(
        self, decision: Decision, request: Request, loaded: LoadedPolicy | None, trace_id: str | None
    ) -> tuple[str, bytes]:
        assert isinstance(decision, Deny)
        self._audit.denied(request, decision, trace_id)
        answer = denied(decision, request) if loaded is None else loaded.replies.denied(decision, request)
        return decision.reason.label, answer

    async def _awaited(self, name: str) -> LoadedPolicy | None:
        """A policy that this process has not met yet: another replica of the control plane was faster."""
        if not name:
            return None
        try:
            async with asyncio.timeout(POLICY_WAIT_S):
                await self._source.request(POLICY_TYPE, name)
        except TimeoutError:
            self._log.warning("policy_unknown", policy=name)
        return self._policies.get(name)


def _trace_id(span: Span | None) -> str | None:
    return span.identity.trace_id if span is not None else None


def _end(span: Span, request: Request | None, reason: str) -> None:
    """What a span says about a check: nothing of the caller."""
    attributes = {"gateway.decision": reason}
    if request is not None:
        attributes |= {"gateway.route": request.route, "gateway.policy": request.policy}
    span.end(attributes, reason if reason == Reason.INTERNAL.label else None)
