"""Signed requests through a real Envoy: bodies as they are, once, and never too large."""

import runpy
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.authz_stack import CLIENT_SECRET, AuthzStack, authz_stack
from tests.e2e.raw_http import raw, status_of

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("authz"), pytest.mark.timeout(120)]

SIGNER = Path(__file__).parents[2] / "docs" / "operations" / "sign_request.py"
NO_TEXT = bytes(range(256)) * 8
"""Envoy shows octets that are no UTF-8 as `!` unless it is told to send bytes."""
LIMIT = 64 * 1024


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthzStack]:
    with authz_stack(tmp_path_factory.mktemp("authz")) as running:
        yield running


def post(gateway: AuthzStack, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    return httpx.post(gateway.url + path, content=body, headers=headers, timeout=20)


def test_signed_body_passes_once(gateway: AuthzStack) -> None:
    """Any octets pass untouched, with the right signature, once; another body under the same signature does not."""
    path = "/hooks/pay?b=2&a=1"
    headers = gateway.signed(path, NO_TEXT, headers={"content-type": "application/octet-stream"})
    changed = post(gateway, path, NO_TEXT[:-1] + b"\xfe", headers)
    first, again = (post(gateway, path, NO_TEXT, headers) for _ in range(2))

    assert [401, 200, 401] == [changed.status_code, first.status_code, again.status_code]
    assert (len(NO_TEXT), "The nonce was used before.") == (first.json()["length"], again.json()["detail"])


def test_documented_signer(gateway: AuthzStack) -> None:
    """The module that users copy makes requests that pass, with and without a body."""
    sign = runpy.run_path(str(SIGNER))["signature_headers"]
    url = f"{gateway.url}/hooks/x?z=1&y=%20"
    with_body = sign("billing", CLIENT_SECRET, "POST", url, b"{}", {"content-type": "application/json"})
    without = sign("billing", CLIENT_SECRET, "GET", url)

    assert 200 == httpx.post(url, content=b"{}", headers=with_body | {"content-type": "application/json"}).status_code
    assert 200 == httpx.get(url, headers=without).status_code


def test_what_envoy_normalises_is_what_is_signed(gateway: AuthzStack) -> None:
    """The gateway judges the path that the service gets: `//` does not match its own signature."""
    headers = [f"{name}: {value}" for name, value in gateway.signed("/hooks//x", method="GET").items()]

    assert 401 == status_of(raw(gateway.stack.port, "GET /hooks//x HTTP/1.1", *headers))


@pytest.mark.parametrize("chunked", [False, True])
def test_body_limits(gateway: AuthzStack, chunked: bool) -> None:
    """A body up to the limit passes, a longer one is a 413 problem, whether or not its length was said."""
    statuses = []
    for size in (LIMIT, LIMIT + 1):
        body = b"x" * size
        content = iter([body[:1000], body[1000:]]) if chunked else body
        answer = httpx.post(f"{gateway.url}/hooks", content=content, headers=gateway.signed("/hooks", body), timeout=20)
        statuses.append(answer.status_code)

    assert [200, 413] == statuses
    assert "urn:meetinity:body-too-large" == answer.json()["type"]


def test_other_routes_are_not_buffered(gateway: AuthzStack) -> None:
    """Bodies of routes without signatures may be longer than what signed ones may have."""
    answer = httpx.post(f"{gateway.url}/users", content=b"x" * (LIMIT * 4), headers=gateway.bearer(), timeout=20)

    assert (200, LIMIT * 4) == (answer.status_code, answer.json()["length"])


def test_an_upgrade_cannot_carry_an_unsigned_body(gateway: AuthzStack) -> None:
    """Envoy does not show ext_authz the body of an upgrade, so one is refused although the empty body was signed."""
    headers = [f"{name}: {value}" for name, value in gateway.signed("/hooks", method="GET").items()]
    upgrade = ["upgrade: websocket", "sec-websocket-version: 13", "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA=="]
    with_body = [*upgrade, "content-length: 5"]
    request = ["GET /hooks HTTP/1.1", *headers, "connection: upgrade", *with_body]

    assert status_of(raw(gateway.stack.port, *request, body=b"hello")) in (400, 401)


@pytest.mark.parametrize("offset_s", [-3600, 3600])
def test_old_and_future_signatures(gateway: AuthzStack, offset_s: int) -> None:
    """A timestamp further away than the clock skew is refused."""
    sign = runpy.run_path(str(SIGNER))["signature_headers"]
    url = f"{gateway.url}/hooks"
    headers = sign("billing", CLIENT_SECRET, "GET", url, timestamp=str(int(time.time()) + offset_s))

    assert 401 == httpx.get(url, headers=headers).status_code


def test_unsigned_is_unauthenticated(gateway: AuthzStack) -> None:
    """Without a signature the answer names the scheme."""
    answer = httpx.get(f"{gateway.url}/hooks")

    assert (401, 'Signature realm="hooks"') == (answer.status_code, answer.headers["www-authenticate"])
