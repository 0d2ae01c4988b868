"""Hand-made wire format against Envoy's generated classes."""

import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import external_auth_pb2
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from ext_authz import wire

NAMES = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=300)
VALUES = st.binary(max_size=400)


def option(name: str, value: bytes) -> base_pb2.HeaderValueOption:
    return base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=name, value=value.decode(errors="replace")),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )


@given(
    st.lists(st.tuples(NAMES, VALUES)), st.lists(NAMES), st.lists(NAMES), NAMES, VALUES, NAMES, st.text(max_size=200)
)
def test_allowed(
    headers: list[tuple[str, bytes]],
    removed: list[str],
    parameters: list[str],
    name: str,
    value: bytes,
    key: str,
    text: str,
) -> None:
    """An allowing answer is, byte for byte in meaning, what the generated classes would have built."""
    fields = (
        wire.request_headers(headers)
        + wire.removed_headers(removed)
        + wire.removed_query_parameters(parameters)
        + wire.response_header(name, value)
        + wire.rate_limit_header(value)
    )
    metadata = Struct()
    metadata[key] = text
    expected = external_auth_pb2.CheckResponse(
        ok_response=external_auth_pb2.OkHttpResponse(
            headers=[option(*each) for each in headers],
            headers_to_remove=removed,
            query_parameters_to_remove=parameters,
            response_headers_to_add=[option(name, value), option("ratelimit", value)],
        ),
        dynamic_metadata=metadata,
    )
    expected.status.SetInParent()

    assert external_auth_pb2.CheckResponse.FromString(wire.allowed(fields, wire.metadata_field(key, text))) == expected


@given(st.integers(1, 16), st.integers(400, 599), st.lists(st.tuples(NAMES, VALUES)), st.text())
def test_denied(code: int, status: int, headers: list[tuple[str, bytes]], body: str) -> None:
    """So is a denying one."""
    expected = external_auth_pb2.CheckResponse(
        denied_response=external_auth_pb2.DeniedHttpResponse(headers=[option(*each) for each in headers], body=body)
    )
    expected.status.code = code
    expected.denied_response.status.code = status  # type: ignore[assignment]

    denied = wire.denied(code, status, headers, body.encode(), b"")

    assert external_auth_pb2.CheckResponse.FromString(denied) == expected


def test_denial_without_a_status() -> None:
    """A denial with status 0, which Envoy would allow, cannot be built."""
    with pytest.raises(ValueError, match="OK"):
        wire.denied(0, 403, [], b"", b"")


def test_nothing_to_say_is_still_explicit() -> None:
    """An allowing answer without anything to add is not the empty message."""
    assert wire.allowed(b"", b"") != b""
