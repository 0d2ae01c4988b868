"""The parts of a CheckResponse as bytes that can be prepared and joined.

What is the same for every request of a policy or a token is encoded once. Tests compare each function with Envoy's
generated classes.
"""

from collections.abc import Iterable

from policy.wire import delimited, integer, varint

_OVERWRITE = integer(3, 2)
"""HeaderValueOption.append_action = OVERWRITE_IF_EXISTS_OR_ADD; unset, Envoy's version decides what happens."""


def header_option(name: str, value: bytes) -> bytes:
    """An envoy.config.core.v3.HeaderValueOption that overwrites.

    The value stands in `value`: of an ext_authz answer, Envoy 1.40 reads nothing else, and a raw_value arrives as an
    empty header. That field is a proto3 string, and an answer with octets that are no UTF-8 in it is none at all.
    """
    text = value if value.isascii() else value.decode(errors="replace").encode()
    return delimited(1, delimited(1, name.encode()) + delimited(2, text)) + _OVERWRITE


def request_headers(headers: Iterable[tuple[str, bytes]]) -> bytes:
    """OkHttpResponse.headers: set on the request for the service."""
    return b"".join(delimited(2, header_option(name, value)) for name, value in headers)


def removed_headers(names: Iterable[str]) -> bytes:
    """OkHttpResponse.headers_to_remove; removal comes after setting, so never list a header that is set."""
    return b"".join(delimited(5, name.encode()) for name in names)


def removed_query_parameters(names: Iterable[str]) -> bytes:
    """OkHttpResponse.query_parameters_to_remove."""
    return b"".join(delimited(8, name.encode()) for name in names)


def response_header(name: str, value: bytes) -> bytes:
    """OkHttpResponse.response_headers_to_add: set on the answer for the client."""
    return delimited(6, header_option(name, value))


_RATE_LIMIT_OVERHEAD = len(delimited(1, b"ratelimit")) + 2
_LONGEST_RATE_LIMIT = 100
"""Every length in the field then takes one byte."""


def rate_limit_header(value: bytes) -> bytes:
    """response_header("ratelimit", value) in one step: the only field that differs from request to request."""
    length = len(value)
    if length > _LONGEST_RATE_LIMIT or not value.isascii():
        return response_header("ratelimit", value)
    header = length + _RATE_LIMIT_OVERHEAD
    return b"\x32%c\x0a%c\x0a\x09ratelimit\x12%c%b\x18\x02" % (header + 4, header, length, value)


_LONGEST_ENTRY = 110
"""Every length in the entry then takes one byte."""


def metadata_field(name: str, value: str) -> bytes:
    """One entry of a google.protobuf.Struct holding text."""
    key, text = name.encode(), value.encode()
    size, length = len(key), len(text)
    if size + length <= _LONGEST_ENTRY:
        return b"\x0a%c\x0a%c%b\x12%c\x1a%c%b" % (size + length + 6, size, key, length + 2, length, text)
    return delimited(1, delimited(1, name.encode()) + delimited(2, delimited(3, value.encode())))


_LENGTHS = tuple(varint(number) for number in range(2048))


def allowed(ok_response: bytes, metadata: bytes) -> bytes:
    """A CheckResponse that allows: OkHttpResponse fields and Struct entries.

    Its status is present with code 0, so that it is never an empty message.
    """
    size, metadata_size = len(ok_response), len(metadata)
    if size < 2048 and metadata_size < 2048:
        answer = b"\x0a\x00\x1a%b%b" % (_LENGTHS[size], ok_response)
        return b"%b\x22%b%b" % (answer, _LENGTHS[metadata_size], metadata) if metadata else answer
    answer = delimited(1, b"") + delimited(3, ok_response)
    return answer + delimited(4, metadata) if metadata else answer


def denied(
    grpc_code: int, http_status: int, headers: Iterable[tuple[str, bytes]], body: bytes, metadata: bytes
) -> bytes:
    """A CheckResponse that denies.

    Raises:
        ValueError: code 0, which Envoy reads as "allowed".
    """
    if not grpc_code:
        raise ValueError("a denial needs a code other than OK")
    response = delimited(1, integer(1, http_status))
    response += b"".join(delimited(2, header_option(name, value)) for name, value in headers)
    response += delimited(3, body)
    answer = delimited(1, integer(1, grpc_code)) + delimited(2, response)
    return answer + delimited(4, metadata) if metadata else answer
