"""ProcessingRequest bytes -> events, actions -> ProcessingResponse bytes.

A hit is put together from bytes that were serialised when its entry was first served: only Age and Cache-Status are
new, and those only once a second. Everything else goes through Envoy's own classes.

What Envoy 1.40 does with these messages, and why they look as they do: `append_action` is ignored and only the
deprecated `append` adds a value; keys that come twice in an ImmediateResponse collapse to the last one, so list fields
are joined; its Content-Length is always that of the body, so that HEAD needs the body too.
"""

from dataclasses import dataclass
from typing import assert_never

import orjson
from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.ext_proc.v3 import processing_mode_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2
from google.protobuf import struct_pb2

from ext_proc.cache.entry import Entry
from ext_proc.cache.ranges import Part
from ext_proc.cache.validation import headers_of_304
from ext_proc.events import (
    Action,
    BodyMode,
    Chunk,
    Event,
    Forward,
    Outcome,
    PassBody,
    PassHeaders,
    PassRequestRest,
    PassTrailers,
    Refuse,
    ReplaceBody,
    ReplaceRequestBody,
    RequestRest,
    RequestStart,
    ResponseStart,
    Serve,
    Trailers,
    Wait,
    Work,
)
from policy.claims import TOLD_CLAIM
from policy.processing import HeaderChanges
from policy.wire import delimited, tag, varint

METADATA_NAMESPACE = "meetinity.ext_proc"
_AUTHZ = "envoy.filters.http.ext_authz"
_ATTRIBUTES = "envoy.filters.http.ext_proc"
_OUTCOMES: tuple[Outcome, ...] = ("hit", "miss", "stale", "bypass", "collapsed")

_Request = external_processor_pb2.ProcessingRequest
_Response = external_processor_pb2.ProcessingResponse
_Mode = processing_mode_pb2.ProcessingMode

_BODY_MODES = {BodyMode.NONE: _Mode.NONE, BodyMode.STREAMED: _Mode.STREAMED, BodyMode.WHOLE: _Mode.BUFFERED_PARTIAL}
"""Not BUFFERED: with a body of unknown length over the listener's buffer Envoy 1.40 answers 413 to requests, and lets
responses hang until the route's timeout."""


class MalformedError(ValueError):
    """Not a message of the protocol."""


def read(data: bytes, *, with_identity: bool = True) -> Event:
    """
    Args:
        with_identity: whether anybody will ask who sent the request, or whether it has a body.

    Raises:
        MalformedError: no ProcessingRequest, or one without content.
    """
    if not with_identity:
        fields = request_fields(data)
        if fields is not None:
            return RequestStart(fields, "")
    chunk = response_body(data)
    if chunk is not None:
        return chunk
    try:
        message = _Request.FromString(data)
    except Exception as error:  # protobuf's DecodeError has no public, typed home
        raise MalformedError("not a ProcessingRequest") from error
    if message.HasField("request_headers"):
        headers = message.request_headers
        return RequestStart(_fields(headers.headers), _identity(message), _claims(message), headers.end_of_stream)
    if message.HasField("response_headers"):
        response = message.response_headers
        return ResponseStart(_fields(response.headers), response.end_of_stream, _is_from_upstream(message))
    if message.HasField("response_body"):
        return Chunk(message.response_body.body, message.response_body.end_of_stream)
    if message.HasField("response_trailers"):
        return Trailers()
    if message.HasField("request_body"):
        return RequestRest("body", message.request_body.body)
    if message.HasField("request_trailers"):
        return RequestRest("trailers")
    raise MalformedError("a ProcessingRequest without content")


