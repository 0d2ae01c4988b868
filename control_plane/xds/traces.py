"""Traces of configuration: one for each publication, with a child for each response that a client has answered.

A response that a new client gets long after the publication begins a trace of its own.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from control_plane.resource_types import short_name
from control_plane.snapshot import Changes
from control_plane.xds.session import Node
from control_plane.xds.subscription import Answer
from gateway_runtime.tracing import Parent, Tracing

_FRESH_S = 60.0
"""How long after a publication its responses count as its consequence."""


@dataclass(frozen=True, slots=True)
class _Publication:
    span: Parent
    at_ns: int


class PushTraces:
    """Spans of the control plane; none while tracing is off."""

    def __init__(self, tracing: Tracing, now_ns: Callable[[], int] = time.time_ns) -> None:
        self.tracing = tracing
        self._now_ns = now_ns
        self._endpoints: dict[str, str] = {}
        self._last: dict[str, _Publication] = {}
        """By gateway; under "" of any, for services that serve all."""

    def send_to(self, gateway: str, endpoint: str) -> threading.Thread | None:
        """A gateway says where to; of several that trace, the first by name. The thread to wait for, if any."""
        self._endpoints[gateway] = endpoint
        chosen = next((self._endpoints[name] for name in sorted(self._endpoints) if self._endpoints[name]), "")
        return self.tracing.use(chosen)

    def published(self, gateway: str, what: str, changes: Changes, began_ns: int) -> None:
        """Something is served from now on.

        Args:
            what: "configuration" or "endpoints".
            began_ns: when the work on it began, since the epoch.
        """
        if not changes:
            return
        span = self.tracing.begin(f"publish {what}", {"gateway.name": gateway}, start_ns=began_ns)
        if span is None:
            return
        span.end({f"gateway.changed.{short_name(type_url)}": len(names) for type_url, names in changes.items()})
        self._last[gateway] = self._last[""] = _Publication(span.identity, self._now_ns())

    def cause(self, gateway: str) -> Parent | None:
        """The publication that a response of this moment follows from."""
        last = self._last.get(gateway)
        if last is None or self._now_ns() - last.at_ns > _FRESH_S * 1e9:
            return None
        return last.span

    def answered(self, node: Node, type_url: str, answer: Answer, cause: Parent | None) -> str | None:
        """A client has taken or refused a response; returns the id of the trace that tells so, if any."""
        if not self.tracing.is_on:
            return None
        kind = short_name(type_url)
        attributes = {
            "xds.type": kind,
            "xds.version": answer.version,
            "xds.node": node.id,
            "xds.node_kind": node.kind.value,
            "xds.answer": "ACK" if answer.error is None else "NACK",
        }
        span = self.tracing.begin(f"push {kind}", attributes, cause, self._now_ns() - int(answer.latency_s * 1e9))
        if span is None:
            return None
        span.end({}, answer.error)
        return span.identity.trace_id
