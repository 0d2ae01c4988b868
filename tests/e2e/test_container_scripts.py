"""The scripts of the Envoy image: run-envoy and drain-envoy."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from control_plane.envoy_binary import find_envoy

SCRIPTS = Path(__file__).parent.parent.parent / "deploy" / "docker"
CONFIG = """
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
    - name: public
      address: {socket_address: {address: 127.0.0.1, port_value: 0}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: public
                route_config:
                  virtual_hosts:
                    - {name: all, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
"""  # noqa: E501
REQUEST = b"GET / HTTP/1.1\r\nhost: gateway\r\n\r\n"


async def ask(admin: str, path: str) -> str:
    host, port = admin.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    return answer


@asynccontextmanager
async def envoy(folder: Path) -> AsyncIterator[tuple[str, int]]:
    """Address of the admin interface, port of the listener."""
    (folder / "envoy.yaml").write_text(CONFIG)
    admin_file = folder / "admin"
    flags = ["--use-dynamic-base-id", "--concurrency", "1", "--drain-time-s", "30", "--drain-strategy", "immediate"]
    command = [find_envoy(None, os.environ), "-c", folder / "envoy.yaml", "--admin-address-path", admin_file, *flags]
    process = await asyncio.create_subprocess_exec(*map(str, command), stderr=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(20):
            while not admin_file.exists() or not admin_file.read_text():  # noqa: ASYNC110 - Envoy writes it
                await asyncio.sleep(0.02)
            admin = admin_file.read_text().strip()
            while "public::127.0.0.1:" not in (listeners := await ask(admin, "/listeners")):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        yield admin, int(listeners.rsplit("public::127.0.0.1:", 1)[1].split()[0])
    finally:
        process.kill()
        await process.wait()


async def drain(admin: str, *flags: str) -> asyncio.subprocess.Process:
    command = [sys.executable, str(SCRIPTS / "drain-envoy"), "--admin", f"http://{admin}", *flags]
    return await asyncio.create_subprocess_exec(*command)


@pytest.mark.envoy
async def test_draining_waits_for_open_connections(tmp_path: Path) -> None:
    """The health check turns red at once, requests are answered, and it ends when the last connection has."""
    async with envoy(tmp_path) as (admin, port), asyncio.timeout(40):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")

        draining = await drain(admin, "--notice", "0.5", "--limit", "30")
        while "503" not in (await ask(admin, "/ready")).split("\r\n")[0]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        assert draining.returncode is None
        writer.write(REQUEST)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert b"200 OK" in answer
        assert b"connection: close" in answer.lower()

        assert 0 == await draining.wait()
        writer.close()


@pytest.mark.envoy
async def test_draining_ends_at_its_limit(tmp_path: Path) -> None:
    """A connection that stays open does not keep the pod for ever."""
    async with envoy(tmp_path) as (admin, port), asyncio.timeout(40):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST[:20])  # a request that never comes to its end
        draining = await drain(admin, "--notice", "0.1", "--limit", "1.5")

        assert 0 == await draining.wait()
        writer.close()
        await asyncio.wait_for(reader.read(), 5)


def test_draining_without_an_envoy_fails_in_one_line() -> None:
    """The kubelet shows it as a FailedPreStopHook event."""
    command = [sys.executable, str(SCRIPTS / "drain-envoy"), "--admin", "http://127.0.0.1:1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert 1 == done.returncode
    assert "drain-envoy: " in done.stderr
    assert "Traceback" not in done.stderr


def test_envoy_is_started_with_the_bootstrap_of_its_pod(tmp_path: Path) -> None:
    """Name, mode, node id and address of the control plane come from the pod's environment."""
    envoy = tmp_path / "envoy"
    envoy.write_text('#!/bin/sh\necho "$@"\n')
    envoy.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ENVOY_BOOTSTRAP": str(tmp_path / "envoy.yaml"),
        "GATEWAY_NAME": "meetinity",
        "GATEWAY_XDS_ADDRESS": "control-plane:18000",
        "GATEWAY_NODE_ID": "envoy-7",
    }
    done = subprocess.run(
        [SCRIPTS / "run-envoy", "--log-level", "warning"], env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout.split()[:2] == ["-c", environment["ENVOY_BOOTSTRAP"]]
    assert done.stdout.split()[-2:] == ["--log-level", "warning"]
    bootstrap = yaml.safe_load((tmp_path / "envoy.yaml").read_text())
    assert {"id": "envoy-7", "cluster": "meetinity"} == {key: bootstrap["node"][key] for key in ("id", "cluster")}
