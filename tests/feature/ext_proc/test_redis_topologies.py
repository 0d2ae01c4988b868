"""The ways to a Redis that the cache takes: TLS, Sentinel with a failover, a Cluster of three."""

import asyncio
from pathlib import Path

import pytest

from ext_proc.cache.shared import Lease
from policy.purge import ByTag, Everything
from tests.feature.ext_authz.harness import DEADLINE_S, eventually
from tests.feature.ext_proc.redis_harness import QUICK, Process, fresh, place, running
from tests.feature.ext_proc.test_redis_faults import has
from tests.feature.redis_topologies import sentinel_running, tls_in_front_of
from tests.redis_servers import RedisServer, cluster_running

pytestmark = [pytest.mark.redis, pytest.mark.xdist_group("redis topologies")]


async def test_tls(redis: RedisServer, tmp_path: Path) -> None:
    """The certificate is verified: with its CA responses are shared and purges read, without it Redis is away."""
    async with tls_in_front_of(redis.port, tmp_path) as (port, ca):
        url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={ca}"
        async with running(url, prefix="tls:") as one, running(url, prefix="tls:") as other:
            await one.fill(place("/a"), fresh(b"x" * 300_000, cache_tag="t"))
            await eventually_has(other, "/a")
            one.store.purge("purge-1", ByTag("t"))
            await eventually(lambda: [ByTag("t")] == other.memory.purged)
            assert not await has(other, "/a")
        async with running(f"rediss://127.0.0.1:{port}/0", tuning=QUICK, wait=False) as it:
            await eventually(lambda: it.metric("failures_total", operation="probe", reason="ConnectionError") > 0)
            assert Lease.DOWN is (await it.fetch(place("/a"), lease=True)).lease


async def test_a_failover_behind_sentinel(redis_server: str, tmp_path: Path) -> None:
    """When the primary dies requests pass; in the replica that is promoted, what was stored and purged goes on."""
    async with (
        sentinel_running(redis_server, tmp_path) as watched,
        running(watched.url, prefix="sentinel:", tuning=QUICK) as one,
        running(watched.url, prefix="sentinel:", tuning=QUICK) as other,
    ):
        await one.fill(place("/kept"))
        await one.fill(place("/tagged"), fresh(cache_tag="t"))
        await one.settle()
        key = one.store._keys.of_place(place("/tagged"))[1].decode()
        await eventually(lambda: b":1" in watched.replica.command("EXISTS", key))
        watched.primary.kill()
        await one.fetch(place("/kept"), lease=True)
        await eventually(lambda: not one.store.is_up and not other.store.is_up)
        one.store.purge("purge-1", ByTag("t"))
        meanwhile = await one.fetch(place("/kept"), lease=True)
        await watched.promoted()
        await eventually(lambda: one.store.is_up and other.store.is_up)
        await eventually(lambda: [ByTag("t")] == other.memory.purged)
        found = [(await has(each, "/kept"), await has(each, "/tagged")) for each in (one, other)]
        await other.fill(place("/new"))
        await other.settle()

        assert await has(one, "/new")
    assert Lease.DOWN is meanwhile.lease
    assert [(True, False)] * 2 == found


async def test_a_cluster(redis_server: str, tmp_path: Path) -> None:
    """Entries on all nodes, a moved slot, purges of everything, and one node away."""
    with cluster_running(redis_server, tmp_path) as nodes:
        async with running(f"redis+cluster://127.0.0.1:{nodes[0].port}", tuning=QUICK) as it:
            paths = [f"/{number}" for number in range(12)]
            for path in paths:
                await it.fill(place(path), fresh(cache_tag="t"))
            assert all([await has(it, path) for path in paths])
            key = it.store._keys.of_place(place("/0"))[1].decode()
            slot = nodes[0].command("CLUSTER", "KEYSLOT", key).strip(b":\r\n").decode()
            ids = [node.command("CLUSTER", "MYID").split()[1].decode() for node in nodes]
            owner = min(int(slot) // (16384 // 3), 2)
            for node in nodes:
                node.command("CLUSTER", "SETSLOT", slot, "NODE", ids[(owner + 1) % 3])
            await it.fill(place("/0"))
            assert await has(it, "/0")
            it.store.purge("purge-1", Everything())
            await eventually(lambda: it.store._purges.is_settled)
            await eventually(lambda: it.metric("freed_total") >= len(paths))
            assert not any([await has(it, path) for path in paths])
            nodes[1].pause()
            answers = [await it.fetch(place(path), lease=True) for path in paths]
            nodes[1].resume()
            await eventually(lambda: it.store.is_up)

            assert Lease.DOWN in {answer.lease for answer in answers}
            await it.fill(place("/9"))
            assert await has(it, "/9")


async def eventually_has(process: Process, path: str) -> None:
    """Large bodies are compressed beside everything else."""
    async with asyncio.timeout(DEADLINE_S):
        while not await has(process, path):
            pass
