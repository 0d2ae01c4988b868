"""HTTP/2 frames (RFC 9113 section 4 and 6) as bytes."""

import struct
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER = struct.Struct(">HBBBL")
"""Length in two parts, type, flags, stream (its highest bit is reserved)."""
HEADER_BYTES = 9
DEFAULT_MAX_FRAME = 16_384
DEFAULT_WINDOW = 65_535
MAX_WINDOW = 2**31 - 1

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

SETTING = struct.Struct(">HL")
INITIAL_WINDOW_SIZE = 4
MAX_FRAME_SIZE = 5
MAX_HEADER_LIST_SIZE = 6


class ErrorCode(IntEnum):
    """RFC 9113 section 7."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class ConnectionFault(Exception):  # noqa: N818 - the name of RFC 9113 5.4.1 would be "connection error"
    """The peer broke the protocol: GOAWAY with this code, then the connection closes."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    length = len(payload)
    return HEADER.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


def settings(values: dict[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(key, value) for key, value in sorted(values.items())))


def goaway(last_stream: int, code: ErrorCode, reason: str = "") -> bytes:
    return frame(GOAWAY, 0, 0, struct.pack(">LL", last_stream, code) + reason.encode())


def rst_stream(stream: int, code: ErrorCode) -> bytes:
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def window_update(stream: int, bytes_more: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, bytes_more.to_bytes(4, "big"))


def unpadded(flags: int, payload: bytes) -> bytes:
    """The payload of DATA or HEADERS without padding and priority (RFC 9113 6.1, 6.2)."""
    start, end = 0, len(payload)
    if flags & PADDED:
        if not payload or payload[0] >= len(payload):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "padding is longer than its frame")
        start, end = 1, end - payload[0]
    if flags & HAS_PRIORITY:
        start += 5
        if start > end:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS is too short for its priority")
    return payload[start:end]
