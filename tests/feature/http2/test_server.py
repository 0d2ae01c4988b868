"""The callouts' server with gRPC's own client: whatever grpc.aio would have done for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from gateway_runtime.http2.methods import Stream, Streaming, Unary
from gateway_runtime.http2.server import Http2Server
from gateway_runtime.process import StartError


class Methods:
    """Methods that behave as their names say."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.waiting = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def wait(self, message: bytes, _call: object) -> bytes:
        self.waiting.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return message

    async def fail(self, _message: bytes, _call: object) -> bytes:
        raise ValueError("not for callers")

    def server(self) -> Http2Server:
        return Http2Server(
            {
                "/test.Service/Echo": Unary(lambda message, _call: message),
                "/test.Service/Large": Unary(lambda message, _call: message * 5_000),
                "/test.Service/Wait": Unary(self.wait),
                "/test.Service/Fail": Unary(self.fail),
                "/test.Service/Chat": lambda call: Streaming(chat, call),
                "/test.Service/Early": lambda call: Streaming(first_only, call),
                "/test.Service/Abort": lambda call: Streaming(aborted, call),
            }
        )


def _unary(channel: grpc.aio.Channel, method: str) -> "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]":
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
    return call


async def chat(stream: Stream) -> None:
    """Answers each message of a stream."""
    while (message := await stream.read()) is not None:
        await stream.write(message.upper())


async def first_only(stream: Stream) -> None:
    """Answers once and ends, as ext_proc does as soon as nothing more is to be said."""
    stream.close(b"heard " + (await stream.read() or b""))


async def aborted(stream: Stream) -> None:
    """Names the route that it was called for."""
    stream.abort(grpc.StatusCode.UNAVAILABLE, f"no policy for {stream.headers['x-gateway-route']}")


@asynccontextmanager
async def _serving(address: str = "127.0.0.1:0") -> AsyncIterator[tuple[Methods, grpc.aio.Channel]]:
    methods = Methods()
    server = methods.server()
    bound = server.bind(address, name="test")
    await server.set_serving(True)
    options = [("grpc.max_receive_message_length", -1)]
    async with server.running(drain_s=5), grpc.aio.insecure_channel(bound, options=options) as channel:
        yield methods, channel


@pytest.mark.parametrize("size", [0, 1, 16_000, 70_000, 3_000_000])
async def test_messages_of_any_size(size: int) -> None:
    """Small ones in one frame, large ones through both windows."""
    async with _serving() as (_, channel):
        assert b"x" * size == await _unary(channel, "/test.Service/Echo")(b"x" * size)


async def test_many_calls_at_once() -> None:
    """Each gets its own answer."""
    async with _serving() as (_, channel):
        echo = _unary(channel, "/test.Service/Echo")
        questions = [b"%d" % number for number in range(500)]

        assert questions == list(await asyncio.gather(*[echo(question) for question in questions]))


async def test_a_large_answer_beside_small_ones() -> None:
    """Who waits for a window holds up nobody."""
    async with _serving() as (_, channel):
        large = asyncio.ensure_future(_unary(channel, "/test.Service/Large")(b"x" * 1000))
        assert b"small" == await _unary(channel, "/test.Service/Echo")(b"small")
        assert 5_000_000 == len(await large)


async def test_a_stream_answers_message_by_message() -> None:
    """Reads and writes interleave; the end of one side ends the other."""
    async with _serving() as (_, channel):
        chat: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream("/test.Service/Chat")()
        for word in (b"one", b"two"):
            await chat.write(word)
            assert word.upper() == await chat.read()
        await chat.done_writing()

        assert grpc.aio.EOF is await chat.read()
        assert grpc.StatusCode.OK == await chat.code()


async def test_a_stream_may_be_ended_by_the_server() -> None:
    """After the last word, whatever the caller still has to say."""
    async with _serving() as (_, channel):
        early: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream("/test.Service/Early")()
        await early.write(b"me")

        assert b"heard me" == await early.read()
        assert grpc.aio.EOF is await early.read()
        assert grpc.StatusCode.OK == await early.code()


async def test_a_stream_may_be_aborted() -> None:
    """The status and its text arrive, and metadata was there."""
    async with _serving() as (_, channel):
        method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream("/test.Service/Abort")
        call = method(metadata=(("x-gateway-route", "users, all: 100 %"),))

        assert grpc.StatusCode.UNAVAILABLE == await call.code()
        assert "no policy for users, all: 100 %" == await call.details()


