"""One connection: frames in, calls, frames out."""

import struct

import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from gateway_runtime.http2 import frames
from gateway_runtime.http2.connection import Call, Connection, Limits
from gateway_runtime.http2.frames import ConnectionFault, ErrorCode

PATH = b"/test.Service/Method"
REQUEST = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", PATH),
    (b":authority", b"callout"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
    (b"x-gateway-policy", b"authz-1"),
]


class Recorder:
    """Takes calls and does nothing by itself."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.messages: list[bytes] = []
        self.ends = 0
        self.cancelled = 0

    def __call__(self, call: Call) -> "Recorder":
        self.calls.append(call)
        return self

    def receive(self, _call: Call, message: bytes) -> None:
        self.messages.append(message)

    def half_close(self, _call: Call) -> None:
        self.ends += 1

    def cancel(self, _call: Call) -> None:
        self.cancelled += 1


class Peer:
    """The client's side: encodes what Envoy would send, reads what comes back."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.recorder = Recorder()
        self.outputs = 0
        self.connection = Connection({PATH: self.recorder}, limits, self._note)
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.connection.receive(frames.PREFACE + frames.settings({}))
        self.connection.take()

    def _note(self) -> None:
        self.outputs += 1

    def headers(self, stream: int = 1, flags: int = frames.END_HEADERS) -> bytes:
        return frames.frame(frames.HEADERS, flags, stream, self.encoder.encode(REQUEST))

    def sent(self) -> list[tuple[int, int, int, bytes]]:
        """(type, flags, stream, payload) of what the server has to send."""
        data, found = self.connection.take(), []
        while data:
            high, low, kind, flags, stream = frames.HEADER.unpack_from(data)
            end = frames.HEADER_BYTES + (high << 8 | low)
            found.append((kind, flags, stream, data[frames.HEADER_BYTES : end]))
            data = data[end:]
        return found

    def decoded(self, block: bytes) -> dict[str, str]:
        return {str(name): str(value) for name, value in self.decoder.decode(block)}


def message(body: bytes) -> bytes:
    return b"\x00" + struct.pack(">L", len(body)) + body


def data(body: bytes, stream: int = 1, *, ends: bool = True) -> bytes:
    return frames.frame(frames.DATA, frames.END_STREAM if ends else 0, stream, body)


def test_a_call_is_opened_with_its_headers_and_message() -> None:
    """HEADERS and one DATA frame are a unary request."""
    peer = Peer()
    peer.connection.receive(peer.headers() + data(message(b"question")))

    assert [b"question"] == peer.recorder.messages
    assert b"authz-1" == peer.recorder.calls[0].headers[b"x-gateway-policy"]
    assert 1 == peer.recorder.ends


def test_a_reply_is_headers_data_and_trailers() -> None:
    """In one piece, and the call is over."""
    peer = Peer()
    peer.connection.receive(peer.headers() + data(message(b"question")))
    peer.recorder.calls[0].reply(b"answer")
    (head, body, trailers) = peer.sent()

    assert {":status": "200", "content-type": "application/grpc"} == peer.decoded(head[3])
    assert (frames.DATA, 0, 1, message(b"answer")) == body
    assert (frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1) == trailers[:3]
    assert {"grpc-status": "0"} == peer.decoded(trailers[3])
    assert 0 == peer.connection.open_calls


def test_an_early_end_tells_the_caller_to_stop_sending() -> None:
    """RFC 9113 8.1: RST_STREAM with NO_ERROR after a complete answer to an incomplete request."""
    peer = Peer()
    peer.connection.receive(peer.headers() + data(message(b"question"), ends=False))
    peer.recorder.calls[0].reply(b"answer")

    assert (frames.RST_STREAM, 0, 1, ErrorCode.NO_ERROR.to_bytes(4, "big")) == peer.sent()[-1]


def test_frames_of_a_call_that_is_over_are_ignored() -> None:
    """What was on its way when the call ended does no harm."""
    peer = Peer()
    peer.connection.receive(peer.headers() + data(message(b"question"), ends=False))
    peer.recorder.calls[0].reply(b"answer")
    peer.sent()
    trailers = peer.headers(flags=frames.END_HEADERS | frames.END_STREAM)
    peer.connection.receive(data(message(b"late")) + frames.rst_stream(1, ErrorCode.CANCEL) + trailers)

    assert [b"question"] == peer.recorder.messages
    assert [] == peer.sent()


