"""Spans of a process, for the requests that Envoy has sampled and for what the process does by itself.

OpenTelemetry is imported when tracing is switched on, by a thread of its own (it takes a quarter of a second), and
never before: a gateway without tracing does not carry it. While tracing is on, a request that is not sampled costs one
look at its `traceparent` (https://www.w3.org/TR/trace-context/).
"""

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway_runtime.telemetry import logger

Attributes = Mapping[str, str | int | float | bool]
CLOSE_S = 2.0
"""How long the end of a process may wait for its last spans to be taken."""
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_SAMPLED = 1
_LAST_OF_FLAGS = slice(54, 55)
"""Of a traceparent: the hex digit that holds the bit."""
_UNSAMPLED_DIGITS = frozenset("02468ace")


@dataclass(frozen=True, slots=True)
class Parent:
    """The span that caused another one, here or in another process."""

    trace_id: str
    """32 hex digits."""
    span_id: str
    """16 hex digits."""
    state: str = ""
    """The header `tracestate`, handed on as it came."""


class Call(Protocol):
    """What of a gRPC server's context is looked at."""

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]] | None: ...


class Span(Protocol):
    """Something that has begun; `end` exports it."""

    @property
    def identity(self) -> Parent: ...

    def end(self, attributes: Attributes, error: str | None = None) -> None: ...


class Exporter(Protocol):
    """Makes spans and sends them; never blocks."""

    def start(self, name: str, parent: Parent | None, attributes: Attributes, start_ns: int, is_call: bool) -> Span: ...

    def close(self, timeout_s: float) -> None: ...


@dataclass(slots=True)
class Losses:
    """What became of the spans of a process; the exporting thread and the event loop each write their own."""

    exported: int = 0
    dropped: dict[str, int] = field(default_factory=lambda: {"queue_full": 0, "export_failed": 0})


ExporterFactory = Callable[[str, str, Losses], Exporter]
"""Endpoint, name of the process and where to count -> exporter; slow, and run in a thread."""


class Tracing:
    """Switched on and off by `use`; off at first."""

    def __init__(self, process: str, *, make: ExporterFactory | None = None) -> None:
        """
        Args:
            process: `service.name` of its spans.
            make: the exporter; OTLP over gRPC unless a test says otherwise.
        """
        self.losses = Losses()
        self._process = process
        self._make = make or _otlp
        self._endpoint = ""
        self._exporter: Exporter | None = None
        self._changing = threading.Lock()
        self._log = logger("tracing")

    @property
    def is_on(self) -> bool:
        return self._exporter is not None

    def use(self, endpoint: str) -> threading.Thread | None:
        """Send spans there from soon on; nowhere if it is empty. The thread that sees to it, if anything changes."""
        if endpoint == self._endpoint:
            return None
        self._endpoint = endpoint
        thread = threading.Thread(target=self._change, args=(endpoint,), name="tracing-change", daemon=True)
        thread.start()
        return thread

    def _change(self, endpoint: str) -> None:
        with self._changing:
            if endpoint != self._endpoint:
                return
            old, self._exporter = self._exporter, None
            if old is not None:
                old.close(CLOSE_S)
            try:
                self._exporter = self._make(endpoint, self._process, self.losses) if endpoint else None
            except Exception:
                # Tracing is never worth an outage.
                self._log.exception("tracing_not_started", endpoint=endpoint)
                return
        self._log.info("tracing_changed", endpoint=endpoint or None)

    def of_call(self, name: str, call: Call) -> Span | None:
        """The span of a gRPC call, if the caller's is sampled; `name` is `package.Service/Method`."""
        exporter = self._exporter
        if exporter is None:
            return None
        parent = sampled_parent(call.invocation_metadata() or ())
        if parent is None:
            return None
        attributes = {"rpc.system.name": "grpc", "rpc.method": name}
        return exporter.start(name, parent, attributes, time.time_ns(), True)

    def begin(
        self, name: str, attributes: Attributes, parent: Parent | None = None, start_ns: int | None = None
    ) -> Span | None:
        """A span of the process's own doing, the first of its trace without a parent; always sampled."""
        exporter = self._exporter
        if exporter is None:
            return None
        return exporter.start(name, parent, attributes, start_ns or time.time_ns(), False)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Leaving the block sends what is left."""
        try:
            yield
        finally:
            if self.is_on:
                await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Send what is left, for at most CLOSE_S; blocks."""
        self._endpoint = ""
        exporter, self._exporter = self._exporter, None
        if exporter is not None:
            exporter.close(CLOSE_S)


def sampled_parent(metadata: Iterable[tuple[str, str | bytes]]) -> Parent | None:
    """The caller's span if it is sampled, from the metadata of a gRPC call."""
    context, states = "", []
    for key, value in metadata:
        if key == "traceparent":
            context = str(value)
            if context[_LAST_OF_FLAGS] in _UNSAMPLED_DIGITS:
                return None  # most requests, most of the time: no more is looked at
        elif key == "tracestate":
            states.append(str(value))
    if not context:
        return None
    found = _TRACEPARENT.fullmatch(context)
    if found is None or not int(found[3], 16) & _SAMPLED:
        return None
    return Parent(found[1], found[2], ",".join(states))


class TracingMetrics(Collector):
    """What became of the spans."""

    def __init__(self, registry: CollectorRegistry, tracing: Tracing) -> None:
        self._losses = tracing.losses
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(
            "gateway_spans_exported", "Spans that the OTLP receiver took.", value=self._losses.exported
        )
        dropped = CounterMetricFamily("gateway_spans_dropped", "Spans that were lost, by why.", labels=["reason"])
        for reason, number in self._losses.dropped.items():
            dropped.add_metric([reason], number)
        yield dropped


def _otlp(endpoint: str, process: str, losses: Losses) -> Exporter:
    from gateway_runtime.otlp import OtlpExporter

    return OtlpExporter(endpoint, process, losses)
