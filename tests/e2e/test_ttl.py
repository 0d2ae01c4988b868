"""A resource with a time to live stays with a real Envoy for as long as its control plane is there, and no longer."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from envoy.config.core.v3 import config_source_pb2
from envoy.service.runtime.v3 import rtds_pb2

from control_plane.snapshot import Resource
from control_plane.translate.bootstrap import API_TYPES, BootstrapSettings, bootstrap
from tests.feature.xds.serving import serving
from tests.ports import free_port

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(120)]

TTL_S = 3.0
LIMIT_S = 30.0


async def _until(admin: str, *, there: bool) -> None:
    """The runtime's key is there, or is not."""
    async with asyncio.timeout(LIMIT_S), httpx.AsyncClient() as http:
        while await _has_key(http, admin) is not there:  # noqa: ASYNC110 - what Envoy does sets no event
            await asyncio.sleep(0.05)


async def _has_key(http: httpx.AsyncClient, admin: str) -> bool | None:
    try:
        return "some.feature" in (await http.get(f"{admin}/runtime")).json()["entries"]
    except httpx.TransportError:
        return None


@pytest.mark.parametrize("api_type", ["delta-grpc", "grpc"])
async def test_heartbeats_keep_a_resource(envoy_binary: str, tmp_path: Path, api_type: str) -> None:
    """Over more than two times its time to live; when the control plane is gone, it is forgotten."""
    runtime = rtds_pb2.Runtime(name="rt")
    runtime.layer.update({"some.feature": 7})
    async with AsyncExitStack() as processes:
        async with serving() as xds:
            xds.publish(Resource.of("rt", runtime).with_ttl(TTL_S))
            config, admin = _config(tmp_path, xds.address, api_type)
            process = await asyncio.create_subprocess_exec(
                *(envoy_binary, "-c", str(config), "--concurrency", "1", "--use-dynamic-base-id"),
                *("--log-path", str(tmp_path / "envoy.log")),
            )
            processes.push_async_callback(process.wait)
            processes.callback(process.terminate)
            await _until(admin, there=True)
            async with asyncio.timeout(LIMIT_S):
                # The first one, and one every third of the time to live.
                while xds.metric("gateway_xds_pushes_total", type="Runtime") < 8:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            await _until(admin, there=True)
            assert 0 == xds.metric("gateway_xds_nacks_total", type="Runtime")
        await _until(admin, there=False)


def _config(folder: Path, xds_address: str, api_type: str) -> tuple[Path, str]:
    """Of an Envoy that asks for a runtime layer, and the address of its admin interface."""
    settings = BootstrapSettings(
        name="meetinity",
        node_id="ttl",
        xds_host="127.0.0.1",
        xds_port=int(xds_address.rpartition(":")[2]),
        admin_port=free_port(),
        status_address="127.0.0.1",
        status_port=free_port(),
        api_type=API_TYPES[api_type],
    )
    message = bootstrap(settings)
    layer = message.layered_runtime.layers.add(name="rtds").rtds_layer
    layer.name = "rt"
    layer.rtds_config.ads.SetInParent()
    layer.rtds_config.resource_api_version = config_source_pb2.V3
    config = folder / "envoy.pb"
    config.write_bytes(message.SerializeToString())
    return config, f"http://127.0.0.1:{settings.admin_port}"
