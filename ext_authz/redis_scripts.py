"""Redis as the limiter needs it: a few parts of a script's work in one round trip, and one announcement.

One server (also behind Sentinel, or TLS) takes all parts in one EVALSHA. A Cluster takes one EVALSHA for each slot, all
those of a node in one write. Connections are those of `gateway_runtime.redis_client`.
"""

import hashlib
from collections.abc import Sequence
from typing import Protocol, TypeGuard

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, PipelineCommand, RedisCluster
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, NoScriptError, RedisError

from ext_authz.limiter.parts import Part
from ext_authz.limiter.script import ANNOUNCE, CHARGE, RESULT
from gateway_runtime.redis_client import AddressError, StoreError, answer_to, asked, open_client, packed
from gateway_runtime.telemetry import logger

_SHA = hashlib.sha1(CHARGE.encode(), usedforsecurity=False).hexdigest().encode()


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


def open_scripts(url: str) -> Scripts:
    """Scripts on the Redis of `open_client`, which see for errors."""
    client = open_client(url)
    return ClusterScripts(client) if isinstance(client, RedisCluster) else ServerScripts(client)


def usable_scripts(url: str) -> Scripts:
    """As `open_scripts`; an address that is not understood is a Redis that is away, and the log says so."""
    try:
        return open_scripts(url)
    except AddressError as error:
        logger("limiter").error("rate_limit_store_unusable", reason=str(error))
        return NoScripts()


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
        if not _is_result(reply, len(keys)):
            raise StoreError("unexpected answer")
        replies: list[bytes | None] = []
        start = 0
        for part in parts:
            end = start + len(part.keys) * RESULT.size
            replies.append(reply[start:end])
            start = end
        return replies

    async def _evaluated(self, keys: list[bytes], entries: bytes) -> bytes:
        what = (b"%d" % len(keys), *keys, entries)
        try:
            reply: bytes = await answer_to(self._redis, packed((b"EVALSHA", _SHA, *what)))
        except NoScriptError:
            reply = await answer_to(self._redis, packed((b"EVAL", CHARGE.encode(), *what)))
        return reply

    async def announce(self, key: bytes, name: str, silence_s: int) -> int:
        return int(await asked(self._redis.execute_command("EVAL", ANNOUNCE, 1, key, name, silence_s)))

    async def disconnect(self) -> None:
        await self._redis.connection_pool.disconnect(inuse_connections=False)

    async def close(self) -> None:
        await self._redis.aclose(close_connection_pool=True)


def _is_result(reply: object, keys: int) -> TypeGuard[bytes]:
    """Whether it is what the script says; a proxy, or another Redis than ours, may answer anything."""
    return isinstance(reply, bytes) and len(reply) == keys * RESULT.size


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
            keys = sum(len(parts[index].keys) for index in indices)
            start = 0
            for index in indices:
                end = start + len(parts[index].keys) * RESULT.size
                replies[index] = reply[start:end] if _is_result(reply, keys) else None
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
