"""Endpoints that come and go fifty times a second fail no request, however Envoy asks for them."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from control_plane.endpoints import Endpoint
from control_plane.metrics import Metrics
from control_plane.reconciler import Reconciler
from control_plane.translate.bootstrap import API_TYPES, BootstrapSettings, bootstrap
from tests.e2e.echo import echo
from tests.e2e.load import load
from tests.feature.xds.serving import Serving, serving
from tests.ports import free_ports

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(120)]

VARIANTS = [
    pytest.param("delta-grpc", False, id="delta ADS"),
    pytest.param("grpc", False, id="ADS"),
    pytest.param("delta-grpc", True, id="delta per type"),
    pytest.param("grpc", True, id="per type"),
]
CHANGES_A_SECOND = 50
LIMIT_S = 30.0


@asynccontextmanager
async def _connected(binary: str, folder: Path, xds: Serving, api_type: str, *, per_type: bool) -> AsyncIterator[str]:
    """An Envoy; the value is the address of its admin interface."""
    first = free_ports(2)
    settings = BootstrapSettings(
        name="churn",
        node_id="churn",
        xds_host="127.0.0.1",
        xds_port=int(xds.address.rpartition(":")[2]),
        admin_port=first,
        status_address="127.0.0.1",
        status_port=first + 1,
        api_type=API_TYPES[api_type],
        per_type=per_type,
    )
    config = folder / "envoy.pb"
    config.write_bytes(bootstrap(settings).SerializeToString())
    process = await asyncio.create_subprocess_exec(
        *(binary, "-c", str(config), "--concurrency", "2", "--use-dynamic-base-id"),
        *("--log-path", str(folder / "envoy.log")),
    )
    try:
        yield f"http://127.0.0.1:{first}"
    finally:
        process.terminate()
        await process.wait()


async def _until_hosts(admin: str, ports: set[int]) -> None:
    """Envoy's own view of the service."""
    async with httpx.AsyncClient() as http, asyncio.timeout(LIMIT_S):
        while await _hosts(http, admin) != ports:  # noqa: ASYNC110 - what Envoy does sets no event
            await asyncio.sleep(0.05)


async def _until_served(url: str) -> None:
    """The listener comes after the clusters, on a stream of its own where there is one per type."""
    async with httpx.AsyncClient() as http, asyncio.timeout(LIMIT_S):
        while not await _is_served(http, url):  # noqa: ASYNC110 - what Envoy does sets no event
            await asyncio.sleep(0.05)


async def _is_served(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(url)).status_code == 200
    except httpx.TransportError:
        return False


async def _hosts(http: httpx.AsyncClient, admin: str) -> set[int]:
    try:
        clusters = (await http.get(f"{admin}/clusters?format=json")).json()["cluster_statuses"]
    except httpx.TransportError:
        return set()
    found = [one for one in clusters if one["name"] == "users"]
    return {host["address"]["socket_address"]["port_value"] for one in found for host in one.get("host_statuses", ())}


@pytest.mark.parametrize("seconds", [1, pytest.param(30, marks=pytest.mark.long)])
@pytest.mark.parametrize(("api_type", "per_type"), VARIANTS)
async def test_endpoint_churn_fails_no_request(
    envoy_binary: str, tmp_path: Path, api_type: str, per_type: bool, seconds: int
) -> None:
    """All instances are alive all the time, so every answer has to be good; the last change is what Envoy has."""
    path, port = tmp_path / "gateway.yaml", free_ports(1)
    document = {
        "version": 1,
        "name": "churn",
        "listeners": [{"name": "public", "address": "127.0.0.1", "port": port}],
        "services": {"users": {"kubernetes": {"namespace": "n", "service": "users", "port": "http"}}},
        "routes": [{"name": "users", "match": {"path_prefix": "/"}, "auth": "none", "service": "users"}],
    }
    path.write_text(json.dumps(document))
    async with AsyncExitStack() as stack:
        instances = stack.enter_context(echo(6)).ports
        xds = await stack.enter_async_context(serving())
        metrics = Metrics(CollectorRegistry())
        reconciler = Reconciler(path=str(path), environment=os.environ, store=xds.store, metrics=metrics)
        await reconciler.start()
        reconciler.set_endpoints({"users": _endpoints(instances)})
        admin = await stack.enter_async_context(_connected(envoy_binary, tmp_path, xds, api_type, per_type=per_type))
        await _until_hosts(admin, set(instances))
        await _until_served(f"http://127.0.0.1:{port}/")
        with load(f"http://127.0.0.1:{port}/", clients=4, pause_s=0.01) as tally:
            await asyncio.to_thread(tally.until_more, 20)
            kept = await _churn(reconciler, instances, seconds * CHANGES_A_SECOND)
            await _until_hosts(admin, set(kept))
            await asyncio.to_thread(tally.until_more, 100)

        assert {} == tally.failures
        assert 0 == xds.metric("gateway_xds_nacks_total", type="ClusterLoadAssignment")


def _endpoints(ports: list[int]) -> tuple[Endpoint, ...]:
    return tuple(Endpoint("127.0.0.1", port) for port in sorted(ports))


async def _churn(reconciler: Reconciler, ports: list[int], changes: int) -> list[int]:
    """As discovery does it; returns what is left."""
    clock = asyncio.get_running_loop().time
    at, kept = clock(), ports
    for number in range(changes):
        at += 1 / CHANGES_A_SECOND
        await asyncio.sleep(at - clock())
        kept = [
            port for place, port in enumerate(ports) if place in (number % len(ports), (number * 5 + 1) % len(ports))
        ]
        reconciler.set_endpoints({"users": _endpoints(kept)})
    return kept
