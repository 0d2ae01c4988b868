"""Signed requests: what a signature covers, when it is good, and that it is good once."""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pytest
from envoy.service.auth.v3 import external_auth_pb2
from hypothesis import given
from hypothesis import strategies as st

from ext_authz.decision import Allow
from ext_authz.nonces import MemoryNonces, NonceVerdict
from ext_authz.signatures import NonceUse
from policy.signatures import SignedContent, Stamp, signature_headers
from tests.unit.ext_authz.fixtures import (
    NOW_S,
    Gate,
    any_of,
    api_keys_method,
    api_keys_secret,
    authz_policy,
    check_request,
    rate_limit,
    signatures_method,
)

BILLING = b"the secret of billing, 32 bytes or more"
CLIENTS = json.dumps([{"id": "billing", "secret": BILLING.decode()}, {"id": "shop", "secret": "s" * 40}]).encode()
STAMP = Stamp("billing", str(NOW_S), "nonce-0123456789")
CONTENT = SignedContent(
    "POST", "api.example", "/hooks?b=2&a=1&b=1", b'{"paid":\xff}', (("content-type", b"application/json"),)
)


def gate(*limits: object, **method: object) -> Gate:
    rules = any_of(signatures_method(signed_headers=["content-type"], **method))  # type: ignore[arg-type]
    return Gate(authz_policy(authentication=rules, rate_limits=limits), {"clients": CLIENTS})  # type: ignore[arg-type]


def message(
    content: SignedContent = CONTENT, *headers: tuple[str, str | bytes], signed: Mapping[str, str] | None = None
) -> bytes:
    """A CheckRequest with this content; signed as STAMP says unless told otherwise."""
    signed = signature_headers(BILLING, STAMP, content) if signed is None else signed
    pairs: list[tuple[str, str | bytes]] = [*content.headers, *signed.items(), *headers]
    return check_request(
        pairs, path=content.path, method=content.method, host=content.host, body=content.body, raw=True
    )


def test_signed_request_passes() -> None:
    """A request that one of the clients signed passes, and is that client's for limits and caches."""
    decision = gate().decide(message())

    assert isinstance(decision, Allow)
    assert decision.identity is not None
    assert "usignatures.webhooks\0billing" == decision.identity.limit_user
    assert {} == decision.identity.claims


def test_unsigned_request() -> None:
    """Without any header of a signature the credential is absent, and the challenge names the scheme."""
    answer = gate().check(message(signed={}))

    assert (401, 'Signature realm="webhooks"') == (answer.status, answer.headers["www-authenticate"])
    assert {"reason": "no_credential"} == answer.metadata


@pytest.mark.parametrize(
    "changed",
    [
        replace(CONTENT, method="PUT"),
        replace(CONTENT, method="post"),
        replace(CONTENT, host="api.example:8080"),
        replace(CONTENT, host="other.example"),
        replace(CONTENT, path="/hookS?b=2&a=1&b=1"),
        replace(CONTENT, path="/hooks"),
        replace(CONTENT, path="/hooks?b=2&a=1"),
        replace(CONTENT, path="/hooks?b=1&a=1&b=2"),
        replace(CONTENT, path="/hooks?b=2&a=1&b=1&"),
        replace(CONTENT, path="/hooks?b=2&a=%31&b=1"),
        replace(CONTENT, body=b'{"paid":\xfe}'),
        replace(CONTENT, body=b""),
        replace(CONTENT, headers=()),
        replace(CONTENT, headers=(("content-type", b"application/jsom"),)),
    ],
)
def test_everything_is_covered(changed: SignedContent) -> None:
    """A request that differs in anything from what was signed is refused."""
    assert "request_signature" == gate().reason(message(changed, signed=signature_headers(BILLING, STAMP, CONTENT)))


@pytest.mark.parametrize(
    "same",
    [
        replace(CONTENT, host="API.Example"),
        replace(CONTENT, path="/hooks?a=1&b=2&b=1"),
        replace(CONTENT, headers=(("content-type", b"  application/json\t"),)),
    ],
)
def test_what_changes_on_the_way(same: SignedContent) -> None:
    """The host's letter case, the order of parameters and space around a header mean nothing."""
    assert "ok" == gate().reason(message(same, signed=signature_headers(BILLING, STAMP, CONTENT)))


