"""The canonical form against the published test vectors, for the gateway and for the signer that users copy."""

import base64
import json
import runpy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.signatures import SignedContent, Stamp, canonical_form, signature

DOCS = Path(__file__).parents[3] / "docs" / "operations"
VECTORS: list[dict[str, Any]] = json.loads((DOCS / "signature-vectors.json").read_text())


@dataclass(frozen=True)
class Sent:
    """What the gateway sees of a vector's request."""

    host: str
    path: str


SENT = [
    Sent("api.example.com", "/hooks"),
    Sent("api.example.com", "/hooks/7"),
    Sent("api.example.com:8080", "/hooks"),
    Sent("API.example.com", "/hooks"),
    Sent("api.example.com", "/hooks?b=2&a=1&b=1&a"),
    Sent("api.example.com", "/hooks?z=%20&&y=+&x=%C3%A9"),
    Sent("api.example.com", "/hooks/%2Da"),
    Sent("api.example.com", "/a:1,b?5:x,=1"),
    Sent("api.example.com", "/"),
]


@pytest.mark.parametrize(
    ("vector", "sent"), list(zip(VECTORS, SENT, strict=True)), ids=[each["name"] for each in VECTORS]
)
def test_vectors(vector: dict[str, Any], sent: Sent) -> None:
    """The gateway makes the canonical form and the signature of each vector from the request as it arrives."""
    headers = tuple((name.lower(), value.encode()) for name, value in vector["signed_headers"].items())
    body = base64.b64decode(vector["body_base64"])
    stamp = Stamp(vector["client"], vector["timestamp"], vector["nonce"])
    canonical = canonical_form(stamp, SignedContent(vector["method"], sent.host, sent.path, body, headers))

    assert vector["canonical"] == canonical.decode()
    assert vector["signature"] == signature(vector["secret"].encode(), canonical)


@pytest.mark.parametrize("vector", VECTORS, ids=[each["name"] for each in VECTORS])
def test_signer(vector: dict[str, Any]) -> None:
    """So does the documented signer, from the URL."""
    sign = runpy.run_path(str(DOCS / "sign_request.py"))["signature_headers"]
    headers = sign(
        vector["client"],
        vector["secret"],
        vector["method"],
        vector["url"],
        base64.b64decode(vector["body_base64"]),
        vector["signed_headers"],
        timestamp=vector["timestamp"],
        nonce=vector["nonce"],
    )

    assert vector["signature"] == headers["x-signature"]


_TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
_CONTENT = st.builds(
    SignedContent,
    _TEXT,
    _TEXT.map(str.lower),
    _TEXT.filter(lambda path: "?" not in path),
    st.binary(max_size=8),
    st.lists(st.tuples(_TEXT, st.binary(max_size=8).map(bytes.strip)), max_size=2).map(
        lambda each: tuple(sorted(each))
    ),
)


@given(_CONTENT, _CONTENT, st.builds(Stamp, _TEXT, _TEXT, _TEXT), st.builds(Stamp, _TEXT, _TEXT, _TEXT))
def test_different_requests_have_different_forms(
    one: SignedContent, other: SignedContent, stamp: Stamp, other_stamp: Stamp
) -> None:
    """No two requests share a form, whatever separators their values hold."""
    same = (one, stamp) == (other, other_stamp)

    assert same == (canonical_form(stamp, one) == canonical_form(other_stamp, other))
