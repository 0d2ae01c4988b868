"""Bytes of Envoy's protocol <-> events and actions, compared with what Envoy's own classes make of them."""

import json

import pytest
from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc
from hypothesis import given
from hypothesis import strategies as st

from ext_proc import messages
from ext_proc.cache.ranges import Part
from ext_proc.events import (
    Action,
    BodyMode,
    Chunk,
    Forward,
    PassBody,
    PassHeaders,
    PassRequestRest,
    PassTrailers,
    Refuse,
    ReplaceBody,
    RequestRest,
    RequestStart,
    ResponseStart,
    Serve,
    Trailers,
)
from policy.processing import HeaderChanges
from tests.unit.ext_proc.rules import DATE, stored


def written(action: Action) -> ext_proc.ProcessingResponse:
    return ext_proc.ProcessingResponse.FromString(messages.write(action))


def outcome_of(message: ext_proc.ProcessingResponse) -> str:
    return message.dynamic_metadata.fields["meetinity.ext_proc"].struct_value.fields["cache"].string_value


def headers_of(mutation: ext_proc.HeaderMutation) -> dict[str, bytes]:
    return {option.header.key: option.header.raw_value for option in mutation.set_headers}


def request(**headers: bytes) -> ext_proc.ProcessingRequest:
    message = ext_proc.ProcessingRequest()
    for name, value in headers.items():
        message.request_headers.headers.headers.add(key=name.replace("_", "-"), raw_value=value)
    return message


def test_request_headers_are_joined_and_octets_survive() -> None:
    """Two lines of one field are one list; bytes above 0x7F are kept."""
    message = request(x_a=b"1", x_b=b"\xe4")
    message.request_headers.headers.headers.add(key="x-a", raw_value=b"2")

    assert RequestStart({"x-a": "1, 2", "x-b": "ä"}, "", end_of_stream=False) == messages.read(
        message.SerializeToString()
    )


FIELD_NAMES = st.text("abcdefghijklmnopqrstuvwxyz-:", min_size=1, max_size=200)
FIELD_VALUES = st.text(st.characters(max_codepoint=255), max_size=20_000)


@given(st.lists(st.tuples(FIELD_NAMES, FIELD_VALUES), max_size=20))
def test_headers_read_off_the_wire_are_those_that_protobuf_reads(fields: list[tuple[str, str]]) -> None:
    """Whatever lengths and octets they have; a message that holds more than headers makes no difference."""
    message = ext_proc.ProcessingRequest()
    message.request_headers.end_of_stream = True
    message.metadata_context.filter_metadata["a"].fields["b"].string_value = "c"
    for name, value in fields:
        message.request_headers.headers.headers.add(key=name, raw_value=value.encode("latin-1"))
    data = message.SerializeToString()

    assert messages.read(data) == messages.read(data, with_identity=False)


@given(st.data(), st.lists(st.tuples(FIELD_NAMES, FIELD_VALUES), min_size=1, max_size=3))
def test_headers_that_are_cut_off_are_not_read(data: st.DataObject, fields: list[tuple[str, str]]) -> None:
    """Not even those before the cut."""
    message = ext_proc.ProcessingRequest()
    for name, value in fields:
        message.request_headers.headers.headers.add(key=name, raw_value=value.encode("latin-1"))
    whole = message.SerializeToString()

    assert messages.request_fields(whole[: data.draw(st.integers(0, len(whole) - 1))]) is None


@given(st.binary(max_size=20_000), st.booleans(), st.booleans(), st.integers(0, 3))
def test_bodies_read_off_the_wire_are_those_that_protobuf_reads(
    body: bytes, ends_stream: bool, has_metadata: bool, cut: int
) -> None:
    """With or without metadata behind them; what is cut off is left to protobuf, which refuses it."""
    message = ext_proc.ProcessingRequest(
        response_body=ext_proc.HttpBody(body=body, end_of_stream=ends_stream, grpc_message_compressed=not body)
    )
    if has_metadata:
        message.metadata_context.filter_metadata["a"].fields["b"].string_value = "c"
    data = message.SerializeToString()

    assert Chunk(body, ends_stream) == messages.read(data)
    assert messages.response_body(data) == (Chunk(body, ends_stream) if body else None)
    if cut and not has_metadata:
        assert messages.response_body(data[:-cut]) is None