@pytest.mark.parametrize(
    ("header", "value", "reason"),
    [
        ("x-signature", None, "malformed_signature"),
        ("x-signature", "", "malformed_signature"),
        ("x-signature", "0" * 64, "request_signature"),
        ("x-signature", "0" * 63, "malformed_signature"),
        ("x-signature", "UPPER", "malformed_signature"),
        ("x-signature", "TRUNCATED", "malformed_signature"),
        ("x-signature-client", None, "request_signature"),
        ("x-signature-client", "nobody", "request_signature"),
        ("x-signature-client", "shop", "request_signature"),
        ("x-signature-timestamp", None, "malformed_signature"),
        ("x-signature-timestamp", f"+{NOW_S}", "malformed_signature"),
        ("x-signature-timestamp", f"{NOW_S}.0", "malformed_signature"),
        ("x-signature-timestamp", "\u0661\u0668", "malformed_signature"),
        ("x-signature-timestamp", "9" * 400, "malformed_signature"),
        ("x-signature-timestamp", str(NOW_S + 1), "request_signature"),
        ("x-signature-nonce", None, "malformed_signature"),
        ("x-signature-nonce", "short", "malformed_signature"),
        ("x-signature-nonce", "n" * 129, "malformed_signature"),
        ("x-signature-nonce", "with space 012345", "malformed_signature"),
        ("x-signature-nonce", "nonce-0123456780", "request_signature"),
    ],
)
def test_headers_of_the_signature(header: str, value: str | None, reason: str) -> None:
    """Each header has one spelling; a signature that is incomplete is wrong, not absent."""
    signed = signature_headers(BILLING, STAMP, CONTENT)
    special = {"UPPER": signed["x-signature"].upper(), "TRUNCATED": signed["x-signature"][:32]}
    signed[header] = special.get(value or "", value or "")
    if value is None:
        del signed[header]

    assert reason == gate().reason(message(signed=signed))


@pytest.mark.parametrize(
    ("offset_s", "reason"), [(-301, "signature_time"), (-300, "ok"), (300, "ok"), (301, "signature_time")]
)
def test_clock_skew(offset_s: int, reason: str) -> None:
    """A signature is good for the clock skew before and after its time, to the second."""
    assert reason == gate().reason(message(), now_s=NOW_S + offset_s)


def test_replay() -> None:
    """The same signed request passes once, until its age alone refuses it."""
    tried = gate()
    reasons = [tried.reason(message(), now_s=NOW_S + offset_s) for offset_s in (0, 0, 1, 299, 300, 302)]

    assert ["ok", "replay", "replay", "replay", "replay", "signature_time"] == reasons


def test_replay_after_a_policy_edit() -> None:
    """Nonces belong to the client, not to the version or the name of the rules that judged it."""
    first, second = gate(), gate(name="renamed", clock_skew_s=600)
    second.nonces = first.nonces

    assert ["ok", "replay"] == [first.reason(message()), second.reason(message())]


def test_refused_signatures_use_no_nonce() -> None:
    """Nobody can use up a client's nonces without its secret."""
    tried = gate()
    wrong = {**signature_headers(BILLING, STAMP, CONTENT), "x-signature": "0" * 64}

    assert ["request_signature", "ok"] == [tried.reason(message(signed=wrong)), tried.reason(message())]


def test_nonces_fail_closed() -> None:
    """Without a place for its nonce, or one that knows the past, a signed request is refused with 503."""
    full, restarted = gate(), gate()
    full.nonces = MemoryNonces(NOW_S - 1, capacity=0)
    restarted.nonces = MemoryNonces(NOW_S + 1)

    assert [503, 503] == [each.check(message()).status for each in (full, restarted)]
    assert ["store", "store"] == [each.reason(message()) for each in (full, restarted)]


def test_two_live_secrets() -> None:
    """While a secret is rotated both sign."""
    secrets = [{"id": "billing", "secret": "n" * 40}, {"id": "billing", "secret": BILLING.decode()}]
    rules = any_of(signatures_method(signed_headers=["content-type"]))
    tried = Gate(authz_policy(authentication=rules), {"clients": json.dumps(secrets).encode()})
    other = Stamp("billing", str(NOW_S), "another-nonce-0123")
    signed_anew = signature_headers(b"n" * 40, other, CONTENT)

    assert ["ok", "ok"] == [tried.reason(message()), tried.reason(message(signed=signed_anew))]


def test_signed_header_twice() -> None:
    """Two lines of a signed header, of which a service may read either, are refused."""
    content = replace(CONTENT, headers=(*CONTENT.headers, ("content-type", b"text/plain")))

    assert "ambiguous_credential" == gate().reason(message(content))


