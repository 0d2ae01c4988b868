"""A status page over a store that a test fills, without Envoy and without a configuration file's reconciler."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp
import orjson
from prometheus_client import CollectorRegistry

from control_plane.admin.http import Protection, control_plane_app
from control_plane.config.loading import load
from control_plane.config.model.gateway import Gateway
from control_plane.dashboard.live import Live
from control_plane.reconciler import ConfigStatus, Reconciler
from control_plane.traffic.report import Reader
from control_plane.traffic.service import names_from
from control_plane.traffic.traffic import Traffic
from control_plane.translate import translate
from control_plane.xds.store import Store
from gateway_runtime.admin import http_server
from tests.reports import envoy_report

Document = dict[str, object]

PATHS = (
    "/",
    "/clients",
    "/services",
    "/services/view?gateway=shop&name=service-0001",
    "/routes",
    "/routes/view?gateway=shop&name=route-service-0001",
    "/history",
    "/history/diff?gateway=shop&from=0&to=1",
)
"""Every page, one of its kind."""


class OneFile:
    """Stands in a reconciler's place: what is served is what the test says."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateways: tuple[Gateway, ...] = (gateway,)
        now = time.time()
        self.status = ConfigStatus("gateway.yaml", True, (), (), now, now, False)

    @property
    def statuses(self) -> tuple[ConfigStatus, ...]:
        return (self.status,)


@dataclass
class Site:
    """A running page."""

    url: str
    store: Store
    traffic: Traffic
    source: OneFile

    def publish(self, document: Document) -> None:
        gateway = gateway_of(document)
        self.source.gateways = (gateway,)
        self.store.publish(gateway.name, translate(gateway, {}, {}))

    def report(self, node: str, at: float, **said: Mapping[str, int]) -> None:
        """As an Envoy of the gateway."""
        name = self.source.gateways[0].name
        self.traffic.take(Reader().read(envoy_report(node, name, **said)), at)  # type: ignore[arg-type]


def gateway_of(document: Document) -> Gateway:
    """Raises AssertionError for one with faults."""
    loaded = load("gateway.yaml", _Text(orjson.dumps(document)), {}, now=datetime.now(UTC))
    assert loaded.gateway is not None, loaded.faults
    return loaded.gateway


class _Text:
    def __init__(self, text: bytes) -> None:
        self._text = text

    def read(self, path: str) -> bytes:
        if path != "gateway.yaml":
            raise FileNotFoundError(path)
        return self._text

    def glob(self, pattern: str) -> Sequence[str]:
        return ()


def document(services: int = 2, **more: object) -> Document:
    """A gateway with so many services, each with a route and an endpoint that Envoy judges."""
    names = [f"service-{number:04}" for number in range(services)]
    return {
        "version": 1,
        "name": "shop",
        "listeners": [{"name": "public", "address": "127.0.0.1", "port": 10000}],
        "services": {
            name: {
                "endpoints": [{"address": f"10.0.{index // 250}.{index % 250 + 1}", "port": 8080}],
                "outlier_detection": {"consecutive_gateway_failure": 3},
            }
            for index, name in enumerate(names)
        },
        "rate_limits": {"per-client": {"rate": "10/second", "key": ["client_ip"]}},
        "routes": [
            {
                "name": f"route-{name}",
                "match": {"path_prefix": f"/{name}"},
                "service": name,
                "auth": "none",
                "rate_limits": ["per-client"],
            }
            for name in names
        ],
        **more,
    }


@asynccontextmanager
async def site(first: Document, protection: Protection | None = None, tick_s: float = 0.05) -> AsyncIterator[Site]:
    """The gateway's page on a free port."""
    store = Store()
    gateway = gateway_of(first)
    source = OneFile(gateway)
    traffic = Traffic(names_from(store, lambda: source.gateways))
    live = Live(tick_s)
    app = control_plane_app(
        CollectorRegistry(),
        store,
        _as_reconciler(source),
        is_draining=lambda: False,
        traffic=traffic,
        live=live,
        protection=protection or Protection(is_loopback=True),
    )
    store.publish(gateway.name, translate(gateway, {}, {}))
    store.open()
    async with http_server(app, "127.0.0.1:0", name="HTTP") as address, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(live.run())
        try:
            yield Site(f"http://{address}", store, traffic, source)
        finally:
            live.close()
            running.cancel()


def _as_reconciler(source: OneFile) -> Reconciler:
    return source  # type: ignore[return-value] # it has what the page asks for


async def fetched(session: aiohttp.ClientSession, url: str, **headers: str) -> tuple[int, str]:
    """Status and body, redirects not followed."""
    async with session.get(url, headers=headers, allow_redirects=False) as answer:
        return answer.status, await answer.text()