def request_fields(data: bytes) -> dict[str, str] | None:
    """The header fields of a request in the form in which Envoy sends them; None for any other message.

    Read off the wire: Envoy writes `request_headers` first, and in it first the HeaderMap, whose entries are a key and
    a `raw_value`. To touch each entry as an object of protobuf's takes half of the time that a hit has; one decoding of
    everything, cut in pieces, takes a third of that. Whatever looks different is left to protobuf.
    """
    first, raw_value = _FIRST, _RAW_VALUE
    try:
        if data[0] != _REQUEST_HEADERS:
            return None
        position = _after_varint(data, 1)
        if data[position] != first:
            return None
        length, position = _varint_at(data, position + 1)
        end = position + length
        text = data.decode("latin-1")
        found: dict[str, str] = {}
        while position < end:
            length = data[position + 1]
            entry = position + 2
            if length >= 0x80:
                length, entry = _varint_at(data, position + 1)
            position = entry + length
            size = data[entry + 1]
            value = entry + 2 + size
            if size >= 0x80 or data[entry] != first or data[value] != raw_value:
                return None
            name = text[entry + 2 : value]
            start = value + 2 if data[value + 1] < 0x80 else _after_varint(data, value + 1)
            found[name] = f"{found[name]}, {text[start:position]}" if name in found else text[start:position]
    except IndexError:
        return None
    return found if position == end <= len(data) else None


def response_body(data: bytes) -> Chunk | None:
    """The body in the form in which Envoy sends it, before metadata if there is any; None for any other message.

    Read off the wire: protobuf copies a body twice.
    """
    try:
        if data[0] != _RESPONSE_BODY:
            return None
        length, position = _varint_at(data, 1)
        end = position + length
        if end > len(data) or data[position] != _FIRST or (end < len(data) and data[end] < _METADATA):
            return None
        length, start = _varint_at(data, position + 1)
    except IndexError:
        return None
    rest = data[start + length : end] if start + length <= end else None
    if rest not in (b"", _ENDS_STREAM):
        return None
    return Chunk(data[start : start + length], rest == _ENDS_STREAM)


_REQUEST_HEADERS = 2 << 3 | 2
_RESPONSE_BODY = 5 << 3 | 2
_METADATA = 8 << 3 | 2
"""The first field that is no event."""
_ENDS_STREAM = b"\x10\x01"
"""HttpBody.end_of_stream."""
_FIRST = 1 << 3 | 2
_RAW_VALUE = 3 << 3 | 2


def _varint_at(data: bytes, position: int) -> tuple[int, int]:
    """Its value, and where the next thing begins."""
    value = shift = 0
    while (octet := data[position]) >= 0x80:
        value |= (octet & 0x7F) << shift
        shift += 7
        position += 1
    return value | octet << shift, position + 1


def _after_varint(data: bytes, position: int) -> int:
    while data[position] >= 0x80:
        position += 1
    return position + 1


def _fields(headers: base_pb2.HeaderMap) -> dict[str, str]:
    """Envoy sends names in lower case and values as octets in `raw_value`; lines of one field are joined."""
    pairs = headers.headers
    found = {header.key: header.raw_value.decode("latin-1") for header in pairs}
    if len(found) != len(pairs):
        found = {}
        for header in pairs:
            name, value = header.key, header.raw_value.decode("latin-1")
            found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _identity(message: external_processor_pb2.ProcessingRequest) -> str:
    if not message.HasField("metadata_context"):
        return ""
    metadata = message.metadata_context.filter_metadata
    if _AUTHZ not in metadata:
        return ""
    fields = metadata[_AUTHZ].fields
    return fields["identity"].string_value if "identity" in fields else ""


def _claims(message: external_processor_pb2.ProcessingRequest) -> dict[str, str]:
    if not message.HasField("metadata_context"):
        return {}
    metadata = message.metadata_context.filter_metadata
    if _AUTHZ not in metadata:
        return {}
    fields = metadata[_AUTHZ].fields
    return {name.removeprefix(TOLD_CLAIM): fields[name].string_value for name in fields if name.startswith(TOLD_CLAIM)}


def _is_from_upstream(message: external_processor_pb2.ProcessingRequest) -> bool:
    """Without the attribute nothing is known, and so nothing is stored."""
    attributes = message.attributes
    if _ATTRIBUTES not in attributes:
        return False
    fields = attributes[_ATTRIBUTES].fields
    return "response.code_details" in fields and fields["response.code_details"].string_value == "via_upstream"


