"""One HTTP/2 connection that carries gRPC calls, as a state machine: bytes in, bytes out, no I/O, no clock.

RFC 9113 and https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, the server's side. What a call needs is
done while its frames are read; what is to be sent collects in `take()`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gateway_runtime.http2 import frames
from gateway_runtime.http2.frames import ConnectionFault, ErrorCode
from gateway_runtime.http2.headers import OK_TRAILERS, RESPONSE, HeaderReader, Headers, trailers

UNIMPLEMENTED = 12
INTERNAL = 13
RESOURCE_EXHAUSTED = 8
_RESPONSE_LENGTH = len(RESPONSE)
_RESPONSE_START = frames.HEADER.pack(0, _RESPONSE_LENGTH, frames.HEADERS, frames.END_HEADERS, 0)[:5]
_TRAILERS_START = frames.HEADER.pack(0, len(OK_TRAILERS), frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 0)[:5]
_DATA_AFTER_LENGTH = bytes((frames.DATA, 0))
_MESSAGE_PREFIX_BYTES = 5
_AHEAD_BYTES = 256 * 1024
"""What a stream may send in one turn of the loop, before the transport has seen any of it."""


class Receiver(Protocol):
    """What takes the messages of one call."""

    def receive(self, call: "Call", message: bytes) -> None: ...

    def half_close(self, call: "Call") -> None:
        """The caller has sent its last message."""

    def cancel(self, call: "Call") -> None:
        """The caller is gone, or the connection; nothing can be sent any more."""


Open = Callable[["Call"], Receiver]
"""Called with each new call of a method, before its first message."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may ask of us."""

    max_message_bytes: int = 4 * 1024 * 1024
    window_bytes: int = 1024 * 1024
    """What a caller may send on one stream ahead of us, in bytes."""
    connection_window_bytes: int = 64 * 1024 * 1024
    max_block_bytes: int = 64 * 1024
    """Of one header block, CONTINUATION frames included."""
    max_control_bytes: int = 1024 * 1024
    """What may wait to be sent to a peer that pings and does not read."""


class Call:
    """One RPC, the server's side. After `finish` or `cancel` everything sent is dropped."""

    __slots__ = (
        "_connection",
        "buffer",
        "headers",
        "is_open",
        "needed_bytes",
        "number",
        "on_sent",
        "peer_closed",
        "pending",
        "receiver",
        "started",
        "unacknowledged",
        "window",
    )

    def __init__(self, connection: "Connection", number: int, headers: Headers, window: int) -> None:
        self._connection = connection
        self.number = number
        self.headers = headers
        self.window = window
        self.receiver: Receiver | None = None
        self.buffer = bytearray()
        self.needed_bytes = 0
        self.pending: list[tuple[bytes, bool]] = []
        """What the peer does not take yet."""
        self.on_sent: Callable[[], None] | None = None
        """Called when nothing of it is left."""
        self.unacknowledged = 0
        self.started = False
        self.peer_closed = False
        self.is_open = True

    @property
    def is_ahead(self) -> bool:
        """Much was sent that nobody has taken yet: the transport may have a word on the rest."""
        return self._connection.is_ahead

    def invocation_metadata(self) -> Iterable[tuple[str, str]]:
        """The request's headers as gRPC's own context tells them."""
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.headers.items()]

    def reply(self, message: bytes) -> None:
        """The only message, and OK."""
        if self.is_open:
            self._connection.reply(self, message)
            self._connection.sent()

    def send(self, message: bytes) -> None:
        if self.is_open:
            self._connection.send(self, message)
            self._connection.sent()

    def finish(self, status: int = 0, text: str = "") -> None:
        """End the call; what was sent before still goes out first."""
        if self.is_open:
            self._connection.finish(self, OK_TRAILERS if status == 0 else trailers(status, text))
            self._connection.sent()


@dataclass(slots=True)
class _Block:
    """A header block whose CONTINUATION frames are still to come."""

    stream: int
    ends_stream: bool
    parts: list[bytes] = field(default_factory=list)
    size: int = 0


