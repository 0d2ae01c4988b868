"""From objects of a Kubernetes API (the double) through the control plane's process to a real Envoy."""

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from control_plane.envoy_binary import find_envoy
from tests.e2e.stack import GATEWAYCTL
from tests.kubernetes.api_server import ApiServer
from tests.kubernetes.certificates import KeyPair, key_pair
from tests.kubernetes.cluster import CORE, SLICES, Namespace, endpoint_slice, namespace
from tests.kubernetes.process import Process, control_plane
from tests.ports import free_ports

pytestmark = pytest.mark.envoy
RESOURCE = "endpointslices"
CONFIG = """
version: 1
name: meetinity
listeners: [{name: public, address: 127.0.0.1, port: PORT}]
services:
  users: {kubernetes: {namespace: NAMESPACE, service: users, port: http}}
routes:
  - {name: users, match: {path_prefix: /users}, service: users, auth: none}
"""


@dataclass
class Gateway:
    shop: Namespace
    control_plane: Process
    session: aiohttp.ClientSession
    port: int
    admin: int

    async def get(self, path: str) -> tuple[int, str]:
        async with self.session.get(f"http://127.0.0.1:{self.port}{path}") as answer:
            return answer.status, await answer.text()

    async def hosts(self) -> dict[str, dict[str, Any]]:
        """Envoy's own view of the endpoints of `users`, by address."""
        async with self.session.get(f"http://127.0.0.1:{self.admin}/clusters?format=json") as answer:
            clusters = (await answer.json())["cluster_statuses"]
        found = next(one for one in clusters if one["name"] == "users").get("host_statuses", [])
        return {host["address"]["socket_address"]["address"]: host for host in found}

    async def until_hosts(self, holds: Callable[[dict[str, dict[str, Any]]], bool]) -> dict[str, dict[str, Any]]:
        async with asyncio.timeout(20):
            while not holds(found := await self.hosts()):  # noqa: ASYNC110 - Envoy is asked
                await asyncio.sleep(0.02)
        return found

    async def refusals(self) -> list[dict[str, Any]]:
        nodes = (await self.control_plane.status())["nodes"]
        return [one["nack"] for node in nodes for one in node["types"] if one["nack"] is not None]


@asynccontextmanager
async def envoy(running: Process, folder: Path, admin: int, status: int) -> AsyncIterator[None]:
    flags = ["--xds-address", running.xds, "--admin-port", str(admin), "--ready-port", str(status)]
    command = [*GATEWAYCTL, "bootstrap", "--name", "meetinity", *flags]
    made = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    (folder / "envoy.yaml").write_text(made.stdout)
    binary = find_envoy(None, os.environ)
    process = await asyncio.create_subprocess_exec(
        binary, "-c", str(folder / "envoy.yaml"), "--use-dynamic-base-id", "--concurrency", "1", stderr=sys.stderr
    )
    try:
        yield
    finally:
        process.kill()
        await process.wait()


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    first = free_ports(3)
    text = CONFIG.replace("PORT", str(first))
    async with ApiServer().serving() as server, namespace(server) as shop:
        data = {"gateway.yaml": text.replace("NAMESPACE", shop.name)}
        await shop.create(CORE, "configmaps", {"metadata": {"name": "gateway"}, "data": data})
        async with (
            control_plane(shop, tmp_path) as running,
            envoy(running, tmp_path, first + 1, first + 2),
            aiohttp.ClientSession() as session,
        ):
            found = Gateway(shop, running, session, first, first + 1)
            async with asyncio.timeout(30):
                while not await _is_listening(found):  # noqa: ASYNC110 - Envoy is asked
                    await asyncio.sleep(0.05)
            yield found


async def _is_listening(gateway: Gateway) -> bool:
    try:
        await gateway.get("/")
    except aiohttp.ClientError:
        return False
    return True


async def test_a_service_without_endpoints_is_a_clear_503(gateway: Gateway) -> None:
    """At once, with a problem document; no hang, and Envoy is ready all the same."""
    async with asyncio.timeout(5):
        status, body = await gateway.get("/users")

    assert 503 == status
    assert "urn:meetinity:no-endpoints" in body


async def test_envoy_takes_every_kind_of_endpoint(gateway: Gateway) -> None:
    """IPv4, IPv6, zones, weights, draining: nothing is refused, and an endpoint that is gone is gone at once."""
    shop = gateway.shop
    terminating = {"ready": False, "serving": True, "terminating": True}
    first = endpoint_slice("10.1.0.1", "10.1.0.2", name="users-a")
    first["metadata"]["annotations"] = {"gateway.meetinity.io/weight": "7"}
    first["endpoints"][0]["zone"] = "zone-a"
    created = await shop.create(SLICES, RESOURCE, first)
    await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.3", name="users-b", conditions=terminating))
    await shop.create(SLICES, RESOURCE, endpoint_slice("fd00::1", name="users-c", address_type="IPv6"))

    found = await gateway.until_hosts(lambda hosts: len(hosts) == 4)

    assert {"10.1.0.1", "10.1.0.2", "10.1.0.3", "fd00::1"} == found.keys()
    assert "DRAINING" == found["10.1.0.3"]["health_status"]["eds_health_status"]
    assert ("zone-a", 7) == (found["10.1.0.1"]["locality"]["zone"], found["10.1.0.1"]["weight"])
    await shop.replace(SLICES, RESOURCE, {**created, "endpoints": created["endpoints"][:1]})
    await gateway.until_hosts(lambda hosts: "10.1.0.2" not in hosts)
    assert [] == await gateway.refusals()


