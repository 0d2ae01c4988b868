"""Two ext_procs behind one Envoy, with one Redis: what one has stored is everybody's, and one request fills it."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest
from aiohttp import web

from tests.e2e.fleet import Envoy, ExtProc, Fleet, fleet, write
from tests.e2e.stack import GATEWAYCTL
from tests.e2e.waiting import until
from tests.ports import free_port, free_ports
from tests.redis_servers import RedisServer, redis_running

pytestmark = [
    pytest.mark.envoy,
    pytest.mark.redis,
    pytest.mark.xdist_group("cache in redis"),
    pytest.mark.timeout(120),
]


@dataclass
class Service:
    """Answers when the test says so, and counts."""

    port: int = 0
    asked: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path}")
        await self.gate.wait()
        return web.Response(text=f"{len(self.asked)}", headers={"cache-control": "max-age=600", "cache-tag": "t"})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        try:
            yield
        finally:
            await runner.cleanup()


@dataclass
class Shared:
    """What runs."""

    url: str
    service_port: int
    http: str
    envoy: Envoy
    first: ExtProc
    second: ExtProc
    ships: Fleet
    xds_port: int
    redis: RedisServer

    @asynccontextmanager
    async def service(self) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
        service = Service(self.service_port)
        limits = httpx.Limits(max_connections=200)
        async with service.running(), httpx.AsyncClient(base_url=self.url, limits=limits, timeout=30) as client:
            yield service, client

    async def cache(self, *words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *GATEWAYCTL, "cache", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, error = await process.communicate()
        assert 0 == process.returncode, error.decode()
        return out.decode()


@pytest.fixture(scope="module")
def shared(redis_server: str, envoy_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    folder = tmp_path_factory.mktemp("shared")
    with redis_running(redis_server, folder) as redis, fleet(folder, envoy_binary) as ships:
        public, service, procs = free_port(), free_port(), free_ports(2)
        document = {
            "version": 1,
            "name": "shared",
            "listeners": [{"name": "public", "address": "127.0.0.1", "port": public}],
            "services": {"items": {"endpoints": [{"address": "127.0.0.1", "port": service}]}},
            "stores": {"cache": "redis", "redis": {"url": redis.url}},
            "callouts": {"ext_proc": {"endpoints": [{"address": "127.0.0.1", "port": procs + n} for n in range(2)]}},
            "routes": [
                {"name": "items", "match": {"path_prefix": "/"}, "service": "items", "auth": "none", "cache": {}}
            ],
        }
        write(folder / "gateway.yaml", document)
        control_plane = ships.control_plane()
        first, second = (ships.ext_proc(control_plane.port, procs + n, "--notice", "1") for n in range(2))
        envoy = ships.envoy(control_plane.port, cluster="shared")
        envoy.until_ready()
        for each in (first, second):
            until(lambda each=each: each.metric("gateway_cache_store_up") == 1.0, "Redis in use")  # type: ignore[misc]
        until(lambda: envoy.stat("cluster.callout_ext_proc.membership_healthy") == 2, "both are healthy")
        yield Shared(
            f"http://127.0.0.1:{public}",
            service,
            control_plane.http,
            envoy,
            first,
            second,
            ships,
            control_plane.port,
            redis,
        )


async def until_async(condition: "object") -> None:
    async with asyncio.timeout(30):
        while not condition():  # type: ignore[operator]  # noqa: ASYNC110 - what is waited for happens elsewhere
            await asyncio.sleep(0.01)


async def test_one_request_fills_the_whole_fleet(shared: Shared) -> None:
    """Forty concurrent misses through both processes are one for the service; then both have it."""
    async with shared.service() as (service, client):
        burst = [asyncio.create_task(client.get("/burst")) for _ in range(40)]
        await until_async(lambda: shared.envoy.stat("cluster.callout_ext_proc.upstream_rq_active") == len(burst))
        await until_async(lambda: len(service.asked) == 1)
        service.gate.set()
        answers = await asyncio.gather(*burst)
        later = [await client.get("/burst") for _ in range(4)]

    assert ({"1"}, {200}) == ({each.text for each in answers}, {each.status_code for each in answers})
    assert ["GET /burst"] == service.asked
    told = [each.headers["cache-status"] for each in answers]
    # Whom a busy process reads only after the answer is stored has not waited for it.
    assert 39 == sum("collapsed" in each or "; hit" in each for each in told)
    assert any("collapsed" in each for each in told)
    assert all("; hit" in each.headers["cache-status"] for each in later)


async def test_a_purge_and_a_write_hold_everywhere(shared: Shared) -> None:
    """Whichever process is asked next: what was tagged, or written through one of them, is fetched anew."""
    async with shared.service() as (service, client):
        service.gate.set()
        before = [await client.get("/purged") for _ in range(4)]
        told = await shared.cache("purge", "--tag", "t", "--server", shared.http)
        after = [await client.get("/purged") for _ in range(4)]
        await client.post("/purged")
        service.asked.append("enough")
        async with asyncio.timeout(5):
            while (await client.get("/purged")).text == after[0].text:
                pass
        admins = (f"http://127.0.0.1:{each.admin_port}" for each in shared.ships.running_ext_procs())
        stats = await shared.cache("stats", *(word for admin in admins for word in ("--ext-proc", admin)))

    assert {"1"} == {each.text for each in before}
    assert "purged on 2 ext_proc" in told
    assert {"2"} == {each.text for each in after}
    assert "shared" in stats.splitlines()[0]


async def test_a_killed_leader_is_replaced(shared: Shared) -> None:
    """SIGKILL while its request is with the service: its lease expires, one of the others asks, nobody fails."""
    async with shared.service() as (service, client):
        leader = asyncio.create_task(client.get("/killed"))
        await until_async(lambda: len(service.asked) == 1)
        first, second = shared.ships.running_ext_procs()
        before = first.metric("gateway_cache_fetches_total"), second.metric("gateway_cache_fetches_total")
        followers = [asyncio.create_task(client.get("/killed")) for _ in range(10)]

        def looks_again() -> list[bool]:
            """Who waits for the other one's lease asks Redis again and again."""
            return [
                each.metric("gateway_cache_fetches_total") - known > 3
                for each, known in zip((first, second), before, strict=True)
            ]

        await until_async(lambda: any(looks_again()))
        holder = second if looks_again()[0] else first
        holder.process.end(signal.SIGKILL)
        await until_async(lambda: len(service.asked) >= 2)
        service.gate.set()
        answers = await asyncio.gather(leader, *followers)
        restarted = shared.ships.ext_proc(shared.xds_port, holder.port, "--notice", "1")
        until(lambda: restarted.metric("gateway_cache_store_up") == 1.0, "Redis in use")

    assert {200} == {each.status_code for each in answers}
    assert 9 > len(service.asked)


