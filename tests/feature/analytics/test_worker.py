"""Entries over real gRPC, and the report over real HTTP."""

import re
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import grpc
import pytest
from envoy.service.accesslog.v3 import als_pb2
from prometheus_client import CollectorRegistry

from control_plane.analytics.metrics import Metrics
from control_plane.analytics.receiver import SERVICE, Receiver, peer_host
from control_plane.analytics.sqlite import SqliteDatabase
from control_plane.analytics.storage import Cursor, Storage, StorageError
from control_plane.analytics.web import analytics_app
from control_plane.analytics.worker import AskEnvoy, Worker
from gateway_runtime.admin import http_server
from gateway_runtime.grpc_server import GrpcServer
from tests.unit.control_plane.analytics.samples import entry

TOKEN = "a token"


@dataclass(frozen=True)
class Running:
    """One of all, in this process."""

    worker: Worker
    database: "Fragile"
    registry: CollectorRegistry
    grpc_address: str
    url: str

    async def get(self, path: str, token: str = TOKEN) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with aiohttp.ClientSession() as session, session.get(self.url + path, headers=headers) as answer:
            return answer.status, await answer.text()

    async def send(self, *messages: als_pb2.StreamAccessLogsMessage | bytes) -> None:
        """On a stream of its own, which is ended; returns when it was read to its end."""
        async with grpc.aio.insecure_channel(self.grpc_address) as channel:
            method: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(
                f"/{SERVICE}/StreamAccessLogs"
            )
            call = method()
            for message in messages:
                await call.write(message if isinstance(message, bytes) else message.SerializeToString())
            await call.done_writing()
            await call

    def sample(self, name: str) -> float:
        return self.registry.get_sample_value(name) or 0.0


class Fragile(SqliteDatabase):
    """Fails while it is told to."""

    is_broken = False

    def transaction(self, work):  # type: ignore[no-untyped-def]
        if self.is_broken:
            raise StorageError("disk full")
        return super().transaction(work)


@asynccontextmanager
async def running(folder: Path, *, ask_envoy: AskEnvoy | None = None) -> AsyncIterator[Running]:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    database = Fragile(folder / "usage.sqlite")
    with ThreadPoolExecutor(1) as executor:
        storage = Storage(database, max_rows=100)
        worker = Worker(storage, executor, metrics, max_consumers=100, ask_envoy=ask_envoy)
        await worker.start()
        server = GrpcServer()
        server.server.add_generic_rpc_handlers(tuple(Receiver(worker, metrics).handlers()))
        address = server.bind("127.0.0.1:0", name="analytics")
        app = analytics_app(registry, worker, token=TOKEN)
        async with http_server(app, "127.0.0.1:0", name="HTTP") as http, server.running(drain_s=0):
            yield Running(worker, database, registry, address, f"http://{http}")
        storage.close()


def message(*paths: str, first: bool = True, gateway: str = "edge") -> als_pb2.StreamAccessLogsMessage:
    made = als_pb2.StreamAccessLogsMessage()
    if first:
        made.identifier.node.id = "envoy-1"
        made.identifier.node.cluster = gateway
    made.http_logs.log_entry.extend(entry(path, proven={"user": "alice"}) for path in paths)
    return made


async def test_entries_of_a_stream_are_in_the_report(tmp_path: Path) -> None:
    """At once, as JSON, CSV and page; only the first message says whose they are."""
    async with running(tmp_path) as analytics:
        await analytics.send(message("/v1/a", "/v1/b"), message("/v2/c", first=False))
        status, body = await analytics.get("/api/usage?window=1h&gateway=edge")
        _, table = await analytics.get("/api/usage.csv?window=1h")
        _, page = await analytics.get("/?window=30d")

    assert 200 == status
    assert '"name": "user:alice",\n      "requests": 3' in body
    assert 4 == len(re.findall(r'"p99": (?:11.9|12|12.1)\d*,?\n', body))
    assert ["edge,user:alice,users,v1,200,2,200", "edge,user:alice,users,v2,200,1,100"] == table.splitlines()[1:]
    assert "user:alice" in page
    assert (3.0, 3.0) == (
        analytics.sample("gateway_analytics_entries_total"),
        analytics.sample("gateway_analytics_stored_entries_total"),
    )


