"""The control plane's HTTP side: what it shows of nodes and faults, and to whom."""

from collections.abc import Callable
from pathlib import Path

import aiohttp
import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry

from control_plane.admin.http import Protection, control_plane_app
from control_plane.cli.status_view import rendered
from control_plane.dashboard.live import Live
from control_plane.metrics import Metrics
from control_plane.reconciler import Reconciler
from control_plane.resource_types import CLUSTER
from control_plane.traffic.traffic import NO_NAMES, Traffic
from gateway_runtime.admin import http_server
from tests.feature.xds.probe import channel, delta
from tests.feature.xds.serving import Serving, cluster


def _reconciler(xds: Serving, path: Path) -> Reconciler:

    return Reconciler(path=str(path), environment={}, store=xds.store, metrics=Metrics(CollectorRegistry()))


def _app(
    xds: Serving,
    folder: Path,
    *,
    is_draining: Callable[[], bool] = lambda: False,
    protection: Protection | None = None,
) -> web.Application:
    return control_plane_app(
        xds.registry,
        xds.store,
        _reconciler(xds, folder / "gateway.yaml"),
        is_draining=is_draining,
        traffic=Traffic(lambda _: NO_NAMES),
        live=Live(),
        protection=protection or Protection(is_loopback=True),
    )


async def test_a_nack_is_shown_with_its_reason(xds: Serving, tmp_path: Path) -> None:
    """In the JSON, on the page and by gatewayctl; markup in a reason stays text."""
    xds.publish(cluster("a"), cluster("<b>"))
    app = _app(xds, tmp_path)
    async with http_server(app, "127.0.0.1:0", name="HTTP") as http, channel(xds.address) as opened:
        probe = delta(opened)
        await probe.subscribe(CLUSTER)
        await probe.receive()
        await probe.nack(CLUSTER, "cluster a: <script> is bad")
        await probe.receive()
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{http}/api/status") as answer:
                body = await answer.read()
            async with session.get(f"http://{http}/") as answer:
                page = await answer.text()
    (node,) = orjson.loads(body)["nodes"]
    (clusters,) = node["types"]

    assert ("probe", "meetinity", "envoy", "delta ADS") == (node["id"], node["cluster"], node["kind"], node["variant"])
    assert not node["in_sync"]
    assert "cluster a: <script> is bad" == clusters["nack"]["reason"]
    assert "cluster a: &lt;script&gt; is bad" in page
    assert "<script> is bad" not in page
    assert rendered(body) is not None


async def test_a_token_is_asked_from_all_but_probes(xds: Serving, tmp_path: Path) -> None:
    """Kubelets have none."""
    xds.publish()
    app = _app(xds, tmp_path, protection=Protection("secret", is_loopback=True))
    async with http_server(app, "127.0.0.1:0", name="HTTP") as http, aiohttp.ClientSession() as session:
        statuses = {}
        for path in ("/healthz", "/readyz", "/metrics", "/api/status", "/"):
            async with session.get(f"http://{http}{path}") as without:
                pass
            async with session.get(f"http://{http}{path}", headers={"Authorization": "Bearer secret"}) as answer:
                statuses[path] = (without.status, answer.status)

    probes = {"/healthz": (200, 200), "/readyz": (200, 200)}
    assert {**probes, "/metrics": (401, 200), "/api/status": (401, 200), "/": (401, 200)} == statuses


async def test_readiness_ends_with_draining_and_begins_with_a_configuration(xds: Serving, tmp_path: Path) -> None:
    """A load balancer sends new Envoys elsewhere."""
    draining = False
    app = _app(xds, tmp_path, is_draining=lambda: draining)
    seen = []
    async with http_server(app, "127.0.0.1:0", name="HTTP") as http, aiohttp.ClientSession() as session:
        for step in ("empty", "served", "draining"):
            if step == "served":
                xds.publish()
            draining = step == "draining"
            async with session.get(f"http://{http}/readyz") as answer:
                seen.append((answer.status, (await answer.text()).strip()))

    assert [(503, "no configuration yet"), (200, "ok"), (503, "draining")] == seen