@pytest.mark.parametrize("size", [1, 3, 9, 20])
def test_bytes_may_arrive_in_any_pieces(size: int) -> None:
    """Frames, headers and messages are put together again."""
    peer = Peer()
    stream = peer.headers() + data(message(b"one") + message(b"two")[:4], ends=False) + data(message(b"two")[4:])
    for start in range(0, len(stream), size):
        peer.connection.receive(stream[start : start + size])

    assert [b"one", b"two"] == peer.recorder.messages


def test_a_large_message_grows_in_place() -> None:
    """A frame adds to what has come before it; copying that each time would cost the square of the size."""
    peer, message = Peer(), b"x" * (1 << 20)
    body = b"\0" + len(message).to_bytes(4, "big") + message
    peer.connection.receive(peer.headers() + frames.frame(frames.DATA, 0, 1, body[:16384]))
    buffer = peer.recorder.calls[0].buffer
    for at in range(16384, len(body), 16384):
        assert (at, []) == (len(buffer), peer.recorder.messages)
        peer.connection.receive(frames.frame(frames.DATA, 0, 1, body[at : at + 16384]))
        assert buffer is peer.recorder.calls[0].buffer

    assert [message] == peer.recorder.messages
    assert not buffer


def test_a_block_that_was_seen_is_read_the_same_after_the_table_changed() -> None:
    """Envoy's repeated block is remembered only as long as the dynamic table stays as it was."""
    peer = Peer()
    encoder = Encoder()
    first, second = encoder.encode(REQUEST), encoder.encode(REQUEST)
    changed = encoder.encode([*REQUEST[:-1], (b"x-gateway-policy", b"authz-2")])
    for stream, block in ((1, first), (3, second), (5, second), (7, changed), (9, encoder.encode(REQUEST))):
        peer.connection.receive(frames.frame(frames.HEADERS, frames.END_HEADERS, stream, block))

    policies = [call.headers[b"x-gateway-policy"] for call in peer.recorder.calls]
    assert [b"authz-1", b"authz-1", b"authz-1", b"authz-2", b"authz-1"] == policies


def test_continuation_frames_belong_to_their_block() -> None:
    """A block may be spread over frames."""
    peer = Peer()
    block = peer.encoder.encode(REQUEST)
    peer.connection.receive(frames.frame(frames.HEADERS, 0, 1, block[:5]))
    peer.connection.receive(frames.frame(frames.CONTINUATION, 0, 1, block[5:9]))
    peer.connection.receive(frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, block[9:]))

    assert 1 == len(peer.recorder.calls)


def test_padding_and_priority_are_taken_off() -> None:
    """RFC 9113 6.1 and 6.2."""
    peer = Peer()
    block = peer.encoder.encode(REQUEST)
    flags = frames.END_HEADERS | frames.PADDED | frames.HAS_PRIORITY
    peer.connection.receive(frames.frame(frames.HEADERS, flags, 1, b"\x03" + b"\0" * 5 + block + b"\0" * 3))
    padded = b"\x02" + message(b"question") + b"\0\0"
    peer.connection.receive(frames.frame(frames.DATA, frames.PADDED | frames.END_STREAM, 1, padded))

    assert [b"question"] == peer.recorder.messages


def test_what_exceeds_the_windows_waits_for_them() -> None:
    """RFC 9113 6.9: neither the stream's nor the connection's window is overdrawn, and nothing is lost."""
    peer = Peer()
    peer.connection.receive(peer.headers() + data(message(b"question")))
    body = bytes(range(256)) * 1000
    peer.recorder.calls[0].reply(body)
    received = b"".join(payload for kind, _, _, payload in peer.sent() if kind == frames.DATA)

    assert frames.DEFAULT_WINDOW == len(received)
    assert 1 == peer.connection.open_calls

    while peer.connection.open_calls:
        peer.connection.receive(frames.window_update(0, 50_000) + frames.window_update(1, 50_000))
        found = peer.sent()
        assert found
        received += b"".join(payload for kind, _, _, payload in found if kind == frames.DATA)

    assert message(body) == received