async def test_a_drained_process_loses_no_request(shared: Shared) -> None:
    """SIGTERM under load of hits, misses and followers: every answer is a 200, and the process ends."""
    statuses: list[int] = []
    async with shared.service() as (service, client):
        service.gate.set()
        leaving = shared.ships.running_ext_procs()[0]
        ended = asyncio.create_task(asyncio.to_thread(leaving.process.end))

        async def load(worker: int) -> None:
            number = 0
            while not ended.done() or number < 20:
                number += 1
                path = "/popular" if number % 2 else f"/drain/{worker % 5}/{number}"
                statuses.append((await client.get(path)).status_code)

        await asyncio.gather(*(load(worker) for worker in range(10)))
        await ended
        restarted = shared.ships.ext_proc(shared.xds_port, leaving.port, "--notice", "1")
        until(lambda: restarted.metric("gateway_cache_store_up") == 1.0, "Redis in use")

    assert {200} == set(statuses)
    assert 200 <= len(statuses)


async def test_requests_pass_while_redis_is_silent(shared: Shared) -> None:
    """With what each process has in memory; afterwards it is shared again."""
    processes = shared.ships.running_ext_procs()
    async with shared.service() as (service, client):
        service.gate.set()
        await client.get("/known")
        shared.redis.pause()
        try:
            answers = [await client.get(f"/silent{number}") for number in range(8)] + [await client.get("/known")]
            await until_async(lambda: all(each.metric("gateway_cache_store_up") == 0.0 for each in processes))
        finally:
            shared.redis.resume()
        await until_async(lambda: all(each.metric("gateway_cache_store_up") == 1.0 for each in processes))

    assert {200} == {each.status_code for each in answers}
    assert all(each.metric("gateway_cache_store_failures_total") > 0 for each in processes)
