"""ExternalProcessor over real streams."""

import asyncio
import os
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import grpc
import pytest
from prometheus_client import CollectorRegistry

from ext_proc.cache.cache import Cache
from ext_proc.cache.memory import MemoryStore
from ext_proc.cache.single_flight import Flights
from ext_proc.metrics import Metrics
from ext_proc.policies import PolicyStore
from ext_proc.service import ExternalProcessor
from gateway_runtime.http2.server import Http2Server
from tests.feature.ext_authz.harness import eventually
from tests.feature.ext_proc.harness import Stream, policy

T = TypeVar("T")


@dataclass
class Service:
    policies: PolicyStore
    registry: CollectorRegistry
    flights: Flights
    store: MemoryStore
    channel: grpc.aio.Channel

    def stream(self, name: str = "proc-1") -> Stream:
        return Stream(self.channel, name)

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


class Source:
    """Brings a policy when it is asked for."""

    def __init__(self, bring: Callable[[str], None]) -> None:
        self._bring = bring
        self.asked: list[str] = []

    async def request(self, type_url: str, name: str) -> None:
        self.asked.append(name)
        if name == "proc-never":
            await asyncio.Event().wait()
        self._bring(name)


class Gate(ThreadPoolExecutor):
    """One thread, which works when the test says so."""

    def __init__(self) -> None:
        super().__init__(1)
        self._gate = threading.Event()
        self.begun = 0

    def open(self) -> None:
        self._gate.set()

    def submit(self, work: Callable[..., T], /, *arguments: object, **named: object) -> "Future[T]":
        def when_open() -> T:
            self.begun += 1
            assert self._gate.wait(20)
            return work(*arguments, **named)

        return super().submit(when_open)


@asynccontextmanager
async def running(*, wait_s: float = 5.0, workers: Executor | None = None) -> AsyncIterator[Service]:
    policies = PolicyStore()
    redacting = policy("proc-redact")
    redacting.response.body.add().redact.fields.append("ssn")
    made = {each.name: each.SerializeToString() for each in (policy(), redacting)}
    policies.update_policies(made, (), 0.0)
    store = MemoryStore(max_bytes=1 << 24, max_entries=100)
    flights = Flights()
    registry = CollectorRegistry()
    processor = ExternalProcessor(
        policies=policies,
        source=Source(lambda name: policies.update_policies({name: policy(name).SerializeToString()}, (), 0.0)),
        cache=Cache(store, flights, wait_s=wait_s),
        metrics=Metrics(registry, store),
        workers=workers,
    )
    server = Http2Server(processor.methods())
    address = server.bind("127.0.0.1:0", name="ext_proc")
    async with server.running(drain_s=0.1), grpc.aio.insecure_channel(address, options=SMALL_WINDOWS) as channel:
        yield Service(policies, registry, flights, store, channel)


async def test_a_miss_and_a_hit() -> None:
    """The stream of each ends as soon as nothing more is to be said."""
    async with running() as service:
        miss = service.stream()
        asked = await miss.asks()
        assert asked.mode_override.response_header_mode
        headers = await miss.responds({"content-length": "4"})
        assert headers.mode_override.response_body_mode
        assert (await miss.sends(b"body")).HasField("response_body")
        assert await miss.is_ended()
        hit = service.stream()
        answer = await hit.asks()

        assert b"body" == answer.immediate_response.body
        assert await hit.is_ended()
        assert service.metric("gateway_cache_requests_total", route="items", outcome="hit") == 1.0
        assert service.metric("gateway_cache_entries", route="items") == 1.0


SMALL_WINDOWS = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_535)]
"""A client that takes no more than it reads."""
LARGE = b'[{"ssn": "078-05-1120"}' + b', {"ssn": "078-05-1120"}' * 5000 + b"]"
JSON = {"content-length": str(len(LARGE)), "content-type": "application/json"}


async def sent(service: Service, path: str) -> Stream:
    """An exchange whose large body is being worked on; Envoy was told that it may take long."""
    stream = service.stream("proc-redact")
    await stream.asks(path)
    await stream.responds(JSON)
    assert (await stream.sends(LARGE)).HasField("override_message_timeout")
    return stream


async def test_a_large_body_holds_up_nobody() -> None:
    """Others are served while it is worked on; then it is stored and sent as a small one is."""
    with Gate() as gate:
        async with running(workers=gate) as service:
            large = await sent(service, "/large")
            for number in range(3):
                await service.stream().fetches(f"/{number}")
            gate.open()
            done = await large.hears()
            hit = await service.stream("proc-redact").asks("/large")
            assert await large.is_ended()

    body = done.response_body.response.body_mutation.body
    assert (5001, 0) == (body.count(b"[redacted]"), body.count(b"-1120"))
    assert body == hit.immediate_response.body