async def test_a_service_scaled_to_zero_is_a_clear_503(gateway: Gateway) -> None:
    """Its last endpoint goes: the next request is answered at once, and says so; Envoy keeps nothing of it."""
    created = await gateway.shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.1"))
    await gateway.until_hosts(lambda hosts: list(hosts) == ["10.1.0.1"])
    await gateway.shop.replace(SLICES, RESOURCE, {**created, "endpoints": []})
    await gateway.until_hosts(lambda hosts: not hosts)

    async with asyncio.timeout(5):
        status, body = await gateway.get("/users")
    assert 503 == status
    assert "urn:meetinity:no-endpoints" in body
    problems = (await gateway.control_plane.status())["kubernetes"]["problems"]
    assert {"users": f"Service {gateway.shop.name}/users has no ready endpoint"} == problems


async def test_a_service_of_host_names_is_reached_by_dns(gateway: Gateway) -> None:
    """Slices of type FQDN: no assignment with a host name ever reaches Envoy."""
    async with answering("by name") as port:
        names = endpoint_slice("localhost", address_type="FQDN", port=port)
        await gateway.shop.create(SLICES, RESOURCE, names)
        await gateway.until_hosts(lambda hosts: "127.0.0.1" in hosts)
        assert (200, "by name") == await gateway.get("/users")

    assert [] == await gateway.refusals()


async def test_a_service_may_turn_into_an_external_name(gateway: Gateway) -> None:
    """The cluster changes from EDS to DNS and back while Envoy runs; requests follow."""
    shop = gateway.shop
    await shop.create(SLICES, RESOURCE, endpoint_slice("10.1.0.1"))
    await gateway.until_hosts(lambda hosts: list(hosts) == ["10.1.0.1"])

    async with answering("from outside") as port:
        ports = [{"name": "http", "port": port}]
        spec = {"type": "ExternalName", "externalName": "localhost", "ports": ports}
        await shop.create(CORE, "services", {"metadata": {"name": "users"}, "spec": spec})
        await gateway.until_hosts(lambda hosts: "127.0.0.1" in hosts)
        assert (200, "from outside") == await gateway.get("/users")

    await shop.delete(CORE, "services", "users")
    await gateway.until_hosts(lambda hosts: list(hosts) == ["10.1.0.1"])
    assert [] == await gateway.refusals()


async def test_a_renewed_secret_is_served_without_a_dropped_connection(gateway: Gateway) -> None:
    """A TLS listener comes with an edit of the ConfigMap; its Secret is renewed while a connection is open."""
    shop, port = gateway.shop, free_ports(1)
    first, second = key_pair("a.example.com"), key_pair("b.example.com")
    await shop.create(CORE, "secrets", {"metadata": {"name": "cert"}, "type": "kubernetes.io/tls", "data": first.data})
    secure = f"{{name: secure, address: 127.0.0.1, port: {port}, tls: {{kubernetes_secret: {shop.name}/cert}}}}"
    text = CONFIG.replace("PORT", str(gateway.port)).replace("NAMESPACE", shop.name)
    text = text.replace("}]\nservices", f"}}, {secure}]\nservices").replace(
        "service: users, auth", "service: users, listeners: [public, secure], auth"
    )
    await shop.patch(CORE, "configmaps", "gateway", {"data": {"gateway.yaml": text}})
    reader, writer = await until_certificate(port, first)

    await shop.patch(CORE, "secrets", "cert", {"data": second.data})
    _, fresh = await until_certificate(port, second)
    writer.write(b"GET /users HTTP/1.1\r\nHost: a.example.com\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 503")  # of a service without endpoints, but an answer

    for one in (writer, fresh):
        one.close()
    assert [] == await gateway.refusals()


async def until_certificate(port: int, pair: KeyPair) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which the server has shown this certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with asyncio.timeout(20):
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            if ssl.DER_cert_to_PEM_cert(shown) == pair.certificate.decode():
                return reader, writer
            writer.close()


@asynccontextmanager
async def answering(text: str) -> AsyncIterator[int]:
    """A server of this machine that answers /users; the value is its port."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=text)

    app = web.Application()
    app.router.add_get("/users", answer)
    server = web.AppRunner(app)
    await server.setup()
    try:
        await web.TCPSite(server, "127.0.0.1", 0).start()
        yield server.addresses[0][1]
    finally:
        await server.cleanup()