async def test_a_method_may_wait() -> None:
    """Other calls go on meanwhile."""
    async with _serving() as (methods, channel):
        waiting = asyncio.ensure_future(_unary(channel, "/test.Service/Wait")(b"patience"))
        await methods.waiting.wait()
        assert b"now" == await _unary(channel, "/test.Service/Echo")(b"now")
        methods.release.set()

        assert b"patience" == await waiting


async def test_a_caller_that_leaves_cancels_its_call() -> None:
    """A deadline, a disconnect: the method is cancelled at once."""
    async with _serving() as (methods, channel):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await _unary(channel, "/test.Service/Wait")(b"", timeout=0.2)
        await asyncio.wait_for(methods.cancelled.wait(), 5)

        assert grpc.StatusCode.DEADLINE_EXCEEDED == raised.value.code()


@pytest.mark.parametrize(
    ("method", "status", "details"),
    [
        ("/test.Service/Fail", grpc.StatusCode.INTERNAL, "the call failed"),
        ("/test.Service/None", grpc.StatusCode.UNIMPLEMENTED, "no such method"),
    ],
)
async def test_failures_are_statuses(method: str, status: grpc.StatusCode, details: str) -> None:
    """And nothing of an exception's text reaches the caller."""
    async with _serving() as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await _unary(channel, method)(b"")

        assert (status, details) == (raised.value.code(), raised.value.details())


async def test_health() -> None:
    """What Envoy's health checks and Kubernetes probes ask."""
    server = Methods().server()
    address = server.bind("127.0.0.1:0", name="test")
    async with server.running(), grpc.aio.insecure_channel(address) as channel:
        check = _unary(channel, "/grpc.health.v1.Health/Check")
        before = health_pb2.HealthCheckResponse.FromString(await check(b""))
        await server.set_serving(True)
        after = health_pb2.HealthCheckResponse.FromString(await check(b""))

        assert health_pb2.HealthCheckResponse.NOT_SERVING == before.status
        assert health_pb2.HealthCheckResponse.SERVING == after.status


async def test_a_unix_socket(tmp_path: Path) -> None:
    """As sidecars and several workers use; the file goes with the server."""
    path = tmp_path / "callout.sock"
    async with _serving(f"unix:{path}") as (_, channel):
        assert b"here" == await _unary(channel, "/test.Service/Echo")(b"here")

    assert not path.exists()


async def test_draining_lets_open_calls_end() -> None:
    """SIGTERM loses no request."""
    methods = Methods()
    server = methods.server()
    address = server.bind("127.0.0.1:0", name="test")
    async with grpc.aio.insecure_channel(address) as channel:
        async with server.running(drain_s=5):
            waiting = asyncio.ensure_future(_unary(channel, "/test.Service/Wait")(b"last"))
            await methods.waiting.wait()
            asyncio.get_running_loop().call_later(0.2, methods.release.set)

        assert b"last" == await waiting


async def test_draining_does_not_wait_for_ever() -> None:
    """A call that does not end is cut off when its time is up."""
    methods = Methods()
    server = methods.server()
    address = server.bind("127.0.0.1:0", name="test")
    async with grpc.aio.insecure_channel(address) as channel:
        async with asyncio.timeout(5), server.running(drain_s=0.1):
            waiting = asyncio.ensure_future(_unary(channel, "/test.Service/Wait")(b"last"))
            await methods.waiting.wait()
        with pytest.raises(grpc.aio.AioRpcError):
            await waiting


async def test_a_taken_port_is_named() -> None:
    """One line for the operator."""
    first, second = Methods().server(), Methods().server()
    address = first.bind("127.0.0.1:0", name="first")
    async with first.running():
        with pytest.raises(StartError, match=f"ext_authz: cannot listen on {address}: Address already in use"):
            second.bind(address, name="ext_authz")


async def test_garbage_ends_its_connection_alone() -> None:
    """Somebody speaks HTTP/1 to the port; others go on."""
    methods = Methods()
    server = methods.server()
    address = server.bind("127.0.0.1:0", name="test")
    async with server.running(), grpc.aio.insecure_channel(address) as channel:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"this is not HTTP/2" in await reader.read()
        writer.close()
        await writer.wait_closed()

        assert b"fine" == await _unary(channel, "/test.Service/Echo")(b"fine")
