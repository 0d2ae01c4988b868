"""The real Prometheus with our configuration scrapes a real gateway; a fault is injected and its alert fires."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests import parts
from tests.e2e.stack import Stack
from tests.e2e.waiting import until
from tests.ports import free_port

pytestmark = [pytest.mark.envoy, pytest.mark.prometheus]

MONITORING = Path(__file__).resolve().parents[2] / "deploy" / "monitoring"


@dataclass(frozen=True)
class Prometheus:
    """A running one."""

    url: str

    def value(self, expression: str) -> float | None:
        """Of an expression with one result; None without."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}).json()
        found = answer["data"]["result"]
        return float(found[0]["value"][1]) if found else None

    def is_firing(self, alert: str) -> bool:
        return self.value(f'ALERTS{{alertname="{alert}", alertstate="firing"}}') == 1.0


def configured(folder: Path, stack: Stack) -> Path:
    """The configuration as it is committed, on this gateway's ports and at the pace of a test."""
    shutil.copytree(MONITORING / "rules", folder / "rules")
    for file in (folder / "rules").glob("*.yml"):
        paced = re.sub(r"for: \w+", "for: 0s", file.read_text())
        file.write_text(paced.replace("interval: 30s", "interval: 1s"))
    ports = stack.ports
    text = (MONITORING / "prometheus.yml").read_text()
    for default, own in {
        "9902": ports.envoy_ready,
        "18080": ports.http,
        "9101": ports.ext_authz_admin,
        "9102": ports.ext_proc_admin,
        "9103": ports.analytics_http,
    }.items():
        text = text.replace(f"127.0.0.1:{default}", f"127.0.0.1:{own}")
    config = folder / "prometheus.yml"
    config.write_text(text.replace("interval: 15s", "interval: 1s"))
    return config


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Stack]:
    """A gateway of its own: this test breaks it."""
    stack = Stack.make(tmp_path)
    started = stack.up()
    assert 0 == started.returncode, started.stdout + started.stderr
    yield stack
    stack.down()


@pytest.fixture
def prometheus(gateway: Stack, tmp_path: Path) -> Iterator[Prometheus]:
    """It watches that gateway."""
    folder = tmp_path / "prometheus"
    folder.mkdir()
    address = f"127.0.0.1:{free_port()}"
    program = str(Path(parts.prometheus(os.environ)) / "prometheus")
    arguments = [f"--config.file={configured(folder, gateway)}", f"--storage.tsdb.path={folder / 'data'}"]
    process = subprocess.Popen(
        [program, *arguments, f"--web.listen-address={address}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def is_ready() -> bool:
        try:
            return httpx.get(f"http://{address}/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    try:
        until(is_ready, "a ready Prometheus")
        yield Prometheus(f"http://{address}")
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.timeout(120)
def test_fault_raises_its_alert(gateway: Stack, prometheus: Prometheus) -> None:
    """All processes are scraped; a faulty file raises its alert, and repairing it ends it."""
    until(lambda: prometheus.value('count(up{job=~"gateway-.+"} == 1)') == 5.0, "five targets")
    assert not prometheus.is_firing("GatewayConfigFaulty")
    good = gateway.config.read_text()
    gateway.edit("version: 1", "version: one")
    until(lambda: prometheus.is_firing("GatewayConfigFaulty"), "the alert about the faulty file")
    gateway.edit("version: one", "version: 1")
    until(lambda: not prometheus.is_firing("GatewayConfigFaulty"), "the end of the alert")

    assert good == gateway.config.read_text()
    assert not prometheus.is_firing("GatewayDown")