def write(action: Action) -> bytes:
    """The one ProcessingResponse that says this; for Wait and Work, see `extension`."""
    match action:
        case Serve():
            return _serve(action)
        case Forward():
            return _forward(action)
        case PassBody():
            return _PASS_BODY
        case PassHeaders():
            return _pass_headers(action)
        case PassTrailers():
            return _PASS_TRAILERS
        case ReplaceBody():
            return _replace_body(action)
        case ReplaceRequestBody():
            return _replace_request_body(action)
        case Refuse():
            return _refuse(action)
        case Wait() | Work():
            raise TypeError("what is not decided yet is answered by `extension`")
        case PassRequestRest():
            return _PASS_REQUEST_BODY if action.kind == "body" else _PASS_REQUEST_TRAILERS
        case _:
            assert_never(action)


def extension(seconds: float) -> bytes:
    """Ask Envoy to wait longer for the answer; it takes one such message, at most max_message_timeout long."""
    message = _Response()
    message.override_message_timeout.FromMilliseconds(int(seconds * 1000))
    return message.SerializeToString()


def _metadata(outcome: Outcome) -> struct_pb2.Struct:
    metadata = struct_pb2.Struct()
    metadata.fields[METADATA_NAMESPACE].struct_value.fields["cache"].string_value = outcome
    return metadata


_PASS_BODY = _Response(response_body=external_processor_pb2.BodyResponse()).SerializeToString()
_PASS_TRAILERS = _Response(response_trailers=external_processor_pb2.TrailersResponse()).SerializeToString()
_PASS_REQUEST_BODY = _Response(request_body=external_processor_pb2.BodyResponse()).SerializeToString()
_PASS_REQUEST_TRAILERS = _Response(request_trailers=external_processor_pb2.TrailersResponse()).SerializeToString()
_METADATA_BYTES = {outcome: _Response(dynamic_metadata=_metadata(outcome)).SerializeToString() for outcome in _OUTCOMES}
"""Fields after one another are one message: these are appended to a serialised ProcessingResponse."""


def with_metadata(message: bytes, outcome: Outcome | None) -> bytes:
    """A ProcessingResponse that also tells the access log what the cache did."""
    return message if outcome is None else message + _METADATA_BYTES[outcome]


def _option(name: str, value: str, *, append: bool = False) -> base_pb2.HeaderValueOption:
    option = base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=name, raw_value=value.encode("latin-1")), keep_empty_value=True
    )
    if append:
        option.append.value = True
    return option


def _mutate(mutation: external_processor_pb2.HeaderMutation, changes: HeaderChanges) -> None:
    mutation.remove_headers.extend(changes.remove)
    mutation.set_headers.extend(_option(name, value) for name, value in changes.set)
    mutation.set_headers.extend(_option(name, value, append=True) for name, value in changes.append)


def _forward(action: Forward) -> bytes:
    message = _Response()
    message.request_headers.SetInParent()
    if action.changes:
        _mutate(message.request_headers.response.header_mutation, action.changes)
    if action.new_body is not None:
        message.request_headers.response.status = external_processor_pb2.CommonResponse.CONTINUE_AND_REPLACE
        message.request_headers.response.body_mutation.body = action.new_body
    if action.watch:
        message.mode_override.response_header_mode = _Mode.SEND
    if action.wants_body:
        message.mode_override.request_body_mode = _BODY_MODES[BodyMode.WHOLE]
    return with_metadata(message.SerializeToString(), action.outcome)


def _pass_headers(action: PassHeaders) -> bytes:
    message = _Response()
    message.response_headers.SetInParent()
    if action.changes:
        _mutate(message.response_headers.response.header_mutation, action.changes)
    if action.body is not BodyMode.NONE:
        message.mode_override.response_header_mode = _Mode.SEND
        message.mode_override.response_body_mode = _BODY_MODES[action.body]
        # Without them a body with trailers would never seem to end.
        message.mode_override.response_trailer_mode = _Mode.SEND
    return with_metadata(message.SerializeToString(), action.outcome)


def _replace_body(action: ReplaceBody) -> bytes:
    message = _Response()
    _replace(message.response_body.response, action.body, action.changes)
    return message.SerializeToString()


def _replace_request_body(action: ReplaceRequestBody) -> bytes:
    message = _Response()
    _replace(message.request_body.response, action.body, action.changes)
    return message.SerializeToString()