class Connection:
    """Reads what the peer sent, opens calls, and collects what is to be sent."""

    def __init__(
        self, methods: Mapping[bytes, Open], limits: Limits | None = None, on_output: Callable[[], None] = lambda: None
    ) -> None:
        """
        Args:
            methods: by path, `/package.Service/Method`.
            on_output: called when there is something to `take()` that no `receive()` has brought.
        """
        self._methods = methods
        self._on_output = on_output
        self._receiving = False
        self._limits = limits or Limits()
        self._headers = HeaderReader()
        self._calls: dict[int, Call] = {}
        self._last_stream = 0
        self._rest = frames.PREFACE[:0]
        self._preface_missing = True
        self._block: _Block | None = None
        self._unacknowledged = 0
        self._window = frames.DEFAULT_WINDOW
        self._peer_window = frames.DEFAULT_WINDOW
        self._peer_max_frame = frames.DEFAULT_MAX_FRAME
        self._draining = False
        self._is_held = False
        self._ahead = 0
        self._out: list[bytes] = [
            frames.settings(
                {
                    frames.INITIAL_WINDOW_SIZE: self._limits.window_bytes,
                    frames.MAX_HEADER_LIST_SIZE: self._limits.max_block_bytes,
                }
            ),
            frames.window_update(0, self._limits.connection_window_bytes - frames.DEFAULT_WINDOW),
        ]

    @property
    def open_calls(self) -> int:
        return len(self._calls)

    @property
    def is_ahead(self) -> bool:
        return self._ahead > _AHEAD_BYTES

    def take(self) -> bytes:
        """What has to be sent now."""
        out = self._out
        if not out:
            return b""
        self._out = []
        self._ahead = 0
        return out[0] if len(out) == 1 else b"".join(out)

    def receive(self, data: bytes) -> None:
        """Work off what came from the peer.

        Raises:
            ConnectionFault: the protocol was broken; the GOAWAY that says so is in `take()`.
        """
        self._receiving = True
        try:
            self._receive(self._rest + data if self._rest else data)
        except ConnectionFault as fault:
            self._out.append(frames.goaway(self._last_stream, fault.code, str(fault)))
            self.lose()
            raise
        finally:
            self._receiving = False

    def drain(self) -> None:
        """Take no new calls; the peer opens them on another connection."""
        if not self._draining:
            self._draining = True
            self._out.append(frames.goaway(self._last_stream, ErrorCode.NO_ERROR))
            self._on_output()

    def lose(self) -> None:
        """The connection is gone: every open call is cancelled."""
        calls, self._calls = self._calls, {}
        for call in calls.values():
            self._cancel(call)

    def hold(self) -> None:
        """The peer does not read what it has allowed: what streams send waits with them until `go_on`."""
        self._is_held = True

    def go_on(self) -> None:
        self._is_held = False
        self._flush_all()
        self._on_output()

    # what is sent

    def sent(self) -> None:
        """Outside of `receive`, somebody has to take what a call has just sent."""
        if not self._receiving:
            self._on_output()

    def reply(self, call: Call, message: bytes) -> None:
        size = len(message) + _MESSAGE_PREFIX_BYTES
        if call.started or call.pending or size > min(self._peer_max_frame, self._window, call.window):
            self.send(call, message)
            self.finish(call, OK_TRAILERS)
            return
        self._window -= size
        number = call.number.to_bytes(4, "big")
        self._out += (
            _RESPONSE_START,
            number,
            RESPONSE,
            size.to_bytes(3, "big"),
            _DATA_AFTER_LENGTH,
            number,
            b"\x00",
            (size - _MESSAGE_PREFIX_BYTES).to_bytes(4, "big"),
            message,
            _TRAILERS_START,
            number,
            OK_TRAILERS,
        )
        self._close(call)

    def send(self, call: Call, message: bytes) -> None:
        self._start(call)
        call.pending.append((b"\x00" + len(message).to_bytes(4, "big") + message, False))
        self._flush(call)

    def finish(self, call: Call, block: bytes) -> None:
        if not call.started and not call.pending and block is not OK_TRAILERS:
            block = RESPONSE + block  # "Trailers-Only"
            call.started = True
        self._start(call)
        call.pending.append((block, True))
        call.is_open = False
        self._flush(call)

    def _start(self, call: Call) -> None:
        if not call.started:
            call.started = True
            self._out.append(frames.frame(frames.HEADERS, frames.END_HEADERS, call.number, RESPONSE))

    def _flush(self, call: Call) -> None:
        """Send what the windows of the peer allow; the rest waits for its WINDOW_UPDATE."""
        while call.pending:
            data, is_trailers = call.pending[0]
            if is_trailers:
                flags = frames.END_HEADERS | frames.END_STREAM
                self._out.append(frames.frame(frames.HEADERS, flags, call.number, data))
                call.pending.clear()
                self._close(call)
                return
            size = min(len(data), self._peer_max_frame, self._window, call.window)
            if size <= 0 or self._is_held:
                return
            self._window -= size
            call.window -= size
            self._ahead += size
            self._out.append(frames.frame(frames.DATA, 0, call.number, data[:size]))
            if size == len(data):
                call.pending.pop(0)
            else:
                call.pending[0] = (data[size:], False)
        if call.on_sent is not None:
            call.on_sent()

    def _flush_all(self) -> None:
        for call in list(self._calls.values()):
            if call.pending:
                self._flush(call)

    def _close(self, call: Call) -> None:
        call.is_open = False
        self._calls.pop(call.number, None)
        if not call.peer_closed:
            # nothing that the caller still sends will be read (RFC 9113 8.1)
            self._out.append(frames.rst_stream(call.number, ErrorCode.NO_ERROR))

    # what is received

    def _receive(self, data: bytes) -> None:
        position, end = 0, len(data)
        if self._preface_missing:
            position = self._preface(data)
        while end - position >= frames.HEADER_BYTES:
            high, low, kind, flags, stream = frames.HEADER.unpack_from(data, position)
            length = high << 8 | low
            if length > frames.DEFAULT_MAX_FRAME:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame is larger than SETTINGS_MAX_FRAME_SIZE")
            start = position + frames.HEADER_BYTES
            if start + length > end:
                break
            position = start + length
            self._frame(kind, flags, stream & 0x7FFFFFFF, data[start:position])
        self._rest = data[position:]

    def _preface(self, data: bytes) -> int:
        if not data.startswith(frames.PREFACE[: len(data)]):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "this is not HTTP/2")
        if len(data) < len(frames.PREFACE):
            return 0
        self._preface_missing = False
        return len(frames.PREFACE)

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._block is not None and (kind != frames.CONTINUATION or stream != self._block.stream):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a header block was interrupted")
        if kind == frames.DATA:
            self._on_data(flags, stream, payload)
        elif kind == frames.HEADERS:
            self._on_headers(flags, stream, payload)
        else:
            handler = _HANDLERS.get(kind)
            if handler is not None:
                handler(self, flags, stream, payload)

    def _on_headers(self, flags: int, stream: int, payload: bytes) -> None:
        if stream == 0 or stream % 2 == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS on a stream that no client opens")
        if flags & (frames.PADDED | frames.HAS_PRIORITY):
            payload = frames.unpadded(flags, payload)
        ends_stream = bool(flags & frames.END_STREAM)
        if flags & frames.END_HEADERS:
            self._on_block(stream, payload, ends_stream)
        else:
            self._block = _Block(stream, ends_stream)
            self._on_continuation(flags, stream, payload)

    def _on_continuation(self, flags: int, stream: int, payload: bytes) -> None:
        block = self._block
        if block is None:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        block.parts.append(payload)
        block.size += len(payload)
        if block.size > self._limits.max_block_bytes or len(block.parts) > 64:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a header block is too large")
        if flags & frames.END_HEADERS:
            self._block = None
            self._on_block(stream, b"".join(block.parts), block.ends_stream)

    def _on_block(self, stream: int, block: bytes, ends_stream: bool) -> None:
        headers = self._headers.read(block)  # always: the tables of both sides have to stay equal
        known = self._calls.get(stream)
        if known is not None:
            if not ends_stream:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "trailers that do not end their stream")
            self._half_close(known)
            return
        if stream <= self._last_stream:
            return  # trailers of a call that we have ended
        if self._draining:
            self._out.append(frames.rst_stream(stream, ErrorCode.REFUSED_STREAM))
            return
        self._last_stream = stream
        self._open(Call(self, stream, headers, self._peer_window), ends_stream)

    def _open(self, call: Call, ends_stream: bool) -> None:
        self._calls[call.number] = call
        method = self._methods.get(call.headers.get(b":path", b""))
        if method is None:
            call.peer_closed = ends_stream
            call.finish(UNIMPLEMENTED, "no such method")
            return
        call.receiver = method(call)
        if ends_stream:
            self._half_close(call)

    def _half_close(self, call: Call) -> None:
        call.peer_closed = True
        if call.buffer:
            call.finish(INTERNAL, "the stream ended in the middle of a message")
        elif call.is_open and call.receiver is not None:
            call.receiver.half_close(call)

    def _on_data(self, flags: int, stream: int, payload: bytes) -> None:
        size = len(payload)
        call = self._calls.get(stream)
        if call is None and (stream > self._last_stream or stream == 0):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "DATA on an idle stream")
        self._acknowledge(call, size, ends_stream=bool(flags & frames.END_STREAM))
        if call is None:
            return
        if flags & frames.PADDED:
            payload = frames.unpadded(flags & frames.PADDED, payload)
        if flags & frames.END_STREAM:
            call.peer_closed = True
        if payload:
            self._messages(call, payload)
        if flags & frames.END_STREAM and call.is_open:
            self._half_close(call)

    def _acknowledge(self, call: Call | None, size: int, *, ends_stream: bool) -> None:
        """Let the peer send as much again, in steps of half a window."""
        self._unacknowledged += size
        if self._unacknowledged > self._limits.connection_window_bytes // 2:
            self._out.append(frames.window_update(0, self._unacknowledged))
            self._unacknowledged = 0
        if call is None or ends_stream:
            return
        call.unacknowledged += size
        if call.unacknowledged > self._limits.window_bytes // 2:
            self._out.append(frames.window_update(call.number, call.unacknowledged))
            call.unacknowledged = 0

    def _messages(self, call: Call, payload: bytes) -> None:
        """Cut DATA into messages: a flag, four bytes of length, the message."""
        if call.buffer:
            call.buffer += payload
            if len(call.buffer) < call.needed_bytes:
                return  # a large message comes in many frames: it is copied once, when it is whole
            if len(call.buffer) == call.needed_bytes > _MESSAGE_PREFIX_BYTES:
                self._one_message(call)
                return
            payload = bytes(call.buffer)
            call.buffer.clear()
        position, end = 0, len(payload)
        needed_bytes = _MESSAGE_PREFIX_BYTES
        while end - position >= _MESSAGE_PREFIX_BYTES and call.is_open:
            size = int.from_bytes(payload[position + 1 : position + _MESSAGE_PREFIX_BYTES], "big")
            if payload[position]:
                call.finish(UNIMPLEMENTED, "compressed messages are not read")
                return
            if size > self._limits.max_message_bytes:
                call.finish(RESOURCE_EXHAUSTED, "the message is too large")
                return
            start = position + _MESSAGE_PREFIX_BYTES
            if start + size > end:
                needed_bytes += size
                break
            position = start + size
            assert call.receiver is not None
            call.receiver.receive(call, payload[start:position])
        if position < end:
            call.buffer += payload[position:] if position else payload
            call.needed_bytes = needed_bytes

    def _one_message(self, call: Call) -> None:
        """The buffer holds a message whose beginning was looked at when it came, and nothing else."""
        with memoryview(call.buffer) as whole:
            message = bytes(whole[_MESSAGE_PREFIX_BYTES:])
        call.buffer.clear()
        if call.is_open and call.receiver is not None:
            call.receiver.receive(call, message)

    def _on_rst_stream(self, _flags: int, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM has four bytes")
        if stream == 0 or stream > self._last_stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "RST_STREAM on an idle stream")
        call = self._calls.pop(stream, None)
        if call is not None:
            self._cancel(call)

    def _cancel(self, call: Call) -> None:
        call.is_open = False
        call.pending.clear()
        if call.receiver is not None:
            call.receiver.cancel(call)

    def _on_settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream != 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & frames.ACK:
            return
        if len(payload) % frames.SETTING.size:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of odd length")
        for key, value in frames.SETTING.iter_unpack(payload):
            if key == frames.INITIAL_WINDOW_SIZE:
                self._set_peer_window(value)
            elif key == frames.MAX_FRAME_SIZE:
                self._peer_max_frame = value
        self._control(frames.frame(frames.SETTINGS, frames.ACK, 0))

    def _set_peer_window(self, size: int) -> None:
        """Applies to the open streams too, and may make their windows negative (RFC 9113 6.9.2)."""
        if size > frames.MAX_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE is too large")
        change, self._peer_window = size - self._peer_window, size
        for call in list(self._calls.values()):
            call.window += change
            self._flush(call)

    def _on_ping(self, flags: int, _stream: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PING has eight bytes")
        if not flags & frames.ACK:
            self._control(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _control(self, answer: bytes) -> None:
        self._out.append(answer)
        if len(self._out) * len(answer) > self._limits.max_control_bytes:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that ask for an answer")

    def _on_window_update(self, _flags: int, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE has four bytes")
        more = int.from_bytes(payload, "big") & 0x7FFFFFFF
        if more == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of nothing")
        if stream:
            call = self._calls.get(stream)
            if call is not None:
                call.window += more
                self._check_window(call.window)
                self._flush(call)
            return
        self._window += more
        self._check_window(self._window)
        self._flush_all()

    def _check_window(self, window: int) -> None:
        if window > frames.MAX_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window is larger than 2^31-1")

    def _on_goaway(self, _flags: int, _stream: int, _payload: bytes) -> None:
        """The peer opens no more calls; those that are open go on."""

    def _on_push_promise(self, _flags: int, _stream: int, _payload: bytes) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a client promises nothing")


_HANDLERS: Mapping[int, Callable[[Connection, int, int, bytes], None]] = {
    frames.RST_STREAM: Connection._on_rst_stream,
    frames.SETTINGS: Connection._on_settings,
    frames.PUSH_PROMISE: Connection._on_push_promise,
    frames.PING: Connection._on_ping,
    frames.GOAWAY: Connection._on_goaway,
    frames.WINDOW_UPDATE: Connection._on_window_update,
    frames.CONTINUATION: Connection._on_continuation,
}
"""PRIORITY and unknown types are ignored (RFC 9113 5.5)."""
