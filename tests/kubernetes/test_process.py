"""`python -m control_plane` with a cluster: gateway file from a ConfigMap, Events, shutdown."""

import asyncio
import signal
from pathlib import Path

import orjson

from tests.kubernetes.cluster import CORE, SLICES, Namespace, endpoint_slice
from tests.kubernetes.process import control_plane

CONFIG = """
version: 1
name: meetinity
listeners: [{name: public, port: 10000}]
services:
  users: {kubernetes: {namespace: NAMESPACE, service: users, port: http}}
routes:
  - {name: users, match: {path_prefix: /users}, service: users, auth: none}
"""


async def test_the_gateway_file_may_come_from_a_config_map(shop: Namespace, tmp_path: Path) -> None:
    """Served from the start, followed at each edit; a faulty edit changes nothing and becomes an Event."""
    text = CONFIG.replace("NAMESPACE", shop.name)
    await shop.create(CORE, "configmaps", {"metadata": {"name": "gateway"}, "data": {"gateway.yaml": text}})
    await shop.create(SLICES, "endpointslices", endpoint_slice("10.1.0.1"))
    async with control_plane(shop, tmp_path) as running:
        found = await running.status()
        assert found["config"]["valid"]
        assert {} == found["kubernetes"]["problems"]
        assert all(one["synced"] and not one["error"] for one in found["kubernetes"]["watches"])

        generation = found["gateways"][0]["generation"]
        edited = text.replace("/users", "/people")
        await shop.patch(CORE, "configmaps", "gateway", {"data": {"gateway.yaml": edited}})
        await running.until(lambda now: now["gateways"][0]["generation"] > generation)

        await shop.patch(CORE, "configmaps", "gateway", {"data": {"gateway.yaml": "version: 2"}})
        await running.until(lambda now: not now["config"]["valid"])
        async with asyncio.timeout(30):
            while not (events := orjson.loads((await shop.list(CORE, "events")).body)["items"]):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert {"ConfigurationFaulty"} == {event["reason"] for event in events}

        running.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert 0 == await running.process.wait()


async def test_a_service_without_endpoints_is_a_problem_in_status(shop: Namespace, tmp_path: Path) -> None:
    """ "My pod gets no traffic" is answered by one look."""
    text = CONFIG.replace("NAMESPACE", shop.name)
    await shop.create(CORE, "configmaps", {"metadata": {"name": "gateway"}, "data": {"gateway.yaml": text}})
    async with control_plane(shop, tmp_path) as running:
        found = await running.status()

    assert {"users": f"Service {shop.name}/users does not exist"} == found["kubernetes"]["problems"]
