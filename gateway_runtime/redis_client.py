"""Connections to the Redis that replicas share: every topology of `stores.redis.url`, and one error for all that fails.

Everything about connections, logins and topology is redis-py's; nothing is retried that may have been done, but for a
connection that was found closed.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from redis.asyncio import Redis, Sentinel
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError, TimeoutError

CONNECT_TIMEOUT_S = 1.0


class AddressError(ValueError):
    """What is configured is no address of a Redis; never with the address, which may hold a password."""


class StoreError(Exception):
    """The store did not do it, or nobody knows."""

    def __init__(self, reason: str, *, is_slow: bool = False) -> None:
        super().__init__(reason)
        self.is_slow = is_slow
        """It may be there all the same."""


def open_client(url: str) -> Redis | RedisCluster:
    """From `stores.redis.url`; connects when it is first used.

    Raises:
        AddressError: the address is not understood; it is not part of the text, as it may hold a password.
    """
    try:
        scheme = urlsplit(url).scheme
        if scheme in ("redis", "rediss"):
            return _server(url)
        if scheme == "redis+sentinel":
            return _behind_sentinel(url)
        if scheme == "redis+cluster":
            return _cluster(url)
    except (ValueError, RedisError) as error:
        raise AddressError(f"the address of Redis: {type(error).__name__}") from None
    raise AddressError("the address of Redis is none (redis://, rediss://, redis+sentinel://, redis+cluster://)")


def _options() -> dict[str, Any]:
    """Of every connection. Calls have their own time limit, which also ends those that only wait for a connection.

    Of redis-py's own limits there is only the one on connecting: with `socket_timeout` it makes a task of every write.
    """
    return {"socket_timeout": None, "socket_connect_timeout": CONNECT_TIMEOUT_S}


def _retry() -> Retry:
    """Once, at once: an idle connection that the server has closed shows itself only when it is used."""
    return Retry(NoBackoff(), 1, supported_errors=(ConnectionError,))


def _server(url: str) -> Redis:
    return Redis.from_pool(ConnectionPool.from_url(url, retry=_retry(), **_options()))


def _hosts(netloc: str, default_port: int) -> list[tuple[str, int]]:
    """`user:password@a:1,b:2` -> [("a", 1), ("b", 2)]; IPv6 addresses stand in brackets."""
    hosts = []
    for each in netloc.rpartition("@")[2].split(","):
        parts = urlsplit(f"//{each}")
        if not parts.hostname:
            raise ValueError("no host")
        hosts.append((parts.hostname, parts.port or default_port))
    return hosts


def _login(netloc: str) -> dict[str, str | None]:
    user, _, password = netloc.rpartition("@")[0].partition(":")
    return {"username": unquote(user) or None, "password": unquote(password) or None}


def _tls(query: dict[str, list[str]]) -> dict[str, Any]:
    """`?tls=true&ssl_ca_certs=/path`: certificate and host name are verified."""
    if query.get("tls", ["false"])[0] != "true":
        return {}
    names = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
    return {"ssl": True, **{name: query[name][0] for name in names if name in query}}


class _PrimaryRedis(Redis):
    """Closes its connections to the Sentinels too, which redis-py leaves open."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        if isinstance(self.connection_pool, SentinelConnectionPool):
            for sentinel in self.connection_pool.sentinel_manager.sentinels:
                await sentinel.aclose()


def _behind_sentinel(url: str) -> Redis:
    """redis+sentinel://user:password@host:26379,host:26379/PRIMARY[/DB][?sentinel_password=...&tls=true]"""
    parts = urlsplit(url)
    primary, _, database = parts.path.strip("/").partition("/")
    if not primary:
        raise ValueError("the name of the primary is missing")
    query = parse_qs(parts.query)
    sentinel_login = {
        name: query[f"sentinel_{name}"][0] for name in ("username", "password") if f"sentinel_{name}" in query
    }
    sentinel = Sentinel(
        _hosts(parts.netloc, 26379),
        sentinel_kwargs={**_options(), **_tls(query), **sentinel_login},
        **_options(),
        **_login(parts.netloc),
        **_tls(query),
    )
    redis: Redis = sentinel.master_for(primary, _PrimaryRedis, db=int(database or 0), retry=_retry())
    return redis


def _cluster(url: str) -> RedisCluster:
    """redis+cluster://user:password@host:6379,host:6379[?tls=true]; the nodes that are named tell of the others."""
    parts = urlsplit(url)
    nodes = [ClusterNode(host, port) for host, port in _hosts(parts.netloc, 6379)]
    options = {**_options(), **_login(parts.netloc), **_tls(parse_qs(parts.query))}
    return RedisCluster(startup_nodes=nodes, retry=Retry(NoBackoff(), 0), **options)


def packed(words: Sequence[bytes]) -> bytes:
    """One command as it goes over the wire; redis-py's own packing takes three times as long for hundreds of words."""
    return b"".join([b"*%d\r\n" % len(words), *[b"$%d\r\n%b\r\n" % (len(word), word) for word in words]])


async def answer_to(redis: Redis, command: bytes) -> Any:
    """What a server answers to a command that is `packed`.

    As `Redis.execute_command`, without what that does for other commands. A connection that was closed meanwhile is
    opened once more.
    """
    pool = redis.connection_pool
    connection = await pool.get_connection()

    async def exchange() -> Any:
        await connection.send_packed_command(command)
        return await connection.read_response()

    try:
        return await connection.retry.call_with_retry(exchange, lambda _: connection.disconnect())
    finally:
        await pool.release(connection)


async def asked(answer: Awaitable[Any]) -> Any:
    """Every way in which a store can fail, as one; texts of Redis stay away from logs, they may show keys."""
    try:
        return await answer
    except TimeoutError:
        raise StoreError("TimeoutError", is_slow=True) from None
    except Exception as error:  # a cluster that is away is no RedisError, and what is no answer can raise anything
        raise StoreError(type(error).__name__) from error


def raise_if_cancelled() -> None:
    """A cancellation that redis-py has swallowed ends the task all the same.

    It looks at an idle connection under `asyncio.timeout(0)`, which takes a cancellation that was already on its way
    for its own (seen with CPython 3.11); without this, a process would not end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
