"""Loads a gRPC server with one unary call, as cheaply as Python can, so that the server and not the load is measured.

A fixed number of calls is always out. Requests are the same bytes but for the stream's number; of answers only the end
of the stream is looked at.
"""

import asyncio
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

import grpc
from hpack import Encoder

from gateway_runtime.http2 import frames
from tests.feature.ext_authz.harness import CHECK
from tests.performance.processes import BenchError

_WINDOW = 1 << 30
_UPDATE = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class CheckLoad:
    """What was answered within the time."""

    checks: int
    seconds: float
    failures: int


class _Client(asyncio.Protocol):
    """One connection with so many calls out."""

    def __init__(self, messages: Sequence[bytes], calls: int) -> None:
        encoder = Encoder()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", CHECK),
            (":authority", "bench"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ]
        self._first_block = encoder.encode(headers)
        self._block = encoder.encode(headers)  # everything is in the table by now
        self._bodies = cycle([b"\0" + len(message).to_bytes(4, "big") + message for message in messages])
        self._longest = max(map(len, messages)) + 5
        self._calls = calls
        self._stream = -1
        self._rest = b""
        self._window = frames.DEFAULT_WINDOW
        self._received = 0
        self._owed = 0
        self._transport: asyncio.Transport | None = None
        self.running = True
        self.answered = 0
        self.failures = 0
        self.lost: Exception | str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        settings = frames.settings({frames.INITIAL_WINDOW_SIZE: _WINDOW})
        transport.write(frames.PREFACE + settings + frames.window_update(0, _WINDOW))
        self._call(self._calls)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = error or "the server closed the connection"

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        position, end, ended = 0, len(data), 0
        while end - position >= frames.HEADER_BYTES:
            high, low, kind, flags, _ = frames.HEADER.unpack_from(data, position)
            after = position + frames.HEADER_BYTES + (high << 8 | low)
            if after > end:
                break
            if kind == frames.HEADERS:
                ended += flags & frames.END_STREAM
            elif kind == frames.DATA:
                self._received += after - position - frames.HEADER_BYTES
            else:
                ended += self._control(kind, flags, data[position + 4 : after])
            position = after
        self._rest = data[position:]
        self.answered += ended
        if self._received > _WINDOW // 2 and self._transport is not None:
            self._transport.write(frames.window_update(0, self._received))
            self._received = 0
        if (ended or self._owed) and self.running:
            self._call(ended + self._owed)

    def _control(self, kind: int, flags: int, rest: bytes) -> int:
        """Anything but answers; 1 if it ended a call."""
        assert self._transport is not None
        stream, payload = _UPDATE.unpack_from(rest, 1)[0], rest[5:]
        if kind == frames.SETTINGS and not flags & frames.ACK:
            self._transport.write(frames.frame(frames.SETTINGS, frames.ACK, 0, b""))
        elif kind == frames.PING and not flags & frames.ACK:
            self._transport.write(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.WINDOW_UPDATE and not stream:
            self._window += _UPDATE.unpack(payload)[0]
        elif kind == frames.RST_STREAM:
            self.failures += 1
            return 1
        return 0

    def _call(self, calls: int) -> None:
        out: list[bytes] = []
        while calls and self._window >= self._longest:
            calls -= 1
            body = next(self._bodies)
            self._window -= len(body)
            self._stream += 2
            block = self._block if self._stream > 1 else self._first_block
            out.append(frames.frame(frames.HEADERS, frames.END_HEADERS, self._stream, block))
            out.append(frames.frame(frames.DATA, frames.END_STREAM, self._stream, body))
        self._owed = calls
        if out and self._transport is not None:
            self._transport.write(b"".join(out))

    def close(self) -> None:
        self.running = False
        if self._transport is not None:
            self._transport.abort()


async def answer_to(address: str, message: bytes) -> bytes:
    """What one Check is answered; as soon as the server is there."""
    async with grpc.aio.insecure_channel(address) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CHECK)
        return await call(message, timeout=20, wait_for_ready=True)


async def check_load(
    address: str, messages: Sequence[bytes], *, seconds: float, calls: int, connections: int = 4
) -> CheckLoad:
    """Call Check as fast as answers come, with each message in turn and so many calls out in all.

    Raises:
        BenchError: the server ended a connection or a call.
    """
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(lambda: _Client(messages, calls // connections), host, int(port)))[1]
        for _ in range(connections)
    ]
    began_s = time.monotonic()
    before = sum(client.answered for client in clients)
    await asyncio.sleep(seconds)
    load = CheckLoad(
        checks=sum(client.answered for client in clients) - before,
        seconds=time.monotonic() - began_s,
        failures=sum(client.failures for client in clients),
    )
    lost = [client.lost for client in clients if client.lost is not None]
    for client in clients:
        client.close()
    if lost or load.failures or not load.checks:
        raise BenchError(f"{load.failures} of {load.checks} checks failed, {len(lost)} connections were lost {lost}")
    return load
