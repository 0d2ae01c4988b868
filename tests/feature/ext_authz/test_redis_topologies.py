"""Addresses of every kind: TLS, Sentinel with a failover, a login, and those that are none."""

from pathlib import Path

import pytest

from ext_authz.redis_scripts import open_scripts, usable_scripts
from ext_authz.redis_store import Tuning
from gateway_runtime.redis_client import AddressError
from tests.feature.ext_authz.harness import eventually
from tests.feature.ext_authz.redis_harness import asked, charge, running
from tests.feature.redis_topologies import sentinel_running, tls_in_front_of
from tests.redis_servers import RedisServer

pytestmark = [pytest.mark.redis, pytest.mark.xdist_group("redis topologies")]

HOUR = 3600
QUICK = Tuning(timeout_s=0.5, probe_interval_s=0.02, announce_interval_s=0.2)


async def test_tls(redis: RedisServer, tmp_path: Path) -> None:
    """The certificate is verified: with its CA limits are in Redis, without it that is away."""
    async with tls_in_front_of(redis.port, tmp_path) as (port, ca):
        async with running(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={ca}") as store:
            verdicts = [(await asked(store, charge(2, HOUR))).admitted for _ in range(3)]

            assert ([True, True, False], 0) == (verdicts, store.failures)
        async with running(f"rediss://127.0.0.1:{port}/0", tuning=QUICK) as store:
            assert (await asked(store, charge(2, HOUR))).admitted
            await eventually(lambda: not store.is_up)


async def test_a_failover_behind_sentinel(redis_server: str, tmp_path: Path) -> None:
    """When the primary dies the limits go on in the replica that Sentinel promotes, with their fill."""
    async with sentinel_running(redis_server, tmp_path) as watched, running(watched.url, tuning=QUICK) as store:
        spent = charge(3, HOUR, key="spent")
        before = [(await asked(store, spent)).admitted for _ in range(3)]
        await eventually(lambda: b":0" not in watched.replica.command("EXISTS", f"{store_key(store)}"))
        watched.primary.kill()
        await watched.promoted()
        await asked(store, charge(3, HOUR, key="notices"))
        await eventually(lambda: store.is_up and not store.fallback.debts)

        assert [True] * 3 == before
        assert not (await asked(store, spent)).admitted
        assert store.calls > 0


def store_key(store: object) -> str:
    return f"{vars(store)['_prefix']}{{spent}}limit"


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost",
        "redis+sentinel://localhost",
        "redis+sentinel://localhost/main/x",
        "redis+cluster://",
        "redis://localhost:port",
    ],
)
async def test_addresses_that_are_none(url: str) -> None:
    """They are an error without the address in it; a process that has one runs, without Redis."""
    with pytest.raises(AddressError) as raised:
        open_scripts(url)
    assert "localhost" not in str(raised.value)
    async with running(usable_scripts(url), tuning=QUICK) as store:
        assert (await asked(store, charge(2, HOUR))).admitted
        await eventually(lambda: not store.is_up)
