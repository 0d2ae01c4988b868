"""Many small scripts in one round trip, on one Redis or on the nodes of a Cluster.

Every call is one script on keys of one slot. What one of them comes to, an error included, is its own result: only a
store that cannot be reached fails as a whole.
"""

import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, PipelineCommand, RedisCluster
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ConnectionError,
    MovedError,
    NoScriptError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from gateway_runtime.redis_client import AddressError, StoreError, asked, open_client
from gateway_runtime.telemetry import logger

Argument = bytes | str | int
_SCAN_COUNT = 1000


@dataclass(frozen=True, slots=True)
class Script:
    """A script, sent by its digest."""

    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest())


@dataclass(frozen=True, slots=True)
class Call:
    script: Script
    keys: tuple[bytes, ...]
    """All of one slot."""
    arguments: tuple[Argument, ...] = ()

    @property
    def size(self) -> int:
        return sum(len(each) for each in self.arguments if isinstance(each, bytes))

    def command(self, *, by_digest: bool) -> tuple[Argument, ...]:
        name, text = ("EVALSHA", self.script.sha) if by_digest else ("EVAL", self.script.text)
        return (name, text, len(self.keys), *self.keys, *self.arguments)


class Calls(Protocol):
    """One store. Everything raises StoreError if it cannot be reached."""

    async def load(self, scripts: Iterable[Script]) -> None:
        """Make them known, or calls that meet an unknown one are done after those of others that they came before."""

    async def run(self, calls: Sequence[Call]) -> list[Any]:
        """The result of each, in order; an error of one of them is its result."""

    async def spread(self, script: Script, keys: Sequence[bytes], arguments: Sequence[Argument] = ()) -> list[Any]:
        """What a script that takes any number of keys comes to for each of these, of whatever slots.

        Args:
            arguments: one for each key, or none.
        """

    async def ask(self, key: bytes, *command: Argument) -> Any:
        """One plain command on one key, on a connection of its own: it may block."""

    def scan(self, pattern: bytes) -> AsyncIterator[list[bytes]]:
        """Every key of this pattern, some at a time."""

    async def disconnect(self) -> None:
        """Drop every connection; the next call makes new ones, to whoever is the primary then."""

    async def close(self) -> None: ...


def open_calls(url: str) -> Calls:
    """On the Redis of `open_client`, which see for errors."""
    client = open_client(url)
    return ClusterCalls(client) if isinstance(client, RedisCluster) else ServerCalls(client)


def usable_calls(url: str) -> Calls:
    """As `open_calls`; an address that is not understood is a Redis that is away, and the log says so."""
    try:
        return open_calls(url)
    except AddressError as error:
        logger("cache").error("cache_store_unusable", reason=str(error))
        return NoCalls()


class NoCalls:
    """Stands for an address that cannot be used: a Redis that is always away."""

    async def load(self, scripts: Iterable[Script]) -> None:
        raise StoreError("unusable address")

    async def run(self, calls: Sequence[Call]) -> list[Any]:
        raise StoreError("unusable address")

    async def spread(self, script: Script, keys: Sequence[bytes], arguments: Sequence[Argument] = ()) -> list[Any]:
        raise StoreError("unusable address")

    async def ask(self, key: bytes, *command: Argument) -> Any:
        raise StoreError("unusable address")

    async def scan(self, pattern: bytes) -> AsyncIterator[list[bytes]]:
        raise StoreError("unusable address")
        yield []

    async def disconnect(self) -> None:
        """There is no connection."""

    async def close(self) -> None:
        """There is no connection."""


