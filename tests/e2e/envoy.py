"""A real Envoy with one file for configuration, for tests that need no control plane.

Ports are chosen by the kernel (`port: 0`) and asked for over the admin interface, so tests can run side by side.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from control_plane.config.materials import Materials
from control_plane.config.model.gateway import Gateway
from control_plane.endpoints import Endpoints
from control_plane.translate import translate
from control_plane.translate.bootstrap import BootstrapSettings
from control_plane.translate.static import rendered_static
from tests.e2e.waiting import until
from tests.ports import free_port

_START_DEADLINE_S = 20.0
_ANY_PORT = 10


@dataclass(frozen=True)
class StaticEnvoy:
    """An Envoy that runs a static rendering."""

    ports: dict[str, int]
    """Of its listeners, by name; `status` and `admin` are among them."""
    log: Path

    def url(self, listener: str = "public") -> str:
        return f"http://127.0.0.1:{self.ports[listener]}"

    def stats(self) -> str:
        return httpx.get(f"{self.url('admin')}/stats").text


@contextmanager
def static_envoy(
    binary: str, folder: Path, gateway: Gateway, endpoints: Endpoints | None = None, materials: Materials | None = None
) -> Iterator[StaticEnvoy]:
    """Run what a configuration becomes; listeners with a port below 10 get a free one instead."""
    settings = BootstrapSettings(
        name=gateway.name,
        node_id="test",
        xds_host="127.0.0.1",
        xds_port=1,
        admin_port=free_port(),
        status_address="127.0.0.1",
        status_port=0,
    )
    bootstrap = rendered_static(translate(gateway, endpoints or {}, materials or {}), settings)
    for listener in bootstrap.static_resources.listeners:
        if listener.address.socket_address.port_value < _ANY_PORT:
            listener.address.socket_address.port_value = 0
    config, log, admin = folder / "envoy.pb", folder / "envoy.log", folder / "admin.txt"
    config.write_bytes(bootstrap.SerializeToString())
    arguments = [binary, "-c", str(config), "--concurrency", "1", "--use-dynamic-base-id", "--log-path", str(log)]
    arguments += ["--admin-address-path", str(admin), "--file-flush-interval-msec", "20", "--log-level", "warning"]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield StaticEnvoy(_ports(process, admin, log), log)
    finally:
        process.terminate()
        process.wait(timeout=10)


def _ports(process: "subprocess.Popen[bytes]", admin: Path, log: Path) -> dict[str, int]:
    """Wait until Envoy listens, and ask it where."""
    deadline = time.monotonic() + _START_DEADLINE_S

    def is_live() -> bool:
        assert process.poll() is None, log.read_text()
        if not admin.exists() or not (address := admin.read_text()):
            return False
        try:
            return httpx.get(f"http://{address}/ready").status_code == 200
        except httpx.TransportError:
            return False

    until(is_live, "a live Envoy", deadline - time.monotonic())
    listed = json.loads(httpx.get(f"http://{admin.read_text()}/listeners?format=json").text)
    ports = {
        status["name"]: status["local_address"]["socket_address"]["port_value"]
        for status in listed["listener_statuses"]
    }
    return {**ports, "admin": int(admin.read_text().rpartition(":")[2])}