def _replace(response: external_processor_pb2.CommonResponse, body: bytes, changes: HeaderChanges) -> None:
    """Envoy 1.40 answers 500 to a body whose length is not that of its Content-Length."""
    response.body_mutation.body = body
    _mutate(response.header_mutation, changes)
    response.header_mutation.set_headers.append(_option("content-length", str(len(body))))


def _refuse(action: Refuse) -> bytes:
    problem: dict[str, object] = {
        "type": f"urn:meetinity:{action.name}",
        "title": action.title,
        "status": action.status,
        "detail": action.detail,
        "instance": action.request_id,
    }
    if action.problems and action.status < 500:
        problem["errors"] = [{"in": each.where, "at": each.at, "problem": each.text} for each in action.problems]
    headers = [("content-type", "application/problem+json"), *action.headers]
    if action.request_id:
        headers.append(("x-request-id", action.request_id))
    head = b"".join(_header_bytes(name, value) for name, value in headers)
    body = delimited(3, orjson.dumps(problem))
    details = f"ext_proc_{action.name}".encode()
    return _immediate(action.status, head, body + delimited(5, details), action.outcome)


def _serve(action: Serve) -> bytes:
    entry = action.entry
    if action.not_modified:
        head = b"".join(_header_bytes(name, value) for name, value in headers_of_304(entry))
        return _immediate(304, head + _varying(action), _DETAILS, action.outcome)
    if action.part is not None:
        return _partial(action, action.part)
    said = (action.age_s, action.cache_status, action.outcome)
    memo = entry.memo
    if type(memo) is _Ready:
        if memo.said == said and memo.message:
            return memo.message
        head = memo.head
    elif type(memo) is bytes:
        head = memo
        memo = entry.memo = _Ready(head)
    else:
        head = entry.memo = _constant_headers(entry)
        memo = None
    rest = b"".join((tag(3, len(entry.body)), entry.body, _DETAILS))
    message = _immediate(entry.status, head + _varying(action), rest, action.outcome)
    if memo is not None:
        # Only what is asked for again within the second is worth the memory.
        memo.message = message if memo.said == said and len(message) <= _MEMO_BYTES else b""
        memo.said = said
    return message


@dataclass(slots=True)
class _Ready:
    """The constant headers of an entry's answer, and the answer of the current second if that is asked for often.

    An entry's first hit leaves only the headers: most entries are not worth more.
    """

    head: bytes
    said: tuple[int, str, str] | None = None
    """Age, Cache-Status and outcome of the last answer."""
    message: bytes = b""


_MEMO_BYTES = 32 * 1024
"""Answers of larger entries are put together anew each time, or they would be in memory twice."""


def _constant_headers(entry: Entry) -> bytes:
    return b"".join(_header_bytes(name, value) for name, value in entry.headers)


def _varying(action: Serve) -> bytes:
    return _header_bytes("age", str(action.age_s)) + _header_bytes("cache-status", action.cache_status)


def _partial(action: Serve, part: Part) -> bytes:
    entry = action.entry
    head = _constant_headers(entry) + _header_bytes(
        "content-range", f"bytes {part.first}-{part.last}/{len(entry.body)}"
    )
    body = delimited(3, entry.body[part.first : part.last + 1])
    return _immediate(206, head + _varying(action), body + _DETAILS, action.outcome)


def _immediate(status: int, head: bytes, rest: bytes, outcome: Outcome | None) -> bytes:
    """
    Args:
        head: `set_headers` of the header mutation.
        rest: fields 3 to 5 of the ImmediateResponse.
    """
    content = b"".join((delimited(1, b"\x08" + varint(status)), tag(2, len(head)), head, rest))
    return with_metadata(delimited(7, content), outcome)


def _header_bytes(name: str, value: str) -> bytes:
    """HeaderMutation.set_headers { header { key, raw_value } }, keep_empty_value."""
    header = delimited(1, name.encode("latin-1")) + delimited(3, value.encode("latin-1"))
    return delimited(1, delimited(1, header) + b"\x20\x01")


_DETAILS = delimited(5, b"ext_proc_cache")
"""RESPONSE_CODE_DETAILS of what the store answered."""
