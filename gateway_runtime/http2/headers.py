"""Header blocks: HPACK (RFC 7541) by PyPI hpack, and the few blocks that a gRPC server sends, prebuilt.

Envoy sends the same block with each call of a route. Such a block means the same as long as nothing was put into the
dynamic table since, so what it means is remembered by its bytes.
"""

from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import quote

from hpack import Decoder, HPACKError

from gateway_runtime.http2.frames import ConnectionFault, ErrorCode

Headers = Mapping[bytes, bytes]
"""Names are lower case; of a repeated name the last value counts."""

MAX_LIST_BYTES = 64 * 1024
_MOST_REMEMBERED = 4096


class HeaderReader:
    """The decoding side of one connection."""

    def __init__(self) -> None:
        self._decoder = Decoder(max_header_list_size=MAX_LIST_BYTES)
        self._remembered: dict[bytes, Headers] = {}

    def read(self, block: bytes) -> Headers:
        """Raises ConnectionFault for a block that is no HPACK: the tables of both sides differ from then on."""
        known = self._remembered.get(block)
        if known is not None:
            return known
        try:
            headers = MappingProxyType(
                {bytes(name): bytes(value) for name, value in self._decoder.decode(block, raw=True)}
            )
            changes_table = _changes_table(block)
        except (HPACKError, IndexError) as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "a header block cannot be decoded") from error
        if changes_table or len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.clear()
        if not changes_table:
            self._remembered[block] = headers
        return headers


def _changes_table(block: bytes) -> bool:
    """Whether a block puts something into the dynamic table or resizes it (RFC 7541 section 6)."""
    position = 0
    while position < len(block):
        first = block[position]
        if first & 0x80:
            _, position = _integer(block, position, 7)
        elif first & 0x60:
            return True
        else:
            index, position = _integer(block, position, 4)
            for _ in range(1 if index else 2):
                length, position = _integer(block, position, 7)
                position += length
    return False


def _integer(block: bytes, position: int, prefix_bits: int) -> tuple[int, int]:
    """An integer (RFC 7541 5.1) and the position behind it."""
    most = (1 << prefix_bits) - 1
    value = block[position] & most
    position += 1
    if value < most:
        return value, position
    shift = 0
    while True:
        octet = block[position]
        position += 1
        value += (octet & 0x7F) << shift
        shift += 7
        if octet < 0x80:
            return value, position


def _literal(name: bytes, value: bytes) -> bytes:
    """Without indexing, so that our side needs no table; both lengths are below 127."""
    return bytes((0, len(name))) + name + bytes((len(value),)) + value


_STATUS_200 = b"\x88"
RESPONSE = _STATUS_200 + _literal(b"content-type", b"application/grpc")
"""The first block of every answer."""
OK_TRAILERS = _literal(b"grpc-status", b"0")


def trailers(status: int, text: str) -> bytes:
    """The last block of a call that failed; the text is cut to what fits."""
    message = quote(text, safe=" !#$&'()*+,/:;=?@[]~")[:120].encode()
    return _literal(b"grpc-status", str(status).encode()) + _literal(b"grpc-message", message)
