"""Hand-made fields against those that protobuf writes."""

import pytest
from google.protobuf.wrappers_pb2 import BytesValue, UInt64Value
from hypothesis import given
from hypothesis import strategies as st

from policy.wire import delimited, integer, tag, varint


@given(st.integers(1, 2**64 - 1))
def test_integers(value: int) -> None:
    """Zero is left out by protobuf, any other is the same."""
    assert UInt64Value(value=value).SerializeToString() == integer(1, value)
    assert integer(1, value) == b"\x08" + varint(value)


@pytest.mark.parametrize("length", [1, 127, 128, 16_383, 16_384, 100_000])
def test_contents(length: int) -> None:
    """On both sides of each length of a length."""
    content = b"x" * length

    assert BytesValue(value=content).SerializeToString() == delimited(1, content) == tag(1, length) + content
