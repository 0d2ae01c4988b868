"""What ext_proc costs: `python -m tests.performance.ext_proc_bench` measures every goal and writes the report.

The servers are processes of their own and are spoken to as Envoy does it, a stream for each exchange; what counts is
their CPU time. Cases take turns, and each ratio is of one round, so that drift of the machine cancels.
"""
# ruff: noqa: T201 - a program for the terminal

import argparse
import asyncio
import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from envoy.service.ext_proc.v3 import external_processor_pb2

from tests import parts
from tests.performance import ext_proc_messages as messages
from tests.performance.cached_entries import growth_mib
from tests.performance.processes import HOST, TICKS_PER_SECOND, BenchError, Program, listens, program, wait_until
from tests.performance.report import Figure, figure_table
from tests.performance.stand import ROOT
from tests.ports import free_port
from tests.redis_servers import redis_running

REPORT = ROOT / "docs" / "performance" / "ext_proc.md"
_AT_ONCE = 16
"""Exchanges that are open at the same time."""
Exchange = Callable[["Server", int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    rounds: int
    exchanges: int
    concurrent: int
    entries: int


FULL = Size(rounds=5, exchanges=2000, concurrent=1000, entries=100_000)
QUICK = Size(rounds=1, exchanges=300, concurrent=100, entries=2000)


class Server:
    """A started server, and how Envoy talks to it."""

    def __init__(self, process: Program, channel: grpc.aio.Channel) -> None:
        self.process = process
        self._method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(messages.METHOD)

    def opened(self) -> grpc.aio.StreamStreamCall[bytes, bytes]:
        """A stream of one exchange."""
        return self._method(metadata=messages.METADATA, timeout=30, wait_for_ready=True)

    async def says(self, *lines: bytes) -> list[bytes]:
        """One exchange: each line is said after the answer to the one before; all answers, to the last."""
        call = self.opened()
        answers: list[bytes] = []
        for line in lines:
            await call.write(line)
            answer = await call.read()
            if not isinstance(answer, bytes):
                raise BenchError(f"the stream has ended: {await call.details()}")
            answers.append(answer)
        while isinstance(answer := await call.read(), bytes):
            answers.append(answer)
        return answers


_HIT = messages.request("/api/events/popular?page=1")
_PASSING = messages.request("/passing?page=1")
_UNCACHEABLE = messages.response("private, no-store", messages.HIT_BYTES)
_STORABLE = messages.response("max-age=3600", messages.MISS_BYTES)
_SMALL = messages.response("max-age=3600", messages.HIT_BYTES)
_LARGE_BODY = messages.body(messages.MISS_BYTES)
_SMALL_BODY = messages.body(messages.HIT_BYTES)


async def hit(server: Server, _number: int) -> None:
    """Of the first answer alone: who is asked to go on would wait for ever."""
    call = server.opened()
    await call.write(_HIT)
    answer = await call.read()
    if not isinstance(answer, bytes) or len(answer) < messages.HIT_BYTES:
        raise BenchError("what was stored is not served")
    await call.read()


async def passing(server: Server, _number: int) -> None:
    await server.says(_PASSING, _UNCACHEABLE)


async def miss(server: Server, number: int) -> None:
    await server.says(messages.request(f"/miss/{time.monotonic_ns()}/{number}"), _STORABLE, _LARGE_BODY)


async def cpu_us(server: Server, exchange: Exchange, count: int) -> float:
    """CPU time of the server for one exchange."""

    async def some(first: int) -> None:
        for number in range(first, count, _AT_ONCE):
            await exchange(server, number)

    began_s = server.process.cpu_seconds()
    async with asyncio.TaskGroup() as tasks:
        for first in range(_AT_ONCE):
            tasks.create_task(some(first), name="exchanges")
    # The kernel counts in ticks: few exchanges may take none.
    return max(server.process.cpu_seconds() - began_s, 1 / TICKS_PER_SECOND) / count * 1e6


async def p99_ms(server: Server, concurrent: int, *, leads: bool) -> tuple[float, int]:
    """Of as many requests for one key at once, and how many of them went to the service.

    Args:
        leads: the server is a cache: who is let pass gets its response from a service that takes 200 ms.
    """
    path = f"/collapsed/{time.monotonic_ns()}"
    took_ms: list[float] = []
    passed = 0

    async def one() -> None:
        nonlocal passed
        began_s = time.monotonic()
        call = server.opened()
        await call.write(messages.request(path))
        answer = await call.read()
        if leads and external_processor_pb2.ProcessingResponse.FromString(
            answer if isinstance(answer, bytes) else b""
        ).HasField("request_headers"):
            passed += 1
            await asyncio.sleep(0.2)
            for line in (_SMALL, _SMALL_BODY):
                await call.write(line)
                await call.read()
        while isinstance(await call.read(), bytes):
            pass
        took_ms.append((time.monotonic() - began_s) * 1000)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(concurrent):
            tasks.create_task(one(), name="request")
    return sorted(took_ms)[math.ceil(0.99 * concurrent) - 1], passed


@dataclass
class Rounds:
    """What each round measured, by name."""

    values: dict[str, list[float]]

    def add(self, name: str, value: float) -> None:
        self.values.setdefault(name, []).append(value)

    def ratio(self, one: str, other: str) -> list[float]:
        return [a / b for a, b in zip(self.values[one], self.values[other], strict=True)]

    def difference(self, one: str, other: str) -> list[float]:
        return [a - b for a, b in zip(self.values[one], self.values[other], strict=True)]


async def take_round(servers: dict[str, Server], size: Size, rounds: Rounds) -> None:
    count = size.exchanges
    for name in ("grpcio", "own", "ours", "redis"):
        rounds.add(f"hit {name}", await cpu_us(servers[name], hit, count))
    for name in ("grpcio", "own", "ours"):
        rounds.add(f"passing {name}", await cpu_us(servers[name], passing, count))
    for name in ("ours", "redis"):
        rounds.add(f"miss {name}", await cpu_us(servers[name], miss, count // 3))
    rounds.add("p99 sleeping", (await p99_ms(servers["sleeping"], size.concurrent, leads=False))[0])
    p99, passed = await p99_ms(servers["ours"], size.concurrent, leads=True)
    rounds.add("p99 ours", p99)
    rounds.add("upstream", passed)


@asynccontextmanager
async def running(folder: Path, redis_url: str):  # type: ignore[no-untyped-def]
    """Every server, ready."""
    wanted: dict[str, tuple[str, ...]] = {
        "grpcio": ("grpcio",),
        "sleeping": ("sleeping",),
        "own": ("own",),
        "ours": ("ours",),
    }
    wanted["redis"] = ("ours", redis_url)
    with ExitStack() as stack:
        async with AsyncExitStack() as channels:
            servers = {}
            for name, (kind, *more) in wanted.items():
                port = free_port()
                command = [sys.executable, "-m", "tests.performance.ext_proc_servers", kind, f"{HOST}:{port}", *more]
                started = stack.enter_context(program(name, command, folder))
                wait_until(lambda port=port: listens(port), f"{name} listens", [started])  # type: ignore[misc]
                channel = await channels.enter_async_context(
                    grpc.aio.insecure_channel(f"{HOST}:{port}", [("grpc.max_concurrent_streams", 2000)])
                )
                servers[name] = Server(started, channel)
            yield servers


async def take(size: Size) -> Rounds:
    rounds = Rounds({})
    with (
        tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder,
        redis_running(parts.redis(os.environ), Path(folder)) as redis,
    ):
        async with running(Path(folder), redis.url) as servers:
            for name in ("ours", "redis"):
                await servers[name].says(_HIT, _SMALL, _SMALL_BODY)
                await servers[name].says(_PASSING, _UNCACHEABLE)
            for number in range(size.rounds):
                await take_round(servers, size, rounds)
                print(f"round {number + 1} of {size.rounds}: done", file=sys.stderr)
    return rounds


def caching(rounds: Rounds, size: Size, memory_mib: float) -> list[Figure]:
    values = rounds.values
    return [
        Figure("memory hit (1 KiB): ours", values["hit ours"], " us"),
        Figure("... an empty handler of grpc.aio that answers with the same bytes", values["hit grpcio"], " us"),
        Figure("... an empty handler on our own transport", values["hit own"], " us"),
        Figure("memory hit, in times of the empty handler", rounds.ratio("hit ours", "hit grpcio"), "", 1.2),
        Figure("... in times of the one on our transport", rounds.ratio("hit ours", "hit own"), ""),
        Figure(
            "pass-through of an uncacheable response, in times of the empty handler",
            rounds.ratio("passing ours", "passing grpcio"),
            "",
            1.15,
        ),
        Figure("... in times of the one on our transport", rounds.ratio("passing ours", "passing own"), ""),
        Figure(
            "miss of a 100 KiB response, stored: more than passing it through",
            rounds.difference("miss ours", "passing ours"),
            " us",
            300,
        ),
        Figure("... stored in Redis too", rounds.difference("miss redis", "passing ours"), " us"),
        Figure(
            "hit in the memory in front of Redis, in times of the memory hit",
            rounds.ratio("hit redis", "hit ours"),
            "",
            1.1,
        ),
        Figure(f"{size.concurrent:,} concurrent misses on one key: requests to the service", values["upstream"], "", 1),
        Figure("... p99 with a service of 200 ms", values["p99 ours"], " ms"),
        Figure("... in times of a bare handler that sleeps 200 ms", rounds.ratio("p99 ours", "p99 sleeping"), "", 1.5),
        Figure("100,000 entries of 1 KiB in memory", [memory_mib], " MiB", 250),
    ]


def document(figures: Sequence[Figure], size: Size) -> str:
    lines = [
        "# What the cache of ext_proc costs",
        "",
        f"CPU time of one process for one exchange, Python {platform.python_version()}, {platform.machine()};"
        " `python -m tests.performance.ext_proc_bench` measures it again.",
        f"Medians of {size.rounds} rounds of {size.exchanges:,} exchanges, with the lowest and the highest round;"
        " ratios are of the same round.",
        "The servers get what Envoy sends, a gRPC stream for each HTTP exchange; Envoy itself is not in the figures.",
        "Transformations have [their own page](transforms.md).",
        "",
        *figure_table(figures),
        "",
    ]
    return "\n".join(lines)


def main(command_line: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.performance.ext_proc_bench")
    parser.add_argument("--quick", action="store_true", help="small sizes: does everything run? writes no report")
    quick = parser.parse_args(command_line).quick
    size = QUICK if quick else FULL
    try:
        rounds = asyncio.run(take(size))
    except (BenchError, parts.MissingError) as error:
        print(f"ext_proc_bench: {error}", file=sys.stderr)
        return 1
    memory_mib = growth_mib(size.entries) * 100_000 / size.entries
    text = document(caching(rounds, size, memory_mib), size)
    print(text)
    if not quick:
        REPORT.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