def test_a_smaller_initial_window_may_make_windows_negative() -> None:
    """RFC 9113 6.9.2: a change of SETTINGS counts for open streams."""
    peer = Peer()
    peer.connection.receive(peer.headers() + data(message(b"question")))
    call = peer.recorder.calls[0]
    call.send(b"x" * 60_000)
    peer.sent()
    peer.connection.receive(frames.settings({frames.INITIAL_WINDOW_SIZE: 10}) + frames.window_update(0, 100_000))
    call.send(b"y" * 100)

    assert [] == [kind for kind, *_ in peer.sent() if kind == frames.DATA]

    peer.connection.receive(frames.window_update(1, 70_000))
    assert [message(b"y" * 100)] == [payload for kind, _, _, payload in peer.sent() if kind == frames.DATA]


def test_windows_of_the_caller_are_opened_again() -> None:
    """Half of a window read: the caller may send as much more."""
    peer = Peer(Limits(window_bytes=100_000, connection_window_bytes=200_000))
    peer.connection.receive(peer.headers())
    for _ in range(20):
        peer.connection.receive(data(message(b"x" * 10_000), ends=False))
    updates = [(stream, int.from_bytes(payload, "big")) for kind, _, stream, payload in peer.sent() if kind == 8]

    assert {0, 1} == {stream for stream, _ in updates}
    assert 100_000 <= sum(more for stream, more in updates if stream == 0)
    assert 100_000 <= sum(more for stream, more in updates if stream == 1)


def test_a_reset_cancels_the_call() -> None:
    """The receiver hears of it once, and what it says later goes nowhere."""
    peer = Peer()
    peer.connection.receive(peer.headers() + frames.rst_stream(1, ErrorCode.CANCEL))
    peer.recorder.calls[0].reply(b"too late")
    peer.connection.lose()

    assert 1 == peer.recorder.cancelled
    assert [] == peer.sent()


def test_answers_outside_of_receive_are_announced() -> None:
    """A task that answers later makes the shell write."""
    peer = Peer()
    peer.connection.receive(peer.headers() + data(message(b"question")))
    assert 0 == peer.outputs

    peer.recorder.calls[0].reply(b"answer")

    assert 1 == peer.outputs


def test_draining_finishes_calls_and_takes_no_new_ones() -> None:
    """GOAWAY, then REFUSED_STREAM, which Envoy may retry elsewhere."""
    peer = Peer()
    peer.connection.receive(peer.headers() + data(message(b"question")))
    peer.connection.drain()
    assert [frames.GOAWAY] == [kind for kind, *_ in peer.sent()]

    peer.connection.receive(peer.headers(3))
    assert [(frames.RST_STREAM, 0, 3, ErrorCode.REFUSED_STREAM.to_bytes(4, "big"))] == peer.sent()

    peer.recorder.calls[0].reply(b"answer")
    assert [frames.HEADERS, frames.DATA, frames.HEADERS] == [kind for kind, *_ in peer.sent()]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"\x01" + message(b"x")[1:], "12"),
        (b"\x00" + struct.pack(">L", 5 * 1024 * 1024), "8"),
        (message(b"question")[:-1], "13"),
    ],
)
def test_messages_that_cannot_be_read_end_their_call_alone(body: bytes, status: str) -> None:
    """Compressed, too large, cut off: a gRPC status, and the connection goes on."""
    peer = Peer()
    peer.connection.receive(peer.headers() + data(body))
    (_, _, _, block), *_ = peer.sent()

    assert status == peer.decoded(block)["grpc-status"]
    peer.connection.receive(peer.headers(3) + data(message(b"next"), 3))
    assert [b"next"] == peer.recorder.messages


