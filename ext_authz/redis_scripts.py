"""Redis as the limiter needs it: a few parts of a script's work in one round trip, and one announcement.

One server (also behind Sentinel, or TLS) takes all parts in one EVALSHA. A Cluster takes one EVALSHA for each slot, all
those of a node in one write. Everything about connections, logins and topology is redis-py's; nothing is retried that
may have been done, but for a connection that was found closed.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from redis.asyncio import Redis, Sentinel
from redis.asyncio.cluster import ClusterNode, PipelineCommand, RedisCluster
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ConnectionError,
    MovedError,
    NoScriptError,
    RedisClusterException,
    RedisError,
    TimeoutError,
)

from ext_authz.limiter.parts import Part
from ext_authz.limiter.script import ANNOUNCE, CHARGE, RESULT
from gateway_runtime.telemetry import logger
from policy.errors import PolicyError

CONNECT_TIMEOUT_S = 1.0
_SHA = hashlib.sha1(CHARGE.encode(), usedforsecurity=False).hexdigest()


class StoreError(Exception):
    """The store did not do it, or nobody knows."""

    def __init__(self, reason: str, *, is_slow: bool = False) -> None:
        super().__init__(reason)
        self.is_slow = is_slow
        """It may be there all the same."""


class Scripts(Protocol):
    """One store."""

    is_split: bool
    """Keys of different callers may live on different servers."""

    async def charge(self, parts: Sequence[Part]) -> list[bytes | None]:
        """The script's result for each part; None for one that failed.

        Raises:
            StoreError: all of them did.
        """

    async def announce(self, key: bytes, name: str, silence_s: int) -> int:
        """Write that this replica lives; returns how many do. Raises StoreError."""

    async def disconnect(self) -> None:
        """Drop every connection; the next call makes new ones, to whoever is the primary then."""

    async def close(self) -> None: ...


def open_client(url: str) -> Redis | RedisCluster:
    """From `stores.redis.url`; connects when it is first used.

    Raises:
        PolicyError: the address is not understood; it is not part of the text, as it may hold a password.
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
        raise PolicyError(f"the address of Redis: {type(error).__name__}") from None
    raise PolicyError("the address of Redis is none (redis://, rediss://, redis+sentinel://, redis+cluster://)")


def open_scripts(url: str) -> Scripts:
    """Scripts on the Redis of `open_client`, which see for errors."""
    client = open_client(url)
    return ClusterScripts(client) if isinstance(client, RedisCluster) else ServerScripts(client)


def usable_scripts(url: str) -> Scripts:
    """As `open_scripts`; an address that is not understood is a Redis that is away, and the log says so."""
    try:
        return open_scripts(url)
    except PolicyError as error:
        logger("limiter").error("rate_limit_store_unusable", reason=str(error))
        return NoScripts()


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


class NoScripts:
    """Stands for an address that cannot be used: a Redis that is always away."""

    is_split = False

    async def charge(self, parts: Sequence[Part]) -> list[bytes | None]:
        raise StoreError("unusable address")

    async def announce(self, key: bytes, name: str, silence_s: int) -> int:
        raise StoreError("unusable address")

    async def disconnect(self) -> None:
        """There is no connection."""

    async def close(self) -> None:
        """There is no connection."""


class ServerScripts:
    """One server, whoever it is at the moment."""

    is_split = False

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def charge(self, parts: Sequence[Part]) -> list[bytes | None]:
        keys = [key for part in parts for key in part.keys]
        entries = b"".join([part.entries for part in parts])
        reply = await asked(self._evaluated(keys, entries))
        replies: list[bytes | None] = []
        start = 0
        for part in parts:
            end = start + len(part.keys) * RESULT.size
            replies.append(reply[start:end])
            start = end
        return replies

    async def _evaluated(self, keys: list[bytes], entries: bytes) -> bytes:
        try:
            reply: bytes = await self._redis.execute_command("EVALSHA", _SHA, len(keys), *keys, entries)
        except NoScriptError:
            reply = await self._redis.execute_command("EVAL", CHARGE, len(keys), *keys, entries)
        return reply

    async def announce(self, key: bytes, name: str, silence_s: int) -> int:
        return int(await asked(self._redis.execute_command("EVAL", ANNOUNCE, 1, key, name, silence_s)))

    async def disconnect(self) -> None:
        await self._redis.connection_pool.disconnect(inuse_connections=False)

    async def close(self) -> None:
        await self._redis.aclose(close_connection_pool=True)


