"""Large hits in pieces: StreamedImmediateResponse, which Envoy sends on as they come.

An ImmediateResponse is one message, which both sides hold several times. The streamed one is taken in reply to the
request's headers only, keeps our Content-Length (so HEAD needs no body), and passes no `local_reply_config`. xds-protos
1.85 does not know it: these are its octets, with the field numbers of Envoy's API.
"""

from collections.abc import Iterator

from ext_proc.events import Serve
from ext_proc.messages import with_metadata
from policy.wire import delimited

STREAMED_BYTES = 128 * 1024
"""Smaller bodies are one message."""
_PIECE_BYTES = 64 * 1024
_RESPONSE = 11
"""ProcessingResponse.streamed_immediate_response; in it headers_response is 1 and body_response 2."""
_END = b"\x18\x01"
"""HttpHeaders.end_of_stream."""
_LAST = b"\x10\x01"
"""StreamedBodyResponse.end_of_stream."""


def is_streamed(action: Serve) -> bool:
    """Of what was answered to the request's headers."""
    return len(action.entry.body) >= STREAMED_BYTES and not action.not_modified


def pieces(action: Serve) -> Iterator[bytes]:
    """The messages that are this answer, in order."""
    entry, part = action.entry, action.part
    body = entry.body if part is None else entry.body[part.first : part.last + 1]
    fields = [(":status", str(entry.status if part is None else 206)), *entry.headers, ("age", str(action.age_s))]
    fields += [("cache-status", action.cache_status), ("content-length", str(len(body)))]
    if part is not None:
        fields.append(("content-range", f"bytes {part.first}-{part.last}/{len(entry.body)}"))
    headers = delimited(1, b"".join([_header(name, value) for name, value in fields]))
    yield with_metadata(_message(1, headers + _END if action.is_head else headers), action.outcome)
    if action.is_head:
        return
    for start in range(0, len(body), _PIECE_BYTES):
        piece = delimited(1, body[start : start + _PIECE_BYTES])
        yield _message(2, piece + _LAST if start + _PIECE_BYTES >= len(body) else piece)


def _message(number: int, content: bytes) -> bytes:
    return delimited(_RESPONSE, delimited(number, content))


def _header(name: str, value: str) -> bytes:
    """HeaderMap.headers { key, raw_value }."""
    return delimited(1, delimited(1, name.encode("latin-1")) + delimited(3, value.encode("latin-1")))