def test_signature_header_twice() -> None:
    """Two lines of a header of the signature are no signature."""
    assert "malformed_signature" == gate().reason(message(CONTENT, ("x-signature-nonce", "nonce-0123456789")))


@pytest.mark.parametrize("missing", ["body", "size", "partial", "content-length", "upgrade"])
def test_body_that_did_not_come_whole(missing: str) -> None:
    """A body as text, one cut short, and one of an upgrade are refused even if the digest fits what came."""
    request = external_auth_pb2.CheckRequest.FromString(message())
    http = request.attributes.request.http
    match missing:
        case "body":
            http.body, http.raw_body = "text", b""
        case "size":
            http.size = len(CONTENT.body) + 1
        case "partial":
            http.header_map.headers.add(key="x-envoy-auth-partial-body", raw_value=b"true")
        case "content-length":
            http.header_map.headers.add(key="content-length", raw_value=b"2000")
        case _:
            http.header_map.headers.add(key="upgrade", raw_value=b"websocket")
            http.header_map.headers.add(key="transfer-encoding", raw_value=b"chunked")

    assert "body" == gate().reason(request.SerializeToString())


def test_present_and_wrong_beside_another_method() -> None:
    """A wrong signature refuses the request although its API key is good."""
    rules = any_of(api_keys_method(), signatures_method())
    tried = Gate(authz_policy(authentication=rules), {"keys": api_keys_secret(acme={}), "clients": CLIENTS})
    wrong = {**signature_headers(BILLING, STAMP, CONTENT), "x-signature": "0" * 64, "x-api-key": "key-of-acme"}

    assert "request_signature" == tried.reason(message(signed=wrong))
    assert "ok" == tried.reason(message(signed={"x-api-key": "key-of-acme"}))


def test_limits_by_client() -> None:
    """`user` is the client's id where signatures prove it."""
    tried = gate(rate_limit(count=1, key=[{"user": True}], before=False))
    stamps = [replace(STAMP, nonce=f"nonce-of-request-{number}") for number in range(2)]
    reasons = [tried.reason(message(signed=signature_headers(BILLING, stamp, CONTENT))) for stamp in stamps]

    assert ["ok", "rate_limit"] == reasons


@dataclass
class Obvious:
    """The rules of memory as a list that forgets nothing."""

    began_s: int
    seen: list[bytes]

    def use(self, key: bytes, signed_s: int) -> NonceVerdict:
        if key in self.seen:
            return NonceVerdict.REPLAY
        if signed_s < self.began_s:
            return NonceVerdict.UNKNOWN
        self.seen.append(key)
        return NonceVerdict.FIRST_USE


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-40, 40), st.integers(-10, 10)), max_size=60))
def test_no_nonce_twice(events: Sequence[tuple[int, int, int]]) -> None:
    """Whatever the clocks do, no nonce whose signature is young enough is ever taken twice."""
    skew_s, now_s = 10, 1000
    nonces, obvious = MemoryNonces(900), Obvious(900, [])
    for number, step_s, offset_s in events:
        now_s += step_s
        signed_s = now_s + offset_s
        key = b"%d %d" % (number, signed_s)
        verdict = nonces.use_at(NonceUse(key, signed_s, signed_s + skew_s + 1, "m", None), now_s)
        if obvious.use(key, signed_s) is not NonceVerdict.FIRST_USE:
            assert verdict is not NonceVerdict.FIRST_USE


def test_forgotten_nonces_leave_memory() -> None:
    """What its age refuses is not held any longer."""
    nonces = MemoryNonces(0)
    for second in range(1000):
        nonces.use_at(NonceUse(b"%d" % second, second, second + 11, "m", None), second)

    assert 12 >= len(nonces)


def test_form_by_hand() -> None:
    """The canonical form, written out."""
    parts = [
        b"gateway-hmac-sha256-1", b"billing", b"1800000000", b"nonce-0123456789", b"POST", b"api.example", b"/hooks",
        b"a=1&b=2&b=1", hashlib.sha256(CONTENT.body).hexdigest().encode(), b"content-type", b"application/json",
    ]  # fmt: skip
    canonical = b"".join(str(len(part)).encode() + b":" + part + b"," for part in parts)
    expected = hmac.new(BILLING, canonical, "sha256").hexdigest()

    assert expected == signature_headers(BILLING, STAMP, CONTENT)["x-signature"]