async def test_what_is_no_log_is_counted_and_harms_nobody(tmp_path: Path) -> None:
    """Bytes that are no message, and TCP logs."""
    tcp = als_pb2.StreamAccessLogsMessage()
    tcp.tcp_logs.log_entry.add()
    async with running(tmp_path) as analytics:
        await analytics.send(message("/v1/a"), b"\xff\xff", tcp, message("/v1/a", first=False))

        assert 2.0 == analytics.sample("gateway_analytics_refused_messages_total")
        assert 2.0 == analytics.sample("gateway_analytics_entries_total")


async def test_the_report_wants_the_token_and_probes_do_not(tmp_path: Path) -> None:
    """It tells who calls what."""
    async with running(tmp_path) as analytics:
        found = [
            (await analytics.get(path, ""))[0] for path in ("/", "/api/usage", "/api/usage.csv", "/metrics", "/healthz")
        ]

    assert [401, 401, 401, 401, 200] == found


@pytest.mark.parametrize("query", ["window=2h", "window=", "top=0", "top=x", "top=99999", "top=\u0663"])
async def test_nonsense_is_refused(tmp_path: Path, query: str) -> None:
    """With what is allowed."""
    async with running(tmp_path) as analytics:
        status, text = await analytics.get(f"/api/usage?{query}")

    assert (400, True) == (status, " is " in text)


async def test_what_cannot_be_stored_is_kept_until_it_can(tmp_path: Path) -> None:
    """Meanwhile the report answers 503; nothing is counted twice or lost."""
    async with running(tmp_path) as analytics:
        analytics.database.is_broken = True
        await analytics.send(message("/v1/a"))
        await analytics.worker.flush()
        await analytics.send(message("/v1/b", "/v1/c"))
        status, text = await analytics.get("/api/usage")
        errors = analytics.sample("gateway_analytics_storage_errors_total")
        analytics.database.is_broken = False
        await analytics.worker.flush()
        _, table = await analytics.get("/api/usage.csv")

    assert (503, "the usage cannot be read now\n", 2.0) == (status, text, errors)
    assert ["edge,user:alice,users,v1,200,3,300"] == table.splitlines()[1:]


async def test_what_envoy_wrote_and_nobody_got_is_in_the_report(tmp_path: Path) -> None:
    """Envoy says ten, three came."""
    counters = iter([0, *[10] * 10])

    async def ask(host: str) -> int:
        assert "127.0.0.1" == host
        return next(counters)

    async with running(tmp_path, ask_envoy=ask) as analytics:
        await analytics.send(message())
        await analytics.worker.count_losses()
        await analytics.send(message("/v1/a", "/v1/b", "/v1/c"))
        await analytics.worker.count_losses()
        await analytics.worker.count_losses()
        await analytics.worker.flush()
        _, body = await analytics.get("/api/usage?window=1h")

    assert '"lost": 7' in body
    assert 7.0 == analytics.sample("gateway_analytics_lost_entries_total")


async def test_an_envoy_that_is_too_busy_to_tell_is_asked_again(tmp_path: Path) -> None:
    """Though it sends nothing more; one that is gone is not asked for ever."""
    counters = iter([0, None, None, 10, 10, *[None] * 20])
    asked = 0

    async def ask(_host: str) -> int | None:
        nonlocal asked
        asked += 1
        return next(counters)

    async with running(tmp_path, ask_envoy=ask) as analytics:
        await analytics.send(message())
        await analytics.worker.count_losses()
        await analytics.worker.flush()
        assert 1.0 == analytics.sample("gateway_analytics_watched_envoys")
        await analytics.send(message("/v1/a", "/v1/b", "/v1/c"))
        for _ in range(14):
            await analytics.worker.count_losses()
        await analytics.worker.flush()
        _, body = await analytics.get("/api/usage?window=1h")

    assert '"lost": 7' in body
    assert 5 + 5 == asked


def test_who_is_at_the_other_end() -> None:
    """As gRPC writes peers."""
    assert ["127.0.0.1", "::1", ""] == [
        peer_host(peer) for peer in ("ipv4:127.0.0.1:5000", "ipv6:%5B::1%5D:5000", "unix:/run/x")
    ]


def test_the_protocol_of_databases_fits(tmp_path: Path) -> None:
    """What the contract tests run against is what the process uses."""
    database = SqliteDatabase(tmp_path / "usage.sqlite")

    def one(cursor: Cursor) -> int:
        cursor.execute("SELECT 1")
        return int(cursor.fetchall()[0][0])

    assert 1 == database.transaction(one)
    database.close()