def test_an_unknown_method_is_unimplemented() -> None:
    """The status that gRPC asks for."""
    peer = Peer()
    block = peer.encoder.encode([(b":path", b"/no.Such/Method")])
    peer.connection.receive(frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, block))

    assert "12" == peer.decoded(peer.sent()[0][3])["grpc-status"]
    assert 0 == peer.connection.open_calls


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frames.frame(frames.HEADERS, frames.END_HEADERS, 2, b""), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff\xff\xff\xff"), ErrorCode.COMPRESSION_ERROR),
        (frames.frame(frames.CONTINUATION, 0, 1), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, 0, 1) + frames.frame(frames.PING, 0, 0, b"12345678"), ErrorCode.PROTOCOL_ERROR),
        (data(b"", 7), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.PING, 0, 0, b"1"), ErrorCode.FRAME_SIZE_ERROR),
        (frames.rst_stream(9, ErrorCode.CANCEL), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.RST_STREAM, 0, 1, b"1"), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.SETTINGS, 0, 0, b"12345"), ErrorCode.FRAME_SIZE_ERROR),
        (frames.settings({frames.INITIAL_WINDOW_SIZE: 2**31}), ErrorCode.FLOW_CONTROL_ERROR),
        (frames.window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
        (frames.window_update(0, frames.MAX_WINDOW), ErrorCode.FLOW_CONTROL_ERROR),
        (frames.frame(frames.PUSH_PROMISE, 0, 1), ErrorCode.PROTOCOL_ERROR),
        (frames.HEADER.pack(0xFF, 0xFF, frames.DATA, 0, 1), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.PING, 0, 0, b"12345678") * 70_000, ErrorCode.ENHANCE_YOUR_CALM),
        (frames.frame(frames.HEADERS, frames.END_HEADERS | frames.PADDED, 1, b"\x05"), ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_a_peer_that_breaks_the_protocol_gets_a_goaway(sent: bytes, code: ErrorCode) -> None:
    """With the code of RFC 9113, and every open call is cancelled."""
    peer = Peer()
    with pytest.raises(ConnectionFault) as raised:
        peer.connection.receive(sent)
    kind, _, _, payload = peer.sent()[-1]

    assert (code, frames.GOAWAY) == (raised.value.code, kind)
    assert code == int.from_bytes(payload[4:8], "big")
    assert 0 == peer.connection.open_calls


def test_an_endless_header_block_is_refused() -> None:
    """CONTINUATION without end costs bounded memory."""
    peer = Peer()
    peer.connection.receive(frames.frame(frames.HEADERS, 0, 1))
    with pytest.raises(ConnectionFault):
        peer.connection.receive(frames.frame(frames.CONTINUATION, 0, 1, b"\0" * 16_000) * 5)


def test_http1_is_refused() -> None:
    """A browser that comes here by mistake."""
    with pytest.raises(ConnectionFault):
        Connection({}).receive(b"GET / HTTP/1.1\r\n\r\n")


def test_pings_and_settings_are_acknowledged() -> None:
    """Keepalive works, and acknowledgements are not acknowledged."""
    peer = Peer()
    peer.connection.receive(frames.frame(frames.PING, 0, 0, b"12345678") + frames.settings({3: 100}))
    peer.connection.receive(frames.frame(frames.PING, frames.ACK, 0, b"12345678"))
    peer.connection.receive(frames.frame(frames.SETTINGS, frames.ACK, 0))

    assert [
        (frames.PING, frames.ACK, 0, b"12345678"),
        (frames.SETTINGS, frames.ACK, 0, b""),
    ] == peer.sent()


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_no_bytes_raise_anything_but_a_fault(pieces: list[bytes]) -> None:
    """Whatever comes is read or refused; the process never sees another exception."""
    peer = Peer()
    try:
        peer.connection.receive(peer.headers())
        for piece in pieces:
            peer.connection.receive(piece)
    except ConnectionFault:
        assert 0 == peer.connection.open_calls


@given(
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 255), st.integers(0, 9), st.binary(max_size=40)), max_size=12)
)
def test_no_frames_raise_anything_but_a_fault(sequence: list[tuple[int, int, int, bytes]]) -> None:
    """The same for frames that are well-formed on the outside."""
    peer = Peer()
    try:
        peer.connection.receive(peer.headers())
        for kind, flags, stream, payload in sequence:
            peer.connection.receive(frames.frame(kind, flags, stream, payload))
    except ConnectionFault:
        assert 0 == peer.connection.open_calls
