"""A method that streams goes at the pace of its reader."""

import asyncio

from gateway_runtime.http2 import frames
from gateway_runtime.http2.connection import Connection
from gateway_runtime.http2.methods import Stream, Streaming
from tests.unit.gateway_runtime.http2.test_connection import PATH, Peer, data, message

PIECE = b"x" * 30_000


class Flood:
    """Writes so many pieces and counts those that were taken."""

    def __init__(self, pieces: int) -> None:
        self._pieces = pieces
        self.taken = 0
        self.is_cancelled = False

    async def write(self, stream: Stream) -> None:
        try:
            for _ in range(self._pieces):
                await stream.write(PIECE)
                self.taken += 1
        except asyncio.CancelledError:
            self.is_cancelled = True
            raise

    def opened(self) -> Peer:
        """A peer that has called it, and reads what its window of 65,535 octets takes."""
        peer = Peer()
        peer.connection = Connection({PATH: lambda call: Streaming(self.write, call)}, None, lambda: None)
        peer.connection.receive(frames.PREFACE + frames.settings({}))
        peer.connection.take()
        peer.connection.receive(peer.headers() + data(message(b"go"), ends=False))
        return peer


async def settled() -> None:
    """Whoever can go on has done so."""
    for _ in range(20):
        await asyncio.sleep(0)


def octets(peer: Peer) -> int:
    return sum(len(payload) for kind, _, _, payload in peer.sent() if kind == frames.DATA)


async def test_a_reader_that_lets_its_window_run_full() -> None:
    """What it does not take is not made: two pieces fit, the third waits, and goes on as the window opens."""
    flood = Flood(100)
    peer = flood.opened()
    await settled()
    first, before = flood.taken, octets(peer)
    for stream in (0, 1):
        peer.connection.receive(frames.window_update(stream, 30_000))
    await settled()

    assert (2, 65_535) == (first, before)
    assert (3, 30_000) == (flood.taken, octets(peer))


async def test_a_reader_that_reads_on_gets_everything() -> None:
    """To the trailers."""
    flood = Flood(10)
    peer = flood.opened()
    for stream in (0, 1):
        peer.connection.receive(frames.window_update(stream, 1_000_000))
    await settled()
    kinds = [(kind, flags) for kind, flags, _, _ in peer.sent()]

    assert 10 == flood.taken
    assert (frames.HEADERS, frames.END_HEADERS | frames.END_STREAM) in kinds
    assert 0 == peer.connection.open_calls


async def test_a_transport_that_has_enough() -> None:
    """However large the windows: it sees what is sent by and by, and what it does not take is not made."""
    flood, taken = Flood(100), list[int]()
    peer = Peer()

    def write() -> None:
        taken.append(len(peer.connection.take()))
        peer.connection.hold()

    def write_soon() -> None:
        asyncio.get_running_loop().call_soon(write)

    peer.connection = Connection({PATH: lambda call: Streaming(flood.write, call)}, None, write_soon)
    peer.connection.receive(frames.PREFACE + frames.settings({frames.INITIAL_WINDOW_SIZE: 1 << 30}))
    peer.connection.receive(frames.window_update(0, 1 << 30))
    peer.connection.take()
    peer.connection.receive(peer.headers() + data(message(b"go"), ends=False))
    await settled()

    assert 256 * 1024 < max(taken) < 300_000
    assert flood.taken < 12


async def test_a_connection_that_is_not_read() -> None:
    """Whatever its windows allow: nothing more is sent until it is read again."""
    flood = Flood(3)
    peer = flood.opened()
    for stream in (0, 1):
        peer.connection.receive(frames.window_update(stream, 1_000_000))
    peer.connection.hold()
    await settled()
    held = flood.taken, octets(peer)
    peer.connection.go_on()
    await settled()

    assert (0, 0) == held
    assert (3, 3 * len(message(PIECE))) == (flood.taken, octets(peer))


async def test_a_reader_that_goes_away() -> None:
    """The method ends with it."""
    flood = Flood(100)
    peer = flood.opened()
    await settled()
    peer.connection.receive(frames.rst_stream(1, frames.ErrorCode.CANCEL))
    await settled()

    assert flood.is_cancelled