def test_the_identity_is_what_ext_authz_proved() -> None:
    """And nothing that comes from elsewhere."""
    message = request(x_identity=b"mallory")
    message.metadata_context.filter_metadata["other"].fields["identity"].string_value = "mallory"
    assert RequestStart({"x-identity": "mallory"}, "", end_of_stream=False) == messages.read(
        message.SerializeToString()
    )
    message.metadata_context.filter_metadata["envoy.filters.http.ext_authz"].fields["identity"].string_value = "alice"

    alice = RequestStart({"x-identity": "mallory"}, "alice", end_of_stream=False)
    assert alice == messages.read(message.SerializeToString())


def test_claims_are_those_that_ext_authz_tells() -> None:
    """Each by its name, as text."""
    message = request(x_a=b"1")
    message.metadata_context.filter_metadata["other"].fields["claim:sub"].string_value = "mallory"
    told = message.metadata_context.filter_metadata["envoy.filters.http.ext_authz"].fields
    told["claim:sub"].string_value = "alice"
    told["user"].string_value = "bob"
    event = messages.read(message.SerializeToString())

    assert isinstance(event, RequestStart)
    assert {"sub": "alice"} == event.claims


@pytest.mark.parametrize(
    ("details", "expected"), [("via_upstream", True), ("upstream_reset_before_response_started", False), (None, False)]
)
def test_only_via_upstream_is_the_service_s_response(details: str | None, expected: bool) -> None:
    """Without the attribute nothing is known."""
    message = ext_proc.ProcessingRequest()
    message.response_headers.headers.headers.add(key=":status", raw_value=b"200")
    message.response_headers.end_of_stream = True
    if details is not None:
        fields = message.attributes["envoy.filters.http.ext_proc"].fields
        fields["response.code_details"].string_value = details

    assert ResponseStart({":status": "200"}, True, expected) == messages.read(message.SerializeToString())


def test_bodies_and_trailers() -> None:
    """Of the response; the request's were not asked for, but have to be answered if they come."""
    chunk = ext_proc.ProcessingRequest(response_body=ext_proc.HttpBody(body=b"a", end_of_stream=True))

    assert Chunk(b"a", True) == messages.read(chunk.SerializeToString())
    for message, expected in (
        (ext_proc.ProcessingRequest(response_trailers=ext_proc.HttpTrailers()), Trailers()),
        (ext_proc.ProcessingRequest(request_body=ext_proc.HttpBody()), RequestRest("body")),
        (ext_proc.ProcessingRequest(request_trailers=ext_proc.HttpTrailers()), RequestRest("trailers")),
    ):
        assert expected == messages.read(message.SerializeToString())


@pytest.mark.parametrize("data", [b"", b"\xff\xff"])
def test_what_is_no_message(data: bytes) -> None:
    """Empty or garbage."""
    with pytest.raises(messages.MalformedError):
        messages.read(data)


ENTRY_HEADERS = {"cache-control": "max-age=60", "content-type": "text/ä", "x-empty": "", "date": DATE}


@given(body=st.binary(max_size=300), age=st.integers(0, 2**31))
def test_a_hit_is_what_envoy_s_own_classes_would_write(body: bytes, age: int) -> None:
    """The bytes put together by hand are a ProcessingResponse like any other."""
    entry = stored(ENTRY_HEADERS, body=body)
    expected = ext_proc.ProcessingResponse()
    expected.immediate_response.status.code = 200  # type: ignore[assignment]
    for name, value in (*entry.headers, ("age", str(age)), ("cache-status", "edge; hit; ttl=1")):
        expected.immediate_response.headers.set_headers.add(
            header=base_pb2.HeaderValue(key=name, raw_value=value.encode("latin-1")), keep_empty_value=True
        )
    expected.immediate_response.body = body
    expected.immediate_response.details = "ext_proc_cache"
    space = expected.dynamic_metadata.fields["meetinity.ext_proc"]
    space.struct_value.fields["cache"].string_value = "hit"

    assert expected == written(Serve(entry, age, "edge; hit; ttl=1", "hit"))