class ClusterScripts:
    """The primaries of a Redis Cluster."""

    is_split = True

    def __init__(self, cluster: RedisCluster) -> None:
        self._cluster = cluster

    async def charge(self, parts: Sequence[Part]) -> list[bytes | None]:
        slots: dict[int, list[int]] = {}
        for index, part in enumerate(parts):
            slots.setdefault(key_slot(part.keys[0]), []).append(index)
        calls = {slot: self._call(slot, [parts[index] for index in indices]) for slot, indices in slots.items()}
        await asked(self._run(calls))
        replies: list[bytes | None] = [None] * len(parts)
        for slot, indices in slots.items():
            reply = calls[slot].result
            start = 0
            for index in indices:
                end = start + len(parts[index].keys) * RESULT.size
                replies[index] = reply[start:end] if isinstance(reply, bytes) else None
                start = end
        if not any(replies):
            first = next(iter(calls.values())).result
            raise StoreError(type(first).__name__)
        return replies

    @staticmethod
    def _call(slot: int, parts: Sequence[Part]) -> PipelineCommand:
        keys = [key for part in parts for key in part.keys]
        return PipelineCommand(slot, "EVALSHA", _SHA, len(keys), *keys, b"".join(part.entries for part in parts))

    async def _run(self, calls: dict[int, PipelineCommand]) -> None:
        """One write to each node; then, one by one, what a node has not got (the script) or no longer (the slot)."""
        await self._cluster.initialize()
        nodes: dict[str, tuple[ClusterNode, list[PipelineCommand]]] = {}
        for slot, call in calls.items():
            node = self._cluster.nodes_manager.get_node_from_slot(slot)
            nodes.setdefault(node.name, (node, []))[1].append(call)
        for node, each in nodes.values():
            await self._pipelined(node, each)
        for call in calls.values():
            if isinstance(call.result, (NoScriptError, MovedError, AskError)):
                await self._again(call)

    @staticmethod
    async def _pipelined(node: ClusterNode, calls: list[PipelineCommand]) -> None:
        """A node that is away leaves its error in its calls; the other nodes' callers are not kept from theirs."""
        try:
            await node.execute_pipeline(calls)
        except (RedisError, OSError) as error:
            for call in calls:
                call.result = error

    async def _again(self, call: PipelineCommand) -> None:
        """redis-py follows the redirection; the script travels along, as the other node may not know it."""
        if isinstance(call.result, MovedError):
            await self._cluster.nodes_manager.initialize()
        try:
            call.result = await self._cluster.execute_command("EVAL", CHARGE, *call.args[2:])
        except (RedisError, OSError) as error:
            call.result = error

    async def announce(self, key: bytes, name: str, silence_s: int) -> int:
        return int(await asked(self._cluster.execute_command("EVAL", ANNOUNCE, 1, key, name, silence_s)))

    async def disconnect(self) -> None:
        await self._cluster.aclose()

    async def close(self) -> None:
        await self._cluster.aclose()


async def asked(answer: Awaitable[Any]) -> Any:
    """Every way in which a store can fail, as one; texts of Redis stay away from logs, they may show keys."""
    try:
        return await answer
    except TimeoutError:
        raise StoreError("TimeoutError", is_slow=True) from None
    except (RedisError, RedisClusterException, OSError) as error:  # a cluster that is away is no RedisError
        raise StoreError(type(error).__name__) from error


def raise_if_cancelled() -> None:
    """A cancellation that redis-py has swallowed ends the task all the same.

    It looks at an idle connection under `asyncio.timeout(0)`, which takes a cancellation that was already on its way
    for its own (seen with CPython 3.11); without this, a process would not end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
