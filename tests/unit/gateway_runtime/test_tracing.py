"""Spans of a process: whom they follow, what they cost when nobody traces, what becomes of them."""

import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry

from gateway_runtime.otlp import BoundedQueue
from gateway_runtime.tracing import Attributes, Losses, Parent, Tracing, TracingMetrics, sampled_parent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@dataclass(frozen=True)
class Call:
    """A gRPC call's context."""

    metadata: tuple[tuple[str, str], ...]

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self.metadata


class FakeSpan:
    identity = Parent(TRACE, SPAN)

    def end(self, attributes: Attributes, error: str | None = None) -> None: ...


@dataclass
class FakeExporter:
    """Remembers what was begun."""

    endpoint: str
    begun: list[tuple[str, Parent | None]] = field(default_factory=list)
    is_closed: bool = False

    def start(self, name: str, parent: Parent | None, attributes: Attributes, start_ns: int, is_call: bool) -> FakeSpan:
        self.begun.append((name, parent))
        return FakeSpan()

    def close(self, timeout_s: float) -> None:
        self.is_closed = True


@dataclass
class Exporters:
    made: list[FakeExporter] = field(default_factory=list)

    def make(self, endpoint: str, _process: str, _losses: Losses) -> FakeExporter:
        self.made.append(FakeExporter(endpoint))
        return self.made[-1]


def use(tracing: Tracing, endpoint: str) -> None:
    """Switch and wait until it is done."""
    if (thread := tracing.use(endpoint)) is not None:
        thread.join(10)


@pytest.mark.parametrize(
    ("traceparent", "followed"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-brings", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"ff-{TRACE}-{SPAN}-01", False),
        (f"00-{'0' * 32}-{SPAN}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE.upper()}-{SPAN}-01", False),
        ("nonsense", False),
        ("", False),
    ],
)
def test_sampled_parent(traceparent: str, followed: bool) -> None:
    """Only a well-formed and sampled traceparent is followed."""
    metadata = (("x-other", "1"), ("traceparent", traceparent), ("tracestate", "a=1"), ("tracestate", "b=2"))

    assert (Parent(TRACE, SPAN, "a=1,b=2") if followed else None) == sampled_parent(metadata)


def test_off_until_used() -> None:
    """Without an endpoint nothing is begun."""
    tracing = Tracing("test", make=Exporters().make)

    assert (False, None, None) == (
        tracing.is_on,
        tracing.of_call("S/M", Call((("traceparent", f"00-{TRACE}-{SPAN}-01"),))),
        tracing.begin("work", {}),
    )


def test_switched_at_run_time() -> None:
    """Another endpoint closes the exporter of the one before; an empty one ends tracing."""
    exporters = Exporters()
    tracing = Tracing("test", make=exporters.make)
    for endpoint in ("http://a:4317", "http://a:4317", "http://b:4317", ""):
        use(tracing, endpoint)

    assert [("http://a:4317", True), ("http://b:4317", True)] == [(e.endpoint, e.is_closed) for e in exporters.made]
    assert not tracing.is_on


def test_unsampled_call_has_no_span() -> None:
    """A call whose caller is not sampled begins nothing; a sampled one is the child of its caller."""
    exporters = Exporters()
    tracing = Tracing("test", make=exporters.make)
    use(tracing, "http://a:4317")
    unsampled = tracing.of_call("S/M", Call((("traceparent", f"00-{TRACE}-{SPAN}-00"),)))
    tracing.of_call("S/M", Call((("traceparent", f"00-{TRACE}-{SPAN}-01"),)))

    assert unsampled is None
    assert [("S/M", Parent(TRACE, SPAN))] == exporters.made[0].begun


def test_exporter_that_cannot_start() -> None:
    """A receiver that cannot be set up leaves the process as it was, without tracing."""

    def fail(_endpoint: str, _process: str, _losses: Losses) -> FakeExporter:
        raise OSError("no such thing")

    tracing = Tracing("test", make=fail)
    use(tracing, "http://a:4317")

    assert not tracing.is_on


class Gate(SpanExporter):
    """Takes batches when it is let."""

    def __init__(self, result: SpanExportResult = SpanExportResult.SUCCESS) -> None:
        self.let = threading.Event()
        self.entered = threading.Event()
        self.taken = 0
        self._result = result

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.entered.set()
        self.let.wait(10)
        self.taken += len(spans)
        return self._result


def test_full_queue_drops_and_counts() -> None:
    """What does not fit is dropped at once and counted; what fits arrives."""
    sender, losses = Gate(), Losses()
    queue = BoundedQueue(sender, losses, capacity=3)
    span = ReadableSpan("one")
    queue.on_end(span)
    assert sender.entered.wait(10)
    for _ in range(5):
        queue.on_end(span)
    sender.let.set()
    queue.stop(10)

    assert (4, {"queue_full": 2, "export_failed": 0}) == (losses.exported, losses.dropped)
    assert 4 == sender.taken


def test_failed_exports_are_counted() -> None:
    """Spans that the receiver did not take count as dropped."""
    sender, losses, registry = Gate(SpanExportResult.FAILURE), Losses(), CollectorRegistry()
    tracing = Tracing("test", make=Exporters().make)
    tracing.losses = losses
    TracingMetrics(registry, tracing)
    sender.let.set()
    queue = BoundedQueue(sender, losses, capacity=10)
    queue.on_end(ReadableSpan("one"))
    queue.stop(10)

    assert 1.0 == registry.get_sample_value("gateway_spans_dropped_total", {"reason": "export_failed"})
    assert 0.0 == registry.get_sample_value("gateway_spans_exported_total")


@pytest.mark.parametrize("process", ["ext_authz", "ext_proc", "control_plane"])
def test_not_imported_while_off(process: str) -> None:
    """A process that does not trace does not carry OpenTelemetry."""
    program = f"import sys, {process}.__main__; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert set() == {"gateway_runtime.otlp", "opentelemetry.sdk.trace", "opentelemetry.exporter"} & {
        *found.stdout.split()
    }