class ServerCalls:
    """One server, whoever it is at the moment."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def load(self, scripts: Iterable[Script]) -> None:
        await self._pipelined([("SCRIPT", "LOAD", script.text) for script in scripts])

    async def run(self, calls: Sequence[Call]) -> list[Any]:
        results = await self._pipelined([call.command(by_digest=True) for call in calls])
        unknown = [place for place, result in enumerate(results) if isinstance(result, NoScriptError)]
        if unknown:
            again = await self._pipelined([calls[place].command(by_digest=False) for place in unknown])
            for place, result in zip(unknown, again, strict=True):
                results[place] = result
        return results

    async def _pipelined(self, commands: Sequence[tuple[Argument, ...]]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        results: list[Any] = await asked(pipeline.execute(raise_on_error=False))
        return results

    async def spread(self, script: Script, keys: Sequence[bytes], arguments: Sequence[Argument] = ()) -> list[Any]:
        (result,) = await self.run([Call(script, tuple(keys), tuple(arguments))])
        return _results(result)

    async def ask(self, key: bytes, *command: Argument) -> Any:
        return await asked(self._redis.execute_command(*command))

    async def scan(self, pattern: bytes) -> AsyncIterator[list[bytes]]:
        cursor: Argument = 0
        while True:
            cursor, keys = await asked(
                self._redis.execute_command("SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN_COUNT)
            )
            yield keys
            if int(cursor) == 0:
                return

    async def disconnect(self) -> None:
        await self._redis.connection_pool.disconnect(inuse_connections=False)

    async def close(self) -> None:
        await self._redis.aclose(close_connection_pool=True)


class ClusterCalls:
    """The primaries of a Redis Cluster."""

    def __init__(self, cluster: RedisCluster) -> None:
        self._cluster = cluster

    async def load(self, scripts: Iterable[Script]) -> None:
        await asked(self._cluster.initialize())
        for node in self._cluster.get_primaries():
            commands = [PipelineCommand(place, "SCRIPT", "LOAD", each.text) for place, each in enumerate(scripts)]
            await asked(node.execute_pipeline(commands))

    async def run(self, calls: Sequence[Call]) -> list[Any]:
        commands = [PipelineCommand(place, *call.command(by_digest=True)) for place, call in enumerate(calls)]
        await asked(self._run(calls, commands))
        results: list[Any] = [command.result for command in commands]
        if results and all(isinstance(result, (RedisError, OSError)) and not _is_reply(result) for result in results):
            raise StoreError(type(results[0]).__name__)
        return results

    async def _run(self, calls: Sequence[Call], commands: Sequence[PipelineCommand]) -> None:
        """One write to each node; then, one by one, what a node has not got (the script) or no longer (the slot)."""
        await self._cluster.initialize()
        nodes: dict[str, tuple[ClusterNode, list[PipelineCommand]]] = {}
        for call, command in zip(calls, commands, strict=True):
            node = self._cluster.nodes_manager.get_node_from_slot(key_slot(call.keys[0]))
            nodes.setdefault(node.name, (node, []))[1].append(command)
        for node, each in nodes.values():
            try:
                await node.execute_pipeline(each)
            except (RedisError, OSError) as error:
                for command in each:
                    command.result = error
        for call, command in zip(calls, commands, strict=True):
            if isinstance(command.result, (NoScriptError, MovedError, AskError)):
                await self._again(call, command)

    async def _again(self, call: Call, command: PipelineCommand) -> None:
        """redis-py follows the redirection; the script travels along, as the other node may not know it."""
        if isinstance(command.result, MovedError):
            await self._cluster.nodes_manager.initialize()
        try:
            command.result = await self._cluster.execute_command(*call.command(by_digest=False))
        except (RedisError, OSError) as error:
            command.result = error

    async def spread(self, script: Script, keys: Sequence[bytes], arguments: Sequence[Argument] = ()) -> list[Any]:
        each: list[tuple[Argument, ...]] = [(argument,) for argument in arguments] or [()] * len(keys)
        results = await self.run([Call(script, (key,), some) for key, some in zip(keys, each, strict=True)])
        return [one for result in results for one in _results(result)]

    async def ask(self, key: bytes, *command: Argument) -> Any:
        return await asked(self._asked(key, command))

    async def _asked(self, key: bytes, command: tuple[Argument, ...]) -> Any:
        await self._cluster.initialize()
        try:
            return await self._cluster.nodes_manager.get_node_from_slot(key_slot(key)).execute_command(*command)
        except MovedError:
            await self._cluster.nodes_manager.initialize()
            return await self._cluster.nodes_manager.get_node_from_slot(key_slot(key)).execute_command(*command)

    async def scan(self, pattern: bytes) -> AsyncIterator[list[bytes]]:
        await asked(self._cluster.initialize())
        for node in self._cluster.get_primaries():
            cursor: Argument = 0
            while True:
                cursor, keys = await asked(node.execute_command("SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN_COUNT))
                yield keys
                if int(cursor) == 0:
                    break

    async def disconnect(self) -> None:
        await self._cluster.aclose()

    async def close(self) -> None:
        await self._cluster.aclose()


def _results(result: Any) -> list[Any]:
    if isinstance(result, BaseException):
        raise StoreError(type(result).__name__)
    return list(result)


def _is_reply(error: BaseException) -> bool:
    """Whether a server said so, rather than nobody."""
    return isinstance(error, ResponseError) and not isinstance(error, (ConnectionError, TimeoutError))
