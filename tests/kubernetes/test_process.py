"""`python -m control_plane` with a cluster: gateway file from a ConfigMap, Events, shutdown."""

import asyncio
import signal
from pathlib import Path

import orjson

from tests.kubernetes.api_server import ApiServer
from tests.kubernetes.cluster import CORE, SLICES, Namespace, endpoint_slice
from tests.kubernetes.manifests import DEPLOY
from tests.kubernetes.process import control_plane, started

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


async def test_loss_of_the_api_server_is_seen_and_changes_nothing(
    shop: Namespace, tmp_path: Path, double: ApiServer
) -> None:
    """Status, metric and one line for each watch; ready with what is known, however long it lasts."""
    text = CONFIG.replace("NAMESPACE", shop.name)
    await shop.create(CORE, "configmaps", {"metadata": {"name": "gateway"}, "data": {"gateway.yaml": text}})
    await shop.create(SLICES, "endpointslices", endpoint_slice("10.1.0.1"))
    async with control_plane(shop, tmp_path) as running:
        await running.until(lambda now: all(not one["error"] for one in now["kubernetes"]["watches"]))
        await double.stop()
        refused = 0

        async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal refused
            refused += 1
            writer.close()

        async with await asyncio.start_server(hang_up, "127.0.0.1", double.port):
            async with asyncio.timeout(30):
                while refused < 9:  # noqa: ASYNC110 - three watches, each several times
                    await asyncio.sleep(0.02)
        found = await running.until(lambda now: all(one["error"] for one in now["kubernetes"]["watches"]))
        assert {True} == {one["synced"] for one in found["kubernetes"]["watches"]}
        assert {} == found["kubernetes"]["problems"]
        assert 200 == (await running.get("/readyz"))[0]
        metrics = (await running.get("/metrics"))[1]
        assert f'gateway_kubernetes_watch_up{{namespace="{shop.name}",resource="endpointslices"}} 0.0' in metrics
        lost = running.logged("kubernetes_watch_failing")
        assert 3 == len(lost)
        assert all("the API server cannot be reached" in line["error"] for line in lost)

        await double.start()
        await running.until(lambda now: all(not one["error"] for one in now["kubernetes"]["watches"]))
        assert 3 == len(running.logged("kubernetes_watch_failing"))


async def test_a_start_without_an_api_server_waits_and_says_so(
    shop: Namespace, tmp_path: Path, double: ApiServer
) -> None:
    """Alive, not ready, with the reason in the log and at /readyz; it goes on by itself."""
    text = CONFIG.replace("NAMESPACE", shop.name)
    await shop.create(CORE, "configmaps", {"metadata": {"name": "gateway"}, "data": {"gateway.yaml": text}})
    await double.stop()
    async with started(shop, tmp_path) as running:
        waiting = await running.until_logged("waiting_for_kubernetes")
        assert [f"configmaps {shop.name}/gateway"] == waiting["missing"]
        assert 200 == (await running.get("/healthz"))[0]
        status, body = await running.get("/readyz")
        assert 503 == status
        assert "waiting" in body

        await double.start()
        await running.until_logged("ready")
        assert 200 == (await running.get("/readyz"))[0]


async def test_a_config_map_may_hold_several_gateways(shop: Namespace, tmp_path: Path) -> None:
    """An edge and a sidecar, as in deploy/kubernetes/overlays/sidecars; a further one comes with an edit."""
    sidecar = (DEPLOY / "sidecar" / "control-plane" / "users-sidecar.yaml").read_text()
    data = {"gateway.yaml": CONFIG.replace("NAMESPACE", shop.name), "users-sidecar.yaml": sidecar}
    await shop.create(CORE, "configmaps", {"metadata": {"name": "gateway"}, "data": data})
    async with control_plane(shop, tmp_path, many=True) as running:
        found = await running.status()
        assert {"meetinity", "users-sidecar"} == {one["name"] for one in found["gateways"]}

        other = sidecar.replace("users-sidecar", "events-sidecar")
        await shop.patch(CORE, "configmaps", "gateway", {"data": {"events-sidecar.yaml": other}})
        await running.until(lambda now: "events-sidecar" in {one["name"] for one in now["gateways"]})
