"""One real Envoy with ext_proc in this process and a service that does what the request asks for.

Only the cache is under test here, so Envoy's configuration is the least that the callout needs; what the control plane
renders is tested with the whole stack.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from aiohttp import web
from prometheus_client import CollectorRegistry

from ext_proc.cache.cache import Cache
from ext_proc.cache.memory import MemoryStore
from ext_proc.cache.single_flight import Flights
from ext_proc.metrics import Metrics
from ext_proc.policies import PolicyStore
from ext_proc.service import ExternalProcessor
from gateway_runtime.http2.connection import Limits
from gateway_runtime.http2.server import Http2Server
from protos.gateway.policy.v1 import processing_pb2

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

START_DEADLINE_S = 20.0
_TYPE = "type.googleapis.com/"


@dataclass
class Service:
    """The upstream: counts requests and answers as its `answer` says."""

    answer: Answer
    seen: list[web.Request] = field(default_factory=list)
    port: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        return await self.answer(request)


@dataclass
class Stack:
    """What a test drives."""

    client: httpx.AsyncClient
    service: Service
    store: MemoryStore
    flights: Flights
    access_log: Path

    def logged(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.access_log.read_text().splitlines()]


def policy(**cache: object) -> processing_pb2.ProcessingPolicy:
    """A public cache of 1 MiB bodies, with the given changes."""
    message = processing_pb2.ProcessingPolicy(name="proc-test", gateway="edge")
    message.cache.scope = processing_pb2.CachePolicy.PUBLIC
    message.cache.max_body_bytes = 1 << 20
    for name, value in cache.items():
        if name.endswith("_s"):
            getattr(message.cache, name[:-2]).FromMilliseconds(int(float(str(value)) * 1000))
        else:
            setattr(message.cache, name, value)
    return message


class NoPolicies:
    """A control plane that never brings a policy."""

    async def request(self, type_url: str, name: str) -> None:
        await asyncio.Event().wait()


@asynccontextmanager
async def stack(
    envoy: str,
    folder: Path,
    message: processing_pb2.ProcessingPolicy,
    answer: Answer,
    *,
    wait_s: float = 3.0,
    failure_mode_allow: bool = True,
) -> AsyncIterator[Stack]:
    """Everything on free ports of 127.0.0.1, gone at the end."""
    service = Service(answer)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", service.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    service.port = runner.addresses[0][1]
    policies = PolicyStore()
    policies.update_policies({message.name: message.SerializeToString()}, (), 0.0)
    store = MemoryStore(max_bytes=64 << 20, max_entries=10_000)
    flights = Flights()
    processor = ExternalProcessor(
        policies=policies,
        source=NoPolicies(),
        cache=Cache(store, flights, wait_s=wait_s),
        metrics=Metrics(CollectorRegistry(), store),
    )
    server = Http2Server(processor.methods(), Limits(max_message_bytes=64 << 20))
    ext_proc_port = int(server.bind("127.0.0.1:0", name="ext_proc").rpartition(":")[2])
    access_log = folder / "access.log"
    access_log.touch()
    config = _bootstrap(service.port, ext_proc_port, message.name, folder, access_log, failure_mode_allow)
    try:
        async with server.running(drain_s=0.1), _envoy(envoy, config, folder) as port:
            limits = httpx.Limits(max_connections=2000)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=20) as client:
                yield Stack(client, service, store, flights, access_log)
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _envoy(envoy: str, config: dict[str, object], folder: Path) -> AsyncIterator[int]:
    """Run Envoy; the value is the port of its listener, which it chose itself."""
    file = folder / "envoy.json"
    file.write_text(json.dumps(config))
    addresses = folder / "admin.txt"
    log = folder / "envoy.log"
    arguments = ["-c", str(file), "--concurrency", "1", "--use-dynamic-base-id", "--log-path", str(log)]
    arguments += ["--admin-address-path", str(addresses), "--log-level", "info", "--file-flush-interval-msec", "50"]
    process = await asyncio.create_subprocess_exec(envoy, *arguments, stderr=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(START_DEADLINE_S):
            port = await _listener_port(process, addresses, log)
        yield port
    finally:
        process.terminate()
        await process.wait()


async def _listener_port(process: asyncio.subprocess.Process, addresses: Path, log: Path) -> int:
    async with httpx.AsyncClient() as client:
        while True:
            if process.returncode is not None:
                raise AssertionError(_text(log))
            if admin := _text(addresses):
                try:
                    answer = await client.get(f"http://{admin}/listeners?format=json")
                    statuses = answer.json().get("listener_statuses", [])
                    ready = await client.get(f"http://{admin}/ready")
                except httpx.TransportError:
                    statuses = []
                if statuses and ready.status_code == 200:
                    port: int = statuses[0]["local_address"]["socket_address"]["port_value"]
                    return port
            await asyncio.sleep(0.02)


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def _cluster(name: str, port: int, *, http2: bool) -> dict[str, object]:
    endpoint = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
    cluster: dict[str, object] = {
        "name": name,
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "circuit_breakers": {"thresholds": [{"max_requests": 10_000, "max_pending_requests": 10_000}]},
    }
    if http2:
        cluster["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    return cluster


def _bootstrap(
    service: int, ext_proc: int, policy_name: str, folder: Path, access_log: Path, failure_mode_allow: bool
) -> dict[str, object]:
    metadata = [
        {"key": "x-gateway-policy", "value": policy_name},
        {"key": "x-gateway-route", "value": "items"},
    ]
    filter_config = {
        "@type": f"{_TYPE}envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
        "grpc_service": {"envoy_grpc": {"cluster_name": "ext_proc"}},
        "failure_mode_allow": failure_mode_allow,
        "processing_mode": {"request_header_mode": "SEND", "response_header_mode": "SKIP"},
        "allow_mode_override": True,
        "allow_content_length_header": True,
        "message_timeout": "1s",
        "max_message_timeout": "30s",
        "response_attributes": ["response.code_details"],
        "metadata_options": {
            "forwarding_namespaces": {"untyped": ["envoy.filters.http.ext_authz"]},
            "receiving_namespaces": {"untyped": ["meetinity.ext_proc"]},
        },
    }
    overrides = {
        "@type": f"{_TYPE}envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute",
        "overrides": {"grpc_initial_metadata": metadata},
    }
    manager = {
        "@type": f"{_TYPE}envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "server_header_transformation": "PASS_THROUGH",
        "access_log": [
            {
                "name": "envoy.access_loggers.file",
                "typed_config": {
                    "@type": f"{_TYPE}envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": str(access_log),
                    "log_format": {
                        "json_format": {
                            "cache": "%DYNAMIC_METADATA(meetinity.ext_proc:cache)%",
                            "details": "%RESPONSE_CODE_DETAILS%",
                        }
                    },
                },
            }
        ],
        "route_config": {
            "name": "routes",
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {
                            "match": {"prefix": "/"},
                            "route": {"cluster": "service", "timeout": "5s"},
                            "typed_per_filter_config": {"envoy.filters.http.ext_proc": overrides},
                        }
                    ],
                }
            ],
        },
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_filters": [
            {"name": "envoy.filters.http.ext_proc", "typed_config": filter_config},
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPE}envoy.extensions.filters.http.router.v3.Router"},
            },
        ],
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    return {
        "admin": {"address": address},
        "static_resources": {
            "listeners": [
                {
                    "name": "test",
                    "address": address,
                    "per_connection_buffer_limit_bytes": 1 << 20,
                    "filter_chains": [
                        {
                            "filters": [
                                {
                                    "name": "envoy.filters.network.http_connection_manager",
                                    "typed_config": manager,
                                }
                            ]
                        }
                    ],
                }
            ],
            "clusters": [_cluster("service", service, http2=False), _cluster("ext_proc", ext_proc, http2=True)],
        },
    }
