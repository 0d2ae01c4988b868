"""Spans by the OpenTelemetry SDK, sent as OTLP over gRPC by a thread. Only tracing.py imports this, when it is needed.

The SDK's own batch processor drops silently when its queue is full, so the queue is ours: bounded, counted, and never
waited for.
"""

import logging
import os
import socket
import threading
from collections import deque
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.trace import Span as SdkSpan

from gateway_runtime.telemetry import logger
from gateway_runtime.tracing import Attributes, Losses, Parent

QUEUE = 2048
"""Spans; some 2 KiB each."""
_BATCH = 256
_INTERVAL_S = 1.0
_TIMEOUT_S = 5.0
"""Of one export, its retries included."""
_OTLP_PORT = 4317


class OtlpExporter:
    """One endpoint's spans."""

    def __init__(self, endpoint: str, process: str, losses: Losses, *, queue: int = QUEUE) -> None:
        _quiet()
        parts = urlsplit(endpoint)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        sender = OTLPSpanExporter(
            endpoint=f"{host}:{parts.port or _OTLP_PORT}", insecure=parts.scheme != "https", timeout=_TIMEOUT_S
        )
        self._queue = BoundedQueue(sender, losses, capacity=queue, endpoint=endpoint)
        provider = TracerProvider(sampler=ALWAYS_ON, resource=_resource(process), shutdown_on_exit=False)
        provider.add_span_processor(self._queue)
        self._tracer = provider.get_tracer("meetinity.gateway")

    def start(
        self, name: str, parent: Parent | None, attributes: Attributes, start_ns: int, is_call: bool
    ) -> "_RecordedSpan":
        """See tracing.Exporter."""
        kind = SpanKind.SERVER if is_call else SpanKind.INTERNAL
        span = self._tracer.start_span(name, _context(parent), kind, attributes, start_time=start_ns)
        return _RecordedSpan(span)

    def close(self, timeout_s: float) -> None:
        """See tracing.Exporter."""
        self._queue.stop(timeout_s)


class _RecordedSpan:
    def __init__(self, span: SdkSpan) -> None:
        self._span = span

    @property
    def identity(self) -> Parent:
        context = self._span.get_span_context()
        return Parent(f"{context.trace_id:032x}", f"{context.span_id:016x}")

    def end(self, attributes: Attributes, error: str | None = None) -> None:
        self._span.set_attributes(attributes)
        if error is not None:
            self._span.set_status(Status(StatusCode.ERROR, error))
        self._span.end()


class BoundedQueue(SpanProcessor):
    """Takes ended spans without waiting; a thread sends them in batches. What does not fit is counted and gone."""

    def __init__(self, sender: SpanExporter, losses: Losses, *, capacity: int, endpoint: str = "") -> None:
        self._sender = sender
        self._losses = losses
        self._capacity = capacity
        self._spans: deque[ReadableSpan] = deque()
        self._wake = threading.Event()
        self._is_stopping = False
        self._is_failing = False
        self._log = logger("tracing").bind(endpoint=endpoint)
        self._thread = threading.Thread(target=self._run, name="span-export", daemon=True)
        self._thread.start()

    def on_end(self, span: ReadableSpan) -> None:
        if len(self._spans) >= self._capacity or self._is_stopping:
            self._losses.dropped["queue_full"] += 1
            return
        self._spans.append(span)
        if len(self._spans) >= _BATCH:
            self._wake.set()

    def stop(self, timeout_s: float) -> None:
        """Send what is left, for at most so long; what is still there then is lost and counted."""
        self._is_stopping = True
        self._wake.set()
        self._thread.join(timeout_s)
        self._sender.shutdown()
        self._losses.dropped["export_failed"] += len(self._spans)
        self._spans.clear()

    def _run(self) -> None:
        while not self._is_stopping:
            self._wake.wait(_INTERVAL_S)
            self._wake.clear()
            self._drain()
        self._drain()

    def _drain(self) -> None:
        while self._spans:
            batch = [self._spans.popleft() for _ in range(min(_BATCH, len(self._spans)))]
            try:
                failed = self._sender.export(batch) is not SpanExportResult.SUCCESS
            except Exception:
                failed = True
            self._note(len(batch), failed)

    def _note(self, spans: int, failed: bool) -> None:
        """Counts each batch and logs each change: one line when the receiver is lost, one when it is back."""
        if failed:
            self._losses.dropped["export_failed"] += spans
        else:
            self._losses.exported += spans
        if failed != self._is_failing:
            self._is_failing = failed
            if failed:
                self._log.warning("span_export_failing")
            else:
                self._log.info("span_export_recovered")


def _context(parent: Parent | None) -> Context:
    """Nothing of the caller's own context: a parent is said or there is none."""
    if parent is None:
        return Context()
    context = SpanContext(
        int(parent.trace_id, 16),
        int(parent.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
        trace_state=TraceState.from_header([parent.state]) if parent.state else None,
    )
    return set_span_in_context(NonRecordingSpan(context), Context())


def _resource(process: str) -> Resource:
    """OTEL_RESOURCE_ATTRIBUTES adds to it."""
    try:
        release = version("meetinity-gateway")
    except PackageNotFoundError:
        release = "unknown"
    return Resource.create(
        {
            "service.name": process,
            "service.version": release,
            "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
        }
    )


def _quiet() -> None:
    """The SDK logs every failed try; we log that it fails, and that it works again."""
    for name in ("opentelemetry.exporter", "opentelemetry.sdk"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