def test_a_hit_of_the_same_second_is_the_same_bytes_and_of_the_next_is_not() -> None:
    """What is asked for often is put together once a second."""
    entry = stored(ENTRY_HEADERS)
    first, second, third, fourth = (messages.write(Serve(entry, 1, "edge; hit; ttl=9", "hit")) for _ in range(4))

    assert first == second == third
    assert third is fourth
    later = written(Serve(entry, 2, "edge; hit; ttl=8", "hit"))
    assert b"2" == headers_of(later.immediate_response.headers)["age"]
    stale = written(Serve(entry, 2, "edge; hit; ttl=8", "stale"))
    assert "stale" == outcome_of(stale)


def test_a_304_has_no_body() -> None:
    """And only the headers that it needs."""
    entry = stored(ENTRY_HEADERS | {"etag": '"a"'})
    message = written(Serve(entry, 1, "edge; hit; ttl=9", "hit", not_modified=True)).immediate_response

    assert (304, b"") == (message.status.code, message.body)
    assert {"cache-control", "date", "etag", "age", "cache-status"} == headers_of(message.headers).keys()


def test_a_part_has_its_range() -> None:
    """RFC 9110 section 15.3.7."""
    message = written(Serve(stored(ENTRY_HEADERS), 1, "x", "hit", part=Part(2, 4))).immediate_response

    assert (206, b"234") == (message.status.code, message.body)
    assert b"bytes 2-4/10" == headers_of(message.headers)["content-range"]


def test_forward_asks_for_the_response_only_if_it_is_watched() -> None:
    """The base mode has it off."""
    plain = written(Forward(HeaderChanges(remove=("x-a",), set=(("x-b", "1"),), append=(("x-c", "2"),))))
    assert not plain.HasField("mode_override")
    mutation = plain.request_headers.response.header_mutation
    assert ["x-a"] == list(mutation.remove_headers)
    assert [(b"1", False), (b"2", True)] == [(o.header.raw_value, o.append.value) for o in mutation.set_headers]
    watched = written(Forward(watch=True, outcome="miss"))

    assert ProcessingMode.SEND == watched.mode_override.response_header_mode
    assert ProcessingMode.NONE == watched.mode_override.response_body_mode
    assert "miss" == outcome_of(watched)


@pytest.mark.parametrize(
    ("body", "mode"), [(BodyMode.STREAMED, ProcessingMode.STREAMED), (BodyMode.WHOLE, ProcessingMode.BUFFERED_PARTIAL)]
)
def test_bodies_are_asked_for_with_trailers(body: BodyMode, mode: int) -> None:
    """A body with trailers has no last chunk."""
    message = written(PassHeaders(body=body))

    assert mode == message.mode_override.response_body_mode
    assert ProcessingMode.SEND == message.mode_override.response_trailer_mode
    assert not written(PassHeaders()).HasField("mode_override")


def test_small_answers() -> None:
    """Each says which message it answers."""
    assert written(PassBody(last=False)).HasField("response_body")
    assert written(PassTrailers()).HasField("response_trailers")
    assert written(PassRequestRest("body")).HasField("request_body")
    assert written(PassRequestRest("trailers")).HasField("request_trailers")
    replaced = written(ReplaceBody(b"abc")).response_body.response
    assert b"abc" == replaced.body_mutation.body
    assert {"content-length": b"3"} == headers_of(replaced.header_mutation)
    extension = ext_proc.ProcessingResponse.FromString(messages.extension(5.5))
    assert 5500 == extension.override_message_timeout.ToMilliseconds()


def test_a_refusal_is_problem_json() -> None:
    """RFC 9457, with the request's id."""
    message = written(Refuse(504, "not-cached", "Gateway Timeout", "why", (("x-a", "1"),), "id-1", "miss"))
    immediate = message.immediate_response

    assert 504 == immediate.status.code
    assert {
        "type": "urn:meetinity:not-cached",
        "title": "Gateway Timeout",
        "status": 504,
        "detail": "why",
        "instance": "id-1",
    } == json.loads(immediate.body)
    assert {"content-type": b"application/problem+json", "x-a": b"1", "x-request-id": b"id-1"} == headers_of(
        immediate.headers
    )
