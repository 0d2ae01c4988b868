"""One trace over Envoy, both callouts and the service, received by a real OTLP/gRPC server."""

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.e2e.echo import Echo, echo
from tests.e2e.otlp import Received, Receiver, otlp_receiver
from tests.e2e.stack import Stack
from tests.e2e.waiting import until

pytestmark = pytest.mark.envoy

CONFIG = """
version: 1
name: edge
listeners: [{{name: public, address: 127.0.0.1, port: "${{GATEWAY_PORT}}"}}]
services: {{echo: {{endpoints: [{{address: 127.0.0.1, port: {echo}}}]}}}}
auth:
  jwt:
    main:
      issuer: https://auth.meetinity.io
      audiences: [meetinity-api]
      algorithms: [HS256]
      secret: "${{JWT_SECRET}}"
      token: [{{header: authorization}}, {{query: token}}]
defaults: {{auth: {{any_of: [jwt.main]}}}}
access_log: {{path: "{log}"}}
tracing: {{otlp_endpoint: "{otlp}", sample_percent: {percent}}}
routes:
  - {{name: items, match: {{path_prefix: /items}}, service: echo, cache: {{ttl: 60s}}}}
"""
CLIENT_SPAN = "b7ad6b7169203331"
CHECK = "envoy.service.auth.v3.Authorization/Check"
PROCESS = "envoy.service.ext_proc.v3.ExternalProcessor/Process"


@dataclass(frozen=True)
class Traced:
    """A gateway that traces what its clients trace."""

    stack: Stack
    receiver: Receiver
    service: Echo
    log: Path

    def get(self, path: str, trace_id: str, flags: str = "01", **headers: str) -> httpx.Response:
        context = {"traceparent": f"00-{trace_id}-{CLIENT_SPAN}-{flags}", **headers}
        with self.stack.client(**self.stack.bearer("alice")) as client:
            return client.get(path, headers=context)

    def until_received(self, trace_id: str, spans: int) -> list[Received]:
        until(lambda: len(self.receiver.spans(trace_id)) >= spans, f"{spans} spans")
        return self.receiver.spans(trace_id)

    def configure(self, endpoint: str, percent: int = 0) -> None:
        ports = {"echo": self.service.ports[0], "log": self.log, "otlp": endpoint, "percent": percent}
        draft = self.stack.config.with_suffix(".new")
        draft.write_text(CONFIG.format(**ports))
        draft.replace(self.stack.config)

    def spans_counted(self, port: int) -> dict[str, float]:
        """Samples of gateway_spans_* of a process."""
        lines = httpx.get(f"http://127.0.0.1:{port}/metrics").text.splitlines()
        return {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith("gateway_spans_")}

    def until_traced(self, prefix: str) -> None:
        """All processes have been told where to send spans."""
        for number in range(200):
            trace_id = f"{prefix}{number:024x}"
            self.get(f"/items/warm-{prefix}-{number}", trace_id)
            deadline = time.monotonic() + 3
            while time.monotonic() < deadline:
                if {"edge", "ext_authz", "ext_proc"} <= {span.service for span in self.receiver.spans(trace_id)}:
                    return
                time.sleep(0.05)
        raise AssertionError("no whole trace")


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """A running gateway with a receiver."""
    folder = tmp_path_factory.mktemp("traced")
    with otlp_receiver() as receiver, echo(1) as service:
        traced = Traced(Stack.make(folder), receiver, service, folder / "access.log")
        traced.configure(receiver.endpoint)
        started: subprocess.CompletedProcess[str] = traced.stack.up("--no-demo")
        assert 0 == started.returncode, started.stdout + started.stderr
        traced.until_traced("00000001")
        yield traced
        traced.stack.down()


def _headers(answer: httpx.Response) -> Mapping[str, str]:
    """What the service got."""
    return dict(answer.json()["headers"])


@pytest.mark.xdist_group("tracing")
def test_one_trace_with_right_parents(traced: Traced) -> None:
    """Each span's parent is the one that called it, from the client's own down to what the service is told."""
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    answer = traced.get("/items/1?secret=s3cr3t", trace_id, tracestate="vendor=1", baggage="tenant=a")
    spans = traced.until_received(trace_id, 6)
    by_id = {span.span_id: span for span in spans}
    by_name = {span.name: span for span in spans}
    root, check, process = by_name["GET items"], by_name[CHECK], by_name[PROCESS]
    sent = _headers(answer)

    assert {CLIENT_SPAN} == {span.parent_id for span in spans if span.parent_id not in by_id}
    assert ("edge", "SERVER", CLIENT_SPAN) == (root.service, root.kind, root.parent_id)
    assert ("ext_authz", "SERVER", "CLIENT") == (check.service, check.kind, by_id[check.parent_id].kind)
    assert ("ext_proc", "SERVER", "CLIENT") == (process.service, process.kind, by_id[process.parent_id].kind)
    assert {root.span_id} == {by_id[check.parent_id].parent_id, by_id[process.parent_id].parent_id}
    upstream = by_name["GET echo"]
    assert (f"00-{trace_id}-{upstream.span_id}-01", "vendor=1", "tenant=a") == (
        sent["traceparent"],
        sent["tracestate"],
        sent["baggage"],
    )
    assert root.span_id == upstream.parent_id
    assert ("ok", "items") == (check.attributes["gateway.decision"], check.attributes["gateway.route"])
    assert "/items/1" == root.attributes["url.path"]
    assert "s3cr3t" not in str(spans)
    for span in (check, process):
        assert {"service.name", "service.version", "service.instance.id"} <= span.resource.keys()
        assert ("grpc", span.name) == (span.attributes["rpc.system.name"], span.attributes["rpc.method"])
    assert "edge" == root.resource["service.name"]
    assert ("GET", "200") == (root.attributes["http.request.method"], root.attributes["http.status_code"])


