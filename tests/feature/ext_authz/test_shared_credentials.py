"""Revocation and nonces with real processes and a real Redis: what one replica learns all others act upon."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ext_authz.jwt.revocation import MAX_STALE_S
from ext_authz.redis_sets import RedisSets
from ext_authz.revocation_polling import RevocationPolling
from policy.signatures import SignedContent, Stamp, signature_headers
from policy.stores import RedisAddress, RevocationList
from tests.feature.ext_authz.harness import check, control_plane, eventually, ext_authz, snapshot
from tests.redis_servers import RedisServer, redis_running
from tests.unit.ext_authz.fixtures import (
    any_of,
    authz_policy,
    bearer,
    check_request,
    jwt_method,
    signatures_method,
    token,
)

pytestmark = [pytest.mark.redis, pytest.mark.timeout(60)]

CLIENT_SECRET = "the secret of billing, 32 bytes or more"
CLIENTS = json.dumps([{"id": "billing", "secret": CLIENT_SECRET}]).encode()
FLEET_S = 1.0
"""Within which a revocation holds everywhere."""


@dataclass
class Fleet:
    """Two replicas of ext_authz on one Redis."""

    addresses: list[str]

    async def statuses(self, message: Callable[[], bytes]) -> list[int]:
        """What each replica answers, one after the other."""
        return [(await check(address, message())).status for address in self.addresses]


@asynccontextmanager
async def fleet(redis: RedisServer) -> AsyncIterator[Fleet]:
    tokens = authz_policy("authz-jwt", any_of(jwt_method(revocation="revoked")))
    signed = authz_policy("authz-signed", any_of(signatures_method(shared=True, clock_skew_s=60)))
    async with control_plane() as plane:
        plane.publish(snapshot(tokens, signed, secrets={"redis": redis.url.encode(), "clients": CLIENTS}))
        async with ext_authz(plane.address) as one, ext_authz(plane.address) as other:
            yield Fleet([str((await process.line("ready"))["address"]) for process in (one, other)])


async def until(fleet: Fleet, message: Callable[[], bytes], wanted: int) -> float:
    """Wait until every replica answers so; return how long it took."""
    began_s = time.monotonic()
    async with asyncio.timeout(20):
        while set(await fleet.statuses(message)) != {wanted}:  # noqa: ASYNC110 - another process has no event
            await asyncio.sleep(0.01)
    return time.monotonic() - began_s


def signed_message() -> bytes:
    """A new request each time."""
    stamp = Stamp("billing", str(int(time.time())), f"nonce-{time.time_ns()}")
    content = SignedContent("GET", "api.example", "/hooks", b"")
    headers = signature_headers(CLIENT_SECRET.encode(), stamp, content)
    return check_request(headers, path="/hooks", policy="authz-signed", raw=True)


@pytest.mark.parametrize("name", ["alice", "token-1"])
async def test_revocation_on_a_fleet(redis_server: str, tmp_path: Path, name: str) -> None:
    """A token that passed everywhere is refused everywhere within a second of SADD, and passes again after SREM."""
    with redis_running(redis_server, tmp_path) as redis:
        async with fleet(redis) as running:
            message = check_request(bearer(token(jti="token-1")), policy="authz-jwt")
            other = check_request(bearer(token(sub="bob", jti="2")), policy="authz-jwt")
            await until(running, lambda: message, 200)
            redis.command("SADD", "revoked", name)
            revoked_s = await until(running, lambda: message, 401)
            others = await running.statuses(lambda: other)
            redis.command("SREM", "revoked", name)
            await until(running, lambda: message, 200)

    assert [200, 200] == others
    assert FLEET_S > revoked_s


async def test_replay_on_a_fleet(redis_server: str, tmp_path: Path) -> None:
    """A signed request counts once on all replicas; without Redis none passes; with it again, new ones do."""
    with redis_running(redis_server, tmp_path) as redis:
        async with fleet(redis) as running:
            await until(running, signed_message, 200)
            message = signed_message()
            once = await running.statuses(lambda: message)
            redis.pause()
            away = await running.statuses(signed_message)
            redis.resume()
            await until(running, signed_message, 200)
            again = await running.statuses(lambda: message)

    assert ([200, 401], [503, 503], [401, 401]) == (once, away, again)


async def test_nonces_leave_redis(redis_server: str, tmp_path: Path) -> None:
    """A nonce is held for as long as its signature is good, and not for ever."""
    with redis_running(redis_server, tmp_path) as redis:
        async with fleet(redis) as running:
            await until(running, signed_message, 200)
            keys = redis.command("KEYS", "test:nonce:*").split(b"\r\n")
            lifetime_s = int(redis.command("TTL", keys[2].decode())[1:].strip())

    assert 50 < lifetime_s <= 62


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def test_redis_away_for_long(redis_server: str, tmp_path: Path) -> None:
    """The last set serves for the stated age, then nothing is known until Redis is back."""
    clock = Clock()
    with redis_running(redis_server, tmp_path) as redis:
        polling = RevocationPolling(RedisSets, interval_s=0.01, monotonic_s=clock)
        source = RevocationList(RedisAddress(redis.url, ""), "revoked")
        polling.want(frozenset({source}))
        task = asyncio.create_task(polling.run())
        try:
            redis.command("SADD", "revoked", "a")
            await eventually(lambda: polling.revocations.of(source) == {"a"})
            redis.kill()
            clock.now_s = MAX_STALE_S
            await asyncio.sleep(0.1)  # several reads fail
            served = polling.revocations.of(source)
            clock.now_s = MAX_STALE_S + 0.1
            await eventually(lambda: polling.revocations.of(source) is None)
            age_s = polling.ages_s()["revoked"]
            redis.start()
            await eventually(lambda: polling.revocations.of(source) == frozenset())
            polling.want(frozenset())
            await eventually(lambda: polling.revocations.of(source) is None)
        finally:
            task.cancel()
            await asyncio.wait([task])

    assert ({"a"}, MAX_STALE_S + 0.1) == (served, age_s)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "redis+cluster://127.0.0.1:1", "http://nonsense"])
async def test_redis_that_never_was(url: str) -> None:
    """Nothing is known, and nothing ends."""
    polling = RevocationPolling(RedisSets, interval_s=0.01)
    source = RevocationList(RedisAddress(url, ""), "revoked")
    polling.want(frozenset({source}))
    task = asyncio.create_task(polling.run())
    await asyncio.sleep(0.05)

    assert not task.done()
    assert polling.revocations.of(source) is None
    assert {"revoked": float("inf")} == polling.ages_s()
    task.cancel()
    await asyncio.wait([task])


async def test_key_of_another_kind(redis_server: str, tmp_path: Path) -> None:
    """A key that holds no set says nothing about anybody."""
    with redis_running(redis_server, tmp_path) as redis:
        async with fleet(redis) as running:
            message = check_request(bearer(token()), policy="authz-jwt")
            redis.command("SET", "revoked", "text")
            statuses = await running.statuses(lambda: message)
            redis.command("DEL", "revoked")
            await until(running, lambda: message, 200)

    assert set(statuses) <= {200, 503}
