"""What a running gateway tells of itself: every process the same three paths, and every name that the rules ask for."""

import re

import httpx
import pytest

from tests.e2e.stack import Stack
from tests.unit.test_monitoring import expressions

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("stack"), pytest.mark.timeout(120)]

LABELS = {"envoy_http_conn_manager_prefix", "envoy_cluster_name", "envoy_response_code_class", "envoy_response_code"}


def test_every_process_has_metrics_health_and_readiness(stack: Stack) -> None:
    """And tells its own CPU, memory and descriptors."""
    ports = stack.ports
    for port in (ports.http, ports.ext_authz_admin, ports.ext_proc_admin, ports.analytics_http):
        answers = {path: httpx.get(f"http://127.0.0.1:{port}{path}") for path in ("/metrics", "/healthz", "/readyz")}
        assert {200} == {answer.status_code for answer in answers.values()}
        for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"):
            assert re.search(rf"^{name} [0-9.e+]+$", answers["/metrics"].text, re.MULTILINE), (port, name)
        assert 'gateway_log_lines_dropped_total{reason="queue_full"} 0.0' in answers["/metrics"].text


def test_envoy_has_what_rules_and_dashboards_ask_for(stack: Stack) -> None:
    """A statistic that this Envoy does not have would be an alert that never fires."""
    headers = stack.bearer("alice")
    for path in ("/health", "/api/users/1", "/api/events/popular", "/api/matching/1"):
        httpx.get(f"{stack.url}{path}", headers=headers)
    exposed = httpx.get(f"http://127.0.0.1:{stack.ports.envoy_ready}/stats/prometheus").text
    there = set(re.findall(r"^(envoy_[a-z0-9_]+)", exposed, re.MULTILINE))
    asked = {name for text in expressions() for name in re.findall(r"\benvoy_[a-z_]+", text)} - LABELS

    assert 10 < len(asked)
    assert set() == asked - there
