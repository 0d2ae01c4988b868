"""A large hit in pieces, as an independent decoder reads it."""

from typing import Any

import pytest

from ext_proc.cache.ranges import Part
from ext_proc.events import Serve
from ext_proc.streamed import STREAMED_BYTES, is_streamed, pieces
from tests.golden.second_decoder import their_class
from tests.unit.ext_proc.rules import stored

# The decoder's own classes are made with a deprecated part of pydantic.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince212")

BODY = bytes(range(256)) * 1000
ENTRY = stored({"cache-control": "max-age=60", "etag": '"1"', "x-text": "caf\xe9"}, body=BODY)


def read(action: Serve) -> tuple[dict[str, bytes], bytes, list[bool]]:
    """Headers, body, and whether each message says that it is the last."""
    response: Any = their_class("envoy.service.ext_proc.v3.ProcessingResponse")
    first, *rest = (response.parse(piece).streamed_immediate_response for piece in pieces(action))
    headers = {header.key: header.raw_value for header in first.headers_response.headers.headers}
    bodies = [each.body_response for each in rest]
    ends = [first.headers_response.end_of_stream, *(each.end_of_stream for each in bodies)]
    return headers, b"".join(each.body for each in bodies), ends


def test_the_whole() -> None:
    """Its own length and status, only the last piece ends it."""
    headers, body, ends = read(Serve(ENTRY, 3, "edge; hit; ttl=57", "hit"))

    assert (BODY, [*[False] * 4, True]) == (body, ends)
    assert (b"200", b"256000", b"3", b"edge; hit; ttl=57", b"caf\xe9") == tuple(
        headers[name] for name in (":status", "content-length", "age", "cache-status", "x-text")
    )


def test_a_part_and_a_head() -> None:
    """The part has its own length; HEAD has the whole's, and no body."""
    headers, body, _ = read(Serve(ENTRY, 0, "edge; hit; ttl=60", "hit", part=Part(100, 199_999)))
    head, nothing, ends = read(Serve(ENTRY, 0, "edge; hit; ttl=60", "hit", is_head=True))

    assert (b"206", b"199900", b"bytes 100-199999/256000") == tuple(
        headers[name] for name in (":status", "content-length", "content-range")
    )
    assert (BODY[100:200_000], b"", [True]) == (body, nothing, ends)
    assert (b"200", b"256000") == (head[":status"], head["content-length"])


def test_what_is_streamed() -> None:
    """Neither small bodies nor answers without one."""
    small = stored({"cache-control": "max-age=60"}, body=bytes(STREAMED_BYTES - 1))

    assert is_streamed(Serve(ENTRY, 0, "", "hit"))
    assert not is_streamed(Serve(ENTRY, 0, "", "hit", not_modified=True))
    assert not is_streamed(Serve(small, 0, "", "hit"))
