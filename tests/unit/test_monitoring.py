"""Alerts, dashboards and runbooks of deploy/monitoring: sound by the tools' own word, and about metrics that exist."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import pytest
import yaml

from tests import parts

CHECKOUT = Path(__file__).resolve().parents[2]
MONITORING = CHECKOUT / "deploy" / "monitoring"
RUNBOOKS = CHECKOUT / "docs" / "operations" / "runbooks"
_OWN = re.compile(r"\bgateway_[a-z_]+")
_SUFFIX = re.compile(r"_(bucket|count|sum)$")


class Rule(TypedDict, total=False):
    """One recording rule or alert."""

    alert: str
    expr: str
    labels: dict[str, str]
    annotations: dict[str, str]


def rules(file: str) -> list[Rule]:
    loaded = yaml.safe_load((MONITORING / "rules" / file).read_text())
    return [rule for group in loaded["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules("alerts.yml")}


def expressions() -> Iterator[str]:
    """Every PromQL expression of rules and dashboards."""
    yield from (rule["expr"] for file in ("alerts.yml", "recording.yml") for rule in rules(file))
    for dashboard in (MONITORING / "grafana").glob("*.json"):
        for panel in json.loads(dashboard.read_text())["panels"]:
            yield from (target["expr"] for target in panel["targets"])


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(parts.prometheus(os.environ)) / program), *arguments]
    return subprocess.run(command, cwd=MONITORING, capture_output=True, text=True, timeout=110, check=False)


def test_every_alert_has_a_runbook() -> None:
    """An alert without a runbook is noise at 3 a.m., a runbook without an alert is stale."""
    written = {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"}

    assert ALERTS.keys() == written
    assert {name: f"docs/operations/runbooks/{name}.md" for name in ALERTS} == {
        name: rule["annotations"]["runbook"] for name, rule in ALERTS.items()
    }


def test_runbooks_link_to_what_exists() -> None:
    """Links between runbooks lead somewhere."""
    targets = {target for path in RUNBOOKS.glob("*.md") for target in re.findall(r"\]\(([^)]+)\)", path.read_text())}

    assert [] == [target for target in targets if not (RUNBOOKS / target).exists()]


def test_every_alert_is_tested_both_ways() -> None:
    """Each alert has a case in which it fires and one in which it is silent."""
    cases = {
        case["name"]
        for file in (MONITORING / "tests").glob("*.yml")
        for case in yaml.safe_load(file.read_text())["tests"]
    }

    assert {f"{name} {way}" for name in ALERTS for way in ("fires", "is silent")} == cases


def test_own_metrics_exist() -> None:
    """What rules and dashboards ask for is in the reference of metrics."""
    known = set(_OWN.findall((CHECKOUT / "docs" / "reference" / "metrics.md").read_text()))
    asked = {_SUFFIX.sub("", name) for expression in expressions() for name in _OWN.findall(expression)}

    assert set() == asked - known


def test_severities() -> None:
    """Alertmanager routes by severity, so every alert has one that it knows."""
    assert {"page", "ticket", "info"} == {rule["labels"]["severity"] for rule in ALERTS.values()}


def test_inhibition_and_runbooks_name_alerts_that_exist() -> None:
    """A renamed alert would silence nothing any more."""
    text = (MONITORING / "alertmanager.yml").read_text()
    named = [name for name in re.findall(r"Gateway\w+(?:\.\*)?", text) if not name.endswith("TOKEN")]

    assert 8 < len(named)
    assert [] == [name for name in named if not any(re.fullmatch(name, alert) for alert in ALERTS)]


def test_what_the_issue_asks_for_is_watched() -> None:
    """Errors and latency over several windows, and each thing that can go wrong."""
    assert {
        *("GatewayErrorsBurnFast", "GatewayErrorsBurnSlow", "GatewayLatencyBurnFast", "GatewayLatencyBurnSlow"),
        *("GatewayEndpointsEjected", "GatewayConfigRefused", "GatewaySnapshotStale", "GatewayKeySetStale"),
        *("GatewayLimiterStoreDown", "GatewayCacheHitsDropped", "GatewayCertificateExpires"),
    } <= ALERTS.keys()
    for burn in ("Errors", "Latency"):
        windows = {
            window
            for speed in ("Fast", "Slow")
            for window in re.findall(r"ratio_rate(\w+)", ALERTS[f"Gateway{burn}Burn{speed}"]["expr"])
        }
        assert {"5m", "30m", "1h", "2h", "6h", "1d", "3d"} == windows


@pytest.mark.prometheus
def test_expressions_of_dashboards_are_sound(tmp_path: Path) -> None:
    """Prometheus can read every panel's question."""
    asked = [expression.replace("$__rate_interval", "5m").replace("$__range", "1h") for expression in expressions()]
    records = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(asked)]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": records}]}))
    checked = run("promtool", "check", "rules", str(file))

    assert 40 < len(records)
    assert 0 == checked.returncode, checked.stdout + checked.stderr


@pytest.mark.prometheus
def test_configuration_is_sound(tmp_path: Path) -> None:
    """Prometheus takes configuration and rules, Alertmanager its own.

    Debian's Prometheus cannot ask Kubernetes; all but that of the cluster's configuration is checked.
    """
    cluster = yaml.safe_load((MONITORING / "prometheus-kubernetes.yml").read_text())
    for job in cluster["scrape_configs"]:
        assert job.pop("kubernetes_sd_configs")[0]["role"] == "pod"
    (tmp_path / "cluster.yml").write_text(yaml.safe_dump({**cluster, "rule_files": [str(MONITORING / "rules/*.yml")]}))
    checks = [
        run("promtool", "check", "config", "prometheus.yml"),
        run("promtool", "check", "config", "--syntax-only", str(tmp_path / "cluster.yml")),
        run("amtool", "check-config", "alertmanager.yml"),
    ]

    assert [0, 0, 0] == [check.returncode for check in checks], "".join(check.stdout + check.stderr for check in checks)


@pytest.mark.prometheus
@pytest.mark.timeout(120)
@pytest.mark.parametrize("file", ["alerts.yml", "slow_alerts.yml"])
def test_alerts_fire_when_they_should(file: str) -> None:
    """promtool's unit tests of every alert."""
    tested = run("promtool", "test", "rules", f"tests/{file}")

    assert 0 == tested.returncode, tested.stdout + tested.stderr


@pytest.mark.prometheus
@pytest.mark.parametrize(
    ("labels", "receiver"),
    [("severity=page", "slack-pages"), ("severity=ticket", "slack-tickets"), ("severity=info", "nobody")],
)
def test_routing(labels: str, receiver: str) -> None:
    """Pages, tickets and the rest go where they belong."""
    routed = run("amtool", "config", "routes", "test", "--config.file=alertmanager.yml", labels)

    assert receiver == routed.stdout.strip(), routed.stderr


def test_dashboards_are_importable() -> None:
    """Each has its own uid, a choice of the data source, and panels that do not overlap."""
    boards = [json.loads(path.read_text()) for path in sorted((MONITORING / "grafana").glob("*.json"))]
    places = [[(p["gridPos"]["x"], p["gridPos"]["y"]) for p in board["panels"]] for board in boards]

    assert len(boards) == len({board["uid"] for board in boards})
    assert [len(place) for place in places] == [len(set(place)) for place in places]
    assert all(board["templating"]["list"][0]["type"] == "datasource" for board in boards)
