"""Several workers of ext_authz on Unix sockets, each an endpoint of its own for Envoy."""

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.e2e.echo import echo
from tests.e2e.fleet import Fleet, Process, fleet, write
from tests.e2e.waiting import until
from tests.ports import free_port, free_ports

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("authz workers"), pytest.mark.timeout(120)]

WORKERS = 2


@dataclass
class Workers:
    """A gateway whose checks go to several processes."""

    url: str
    process: Process
    admin_port: int

    def decisions(self) -> list[float]:
        """Of each worker: how many requests of the route it has let pass."""
        found = []
        for number in range(WORKERS):
            text = httpx.get(f"http://127.0.0.1:{self.admin_port + number}/metrics").text
            wanted = 'gateway_authz_decisions_total{reason="ok",route="limited"} '
            found.append(next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(wanted)), 0.0))
        return found

    def statuses(self, times: int) -> Counter[int]:
        return Counter(httpx.get(f"{self.url}/limited", timeout=20).status_code for _ in range(times))


@pytest.fixture
def workers(tmp_path: Path, envoy_binary: str) -> Iterator[Workers]:
    with fleet(tmp_path, envoy_binary) as ships, echo(1) as service:
        public, admin = free_port(), free_ports(WORKERS)
        write(
            tmp_path / "gateway.yaml",
            {
                "version": 1,
                "name": "worked",
                "listeners": [{"name": "public", "address": "127.0.0.1", "port": public}],
                "services": {"echo": {"endpoints": [{"address": "127.0.0.1", "port": service.ports[0]}]}},
                "callouts": {
                    "ext_authz": {
                        "timeout": "5s",
                        "endpoints": [{"path": str(tmp_path / f"authz-{number}.sock")} for number in range(WORKERS)],
                    }
                },
                "rate_limits": {"many": {"rate": "40/hour", "key": []}},
                "routes": [
                    {
                        "name": "limited", "match": {"path_prefix": "/limited"}, "auth": "none",
                        "rate_limits": ["many"], "service": "echo",
                    }
                ],
            },
        )  # fmt: skip
        plane = ships.control_plane()
        process = _ext_authz(ships, plane.port, tmp_path, admin)
        envoy = ships.envoy(plane.port, cluster="worked")
        envoy.until_ready()
        yield Workers(f"http://127.0.0.1:{public}", process, admin)


def _ext_authz(ships: Fleet, xds_port: int, folder: Path, admin_port: int) -> Process:
    process = Process(
        [
            *(sys.executable, "-m", "ext_authz", "--xds-address", f"127.0.0.1:{xds_port}", "--gateway", "worked"),
            *("--workers", str(WORKERS), "--address", f"unix:{folder}/authz.sock"),
            *("--admin-address", f"127.0.0.1:{admin_port}"),
        ],
        folder / "ext_authz.log",
    )
    ships.processes.append(process)
    process.start()
    for number in range(WORKERS):
        process.until_ready(f"http://127.0.0.1:{admin_port + number}/readyz")
    return process


def test_every_worker_is_an_endpoint(workers: Workers) -> None:
    """Envoy spreads checks over the sockets; each worker holds its part of a limit; a killed one is replaced."""
    until(lambda: workers.statuses(1) == {200: 1}, "the gateway answers")
    until(lambda: workers.statuses(2) is not None and min(workers.decisions()) > 0, "both workers are asked")
    until(lambda: 429 in workers.statuses(5), "a part is used up")
    assert 40 >= sum(workers.decisions())

    assert workers.process.running is not None
    parent = workers.process.running.pid
    first = int(Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0])
    before = workers.decisions()
    os.kill(first, signal.SIGKILL)

    def is_replaced() -> bool:
        """Its counts begin anew, and nobody is refused for want of it."""
        fresh = any(after < earlier for after, earlier in zip(workers.decisions(), before, strict=True))
        return fresh and 503 not in workers.statuses(3)

    workers.process.until_ready(f"http://127.0.0.1:{workers.admin_port}/readyz")
    until(is_replaced, "a worker in the place of the killed one")