@pytest.mark.xdist_group("tracing")
def test_access_log_has_the_trace(traced: Traced) -> None:
    """The access log names the trace, so that one leads to the other."""
    trace_id = "11112222333344445555666677778888"
    traced.get("/items/logged", trace_id)

    def logged() -> list[dict[str, object]]:
        lines = traced.log.read_text().splitlines() if traced.log.exists() else []
        return [entry for entry in map(json.loads, lines) if entry["path"] == "/items/logged"]

    until(lambda: bool(logged()), "the line")
    assert [trace_id] == [entry["trace_id"] for entry in logged()]


@pytest.mark.xdist_group("tracing")
def test_unsampled_costs_no_span(traced: Traced) -> None:
    """What the client does not sample is not exported by anybody, and the service is told so."""
    unsampled, sampled = "aaaa651916cd43dd8448eb211c80319c", "bbbb651916cd43dd8448eb211c80319c"
    answer = traced.get("/items/unsampled", unsampled, flags="00")
    traced.get("/items/sampled", sampled)
    traced.until_received(sampled, 6)

    assert _headers(answer)["traceparent"].startswith(f"00-{unsampled}-")
    assert _headers(answer)["traceparent"].endswith("-00")
    assert [] == traced.receiver.spans(unsampled)


@pytest.mark.xdist_group("tracing")
def test_configuration_is_traced(traced: Traced) -> None:
    """A publication begins a trace, and each client's answer is its child."""
    traced.configure(traced.receiver.endpoint, percent=1)

    def publication() -> Received | None:
        changed = [
            span
            for span in traced.receiver.spans()
            if span.name == "publish configuration" and "gateway.changed.Listener" in span.attributes
        ]
        return next((span for span in changed if "gateway.changed.Cluster" not in span.attributes), None)

    def answers() -> list[Received]:
        published = publication()
        return [s for s in traced.receiver.spans() if published and s.parent_id == published.span_id]

    until(lambda: any(span.attributes["xds.type"] == "Listener" for span in answers()), "the answer's span")
    assert {("control_plane", "ACK")} == {(span.service, span.attributes["xds.answer"]) for span in answers()}


@pytest.mark.xdist_group("tracing")
def test_latencies_lead_to_traces(traced: Traced) -> None:
    """OpenMetrics has the trace of a sampled request beside the bucket it fell into; the plain format cannot."""
    trace_id = "cccc651916cd43dd8448eb211c80319c"
    traced.get("/items/exemplar", trace_id)
    ports = traced.stack.ports

    def exposed(port: int, kind: str) -> list[str]:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", headers={"accept": kind}).text
        return [line for line in text.splitlines() if "_seconds_bucket" in line and "trace_id" in line]

    assert any(trace_id in line for line in exposed(ports.ext_authz_admin, "application/openmetrics-text"))
    assert [] == exposed(ports.ext_authz_admin, "text/plain")
    assert any("gateway_xds_ack_seconds" in line for line in exposed(ports.http, "application/openmetrics-text"))


@pytest.mark.xdist_group("tracing")
def test_slow_receiver_harms_nobody(traced: Traced) -> None:
    """A receiver that does not answer costs spans, not time; they arrive or are counted."""
    traced.receiver.held.clear()
    try:
        with traced.stack.client(**traced.stack.bearer("alice")) as client:
            slowest = 0.0
            for number in range(300):
                context = {"traceparent": f"00-cccc{number:028x}-{CLIENT_SPAN}-01"}
                answer = client.get(f"/items/slow-{number % 5}".replace("slow", "held"), headers=context)
                assert 200 == answer.status_code
                slowest = max(slowest, answer.elapsed.total_seconds())
    finally:
        traced.receiver.held.set()

    assert slowest < 2.0


@pytest.mark.xdist_group("tracing")
def test_receiver_away_and_tracing_off(traced: Traced) -> None:
    """Without a receiver requests pass and losses are counted; with tracing off a client's header passes unchanged."""
    with otlp_receiver() as other:
        gone = other.endpoint
    traced.configure(gone)
    ports = traced.stack.ports
    trace_id = "dddd651916cd43dd8448eb211c80319c"

    def lost() -> bool:
        assert 200 == traced.get("/items/gone", trace_id).status_code
        counts = [traced.spans_counted(port) for port in (ports.ext_authz_admin, ports.ext_proc_admin)]
        return all(each['gateway_spans_dropped_total{reason="export_failed"}'] > 0 for each in counts)

    until(lost, "losses counted")
    traced.configure("")
    context = f"00-{trace_id}-{CLIENT_SPAN}-01"

    def passes() -> bool:
        path = f"/items/off-{time.monotonic_ns()}"
        return _headers(traced.get(path, trace_id))["traceparent"] == context

    until(passes, "an unchanged traceparent")
    traced.configure(traced.receiver.endpoint)
    traced.until_traced("00000002")
