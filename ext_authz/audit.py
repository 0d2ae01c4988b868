"""One log line a denial: who was refused what and why, never a credential, a query or a body."""

from collections.abc import Callable

from ext_authz.decision import Deny
from ext_authz.request import Request
from gateway_runtime.telemetry import logger

LINES_PER_S = 200
"""Denials beyond it are counted, not written: a flood of refused requests must not become one of logging."""


class AuditLog:
    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._second = 0
        self._written = 0
        self._suppressed = 0
        self._log = logger("audit")

    def denied(self, request: Request, decision: Deny, trace_id: str | None = None) -> None:
        """
        Args:
            trace_id: of the request if it is sampled.
        """
        self._write("denied", request, decision, trace_id)

    def would_deny(self, request: Request, decision: Deny, trace_id: str | None = None) -> None:
        """A policy in shadow mode let pass what it would deny."""
        self._write("would_deny", request, decision, trace_id)

    def _write(self, event: str, request: Request, decision: Deny, trace_id: str | None) -> None:
        second = int(self._monotonic_s())
        if second != self._second:
            self._report_suppressed()
            self._second, self._written = second, 0
        if self._written >= LINES_PER_S:
            self._suppressed += 1
            return
        self._written += 1
        identity, standing = decision.identity, decision.standing
        self._log.info(
            event,
            reason=decision.reason.label,
            status=decision.reason.refusal.value.status,
            route=request.route,
            policy=request.policy,
            auth_method=decision.method or None,
            rate_limit=standing.limit.name if standing is not None and standing.retry_after_us else None,
            user=identity.user if identity else None,
            api_key=identity.api_key if identity else None,
            client_ip=request.client_ip[:64],
            method=request.method[:32],
            path=request.path.partition("?")[0][:256],
            request_id=request.id[:128],
            trace_id=trace_id,
        )

    def _report_suppressed(self) -> None:
        if self._suppressed:
            self._log.warning("denials_not_logged", count=self._suppressed)
            self._suppressed = 0