async def test_a_large_body_whose_client_has_gone() -> None:
    """It is not worked on any more if it was not begun, and what it comes to is nobody's."""
    with Gate() as gate:
        async with running(workers=gate) as service:
            begun, waiting = await sent(service, "/a"), await sent(service, "/b")
            await eventually(lambda: gate.begun == 1)
            for stream in (begun, waiting):
                stream.call.cancel()
            follower = service.stream("proc-redact")
            await eventually(lambda: not len(service.flights))
            gate.open()
            answered = await follower.asks("/b")
            await service.stream().fetches("/c")

    assert answered.HasField("request_headers")
    assert 1 == gate.begun


async def test_large_hits_wait_for_slow_readers() -> None:
    """Each reader that does not read on costs a piece of the body, not all of it; later it gets the rest."""
    body = os.urandom(1 << 20)
    async with running() as service:
        miss = service.stream()
        await miss.asks()
        await miss.responds({"content-length": str(len(body))})
        await miss.sends(body)
        readers = [service.stream() for _ in range(20)]
        tracemalloc.start()
        try:
            for reader in readers:
                await reader.asks()
            used = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        got = [await rest_of(reader) for reader in readers]

    assert used < 8 << 20
    assert [body] * 20 == got


async def rest_of(stream: Stream) -> bytes:
    """The body of a streamed answer, whose headers came already: field 11, in it 2, in it 1."""
    body = b""
    while isinstance(message := await stream.call.read(), bytes):
        for number in (11, 2, 1):
            message = member(message, number)
        body += message
    return body


def member(message: bytes, number: int) -> bytes:
    """The first field of a message, which has this number and a length."""
    tag, start = decode_varint(message, 0)
    length, start = decode_varint(message, start)
    assert number << 3 | 2 == tag
    return message[start : start + length]


def decode_varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        octet = data[position]
        value |= (octet & 127) << shift
        position, shift = position + 1, shift + 7
        if octet < 128:
            return value, position


async def test_an_unknown_policy_is_asked_for_once_and_then_followed() -> None:
    """Another replica of the control plane was faster."""
    async with running() as service:
        answer = await service.stream("proc-2").asks()

        assert answer.HasField("request_headers")


@pytest.mark.parametrize("name", ["proc-never", ""])
async def test_a_policy_that_never_comes_fails_the_stream(name: str) -> None:
    """The route's failure mode decides what becomes of the request."""
    async with running() as service:
        stream = service.stream(name)

        # nothing is written: the stream may be over before
        assert grpc.StatusCode.UNAVAILABLE == await stream.call.code()
        assert 1.0 == service.metric("gateway_ext_proc_unknown_policies_total")


async def test_garbage_fails_the_stream_only() -> None:
    """Without a word of what was in it."""
    async with running() as service:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await service.stream().says(b"\xff\xff")

        assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert (await service.stream().asks()).HasField("request_headers")


async def test_a_follower_is_told_to_wait_and_gets_the_leader_s_response() -> None:
    """One extension of Envoy's timer, then the answer."""
    async with running() as service:
        leader, follower = service.stream(), service.stream()
        await leader.asks()
        extension = await follower.asks()
        assert 5500 == extension.override_message_timeout.ToMilliseconds()
        await leader.responds({"content-length": "4"})
        await leader.sends(b"body")
        answer = await follower.hears()

        assert b"body" == answer.immediate_response.body
        assert await follower.is_ended()
        assert 1.0 == service.metric("gateway_cache_wait_seconds_count")


async def test_a_cancelled_leader_is_replaced() -> None:
    """In the middle of the body."""
    async with running() as service:
        leader, first, second = service.stream(), service.stream(), service.stream()
        await leader.asks()
        await leader.responds({})
        for follower in (first, second):
            await follower.asks()
        leader.call.cancel()
        assert (await first.hears()).HasField("request_headers")
        await first.responds({"content-length": "4"})
        await first.sends(b"body")

        assert b"body" == (await second.hears()).immediate_response.body


async def test_a_half_closed_leader_is_replaced() -> None:
    """Envoy ends a stream in good order too when its client has left."""
    async with running() as service:
        leader, follower = service.stream(), service.stream()
        await leader.asks()
        await follower.asks()
        await leader.call.done_writing()

        assert (await follower.hears()).HasField("request_headers")


async def test_a_follower_whose_client_left_is_forgotten() -> None:
    """Its place in the line is freed."""
    async with running() as service:
        leader, follower = service.stream(), service.stream()
        await leader.asks()
        await follower.asks()
        follower.call.cancel()
        await eventually(lambda: not any(flight.followers for flight in service.flights._flights.values()))
        leader.call.cancel()

        await eventually(lambda: not len(service.flights))


async def test_waiting_has_an_end() -> None:
    """Then the request goes upstream itself."""
    async with running(wait_s=0.05) as service:
        leader, follower = service.stream(), service.stream()
        await leader.asks()

        assert (await follower.asks()).HasField("request_headers")
