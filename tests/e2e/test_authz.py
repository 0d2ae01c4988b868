"""What the security check-list says of credentials and headers, through a real Envoy and the whole gateway."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator

import aiohttp
import grpc
import httpx
import pytest

from tests.e2e.authz_stack import COOLDOWN_S, AuthzStack, authz_stack
from tests.e2e.h2_client import tunnel, websocket_headers
from tests.e2e.load import load
from tests.e2e.raw_http import raw, raw_answer, status_of
from tests.e2e.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("authz"), pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthzStack]:
    with authz_stack(tmp_path_factory.mktemp("authz")) as running:
        yield running


def seen(answer: httpx.Response, name: str) -> list[str]:
    """The values of a header that the service got, in any spelling."""
    return [value for key, value in answer.json()["headers"] if key.replace("_", "-") == name]


def test_a_token_becomes_identity_headers(gateway: AuthzStack) -> None:
    """Without a token 401 with a challenge; with one the service learns who calls."""
    refused = httpx.get(f"{gateway.url}/users")
    answer = httpx.get(f"{gateway.url}/users", headers=gateway.bearer("alice"))

    assert (401, 'Bearer realm="main"') == (refused.status_code, refused.headers["www-authenticate"])
    assert "application/problem+json" == refused.headers["content-type"]
    assert refused.headers["x-request-id"] == refused.json()["instance"]
    assert (200, ["alice"]) == (answer.status_code, seen(answer, "x-user-id"))


def test_two_authorization_headers(gateway: AuthzStack) -> None:
    """Two lines are refused, in either order, although one of them is good; so is a comma in one."""
    good, bad = ("authorization", gateway.bearer()["authorization"]), ("authorization", "Bearer x")
    joined = [("authorization", f"{good[1]},{bad[1]}")]

    assert [401] * 4 == [gateway.status("/users", lines) for lines in ([good, bad], [bad, good], [good, good], joined)]


@pytest.mark.parametrize(
    ("path", "cookie", "expected"),
    [
        ("/web?a=1&token={0}&b=2", "", ("/web?a=1&b=2", [])),
        ("/web?token={0}", "", ("/web", [])),
        ("/web?%74oken={0}", "", ("/web", [])),
        ("/web?a=%20x%2f&to%6Ben={0}&a=", "", ("/web?a=%20x%2f&a=", [])),
        ("/web?b=2", "a=1; session={0}; c=3", ("/web?b=2", ["a=1; c=3"])),
        ("/web?b=2", "session={0}", ("/web?b=2", [])),
    ],
)
def test_tokens_outside_of_a_header_stay_here(
    gateway: AuthzStack, path: str, cookie: str, expected: tuple[str, list[str]]
) -> None:
    """A token in query or cookie counts, however its name is spelled, and does not reach the service."""
    token = gateway.stack.token("alice", iss="https://web.example")
    line = f"GET {path.format(token)} HTTP/1.1"
    answer = raw_answer(gateway.stack.port, line, *([f"cookie: {cookie.format(token)}"] if cookie else []))
    got = json.loads(answer.rpartition(b"\r\n\r\n")[2])

    assert expected == (got["path"], [value for name, value in got["headers"] if name == "cookie"])
    assert ["alice"] == [value for name, value in got["headers"] if name == "x-user-id"]
    assert token not in json.dumps(got)


def test_two_api_keys(gateway: AuthzStack) -> None:
    """Two X-API-Key lines are refused, although both are good."""
    key = ("x-api-key", "first-key")

    assert [200, 401] == [gateway.status("/keys", [key]), gateway.status("/keys", [key, key])]


@pytest.mark.parametrize("path", ["/open", "/users", "/anyone", "/shadow", "/bold"])
@pytest.mark.parametrize("name", ["x-user-id", "X-USER-ID", "X-User-Id", "x-tenant", "x-tier"])
def test_identity_headers_cannot_be_claimed(gateway: AuthzStack, path: str, name: str) -> None:
    """No client's identity header reaches the service: on public, protected, optional and shadow routes, sent twice."""
    token = {} if path in ("/open", "/anyone", "/shadow") else gateway.bearer("alice")
    answer = httpx.get(gateway.url + path, headers=[(name, "root"), (name, "admin"), *token.items()])

    expected = ["alice"] if token and name.lower() == "x-user-id" else []
    assert (200, expected) == (answer.status_code, seen(answer, name.lower()))


def test_identity_headers_with_underscores(gateway: AuthzStack) -> None:
    """x_user_id, which some services read as x-user-id, is a 400 on every route."""
    assert [400, 400] == [gateway.status(path, {"x_user_id": "root"}) for path in ("/open", "/users")]


def test_headers_named_by_connection(gateway: AuthzStack) -> None:
    """A client can make Envoy drop its own headers, but neither the identity nor the check."""
    token = f"authorization: {gateway.bearer()['authorization']}"
    dropped = raw(gateway.stack.port, "GET /users HTTP/1.1", token, "connection: authorization, x-user-id")
    with_identity = httpx.get(
        f"{gateway.url}/users", headers={**gateway.bearer("alice"), "connection": "keep-alive, x-user-id, x-tenant"}
    )

    assert status_of(dropped) in (400, 401)
    assert with_identity.status_code == 400 or ["alice"] == seen(with_identity, "x-user-id")


@pytest.mark.parametrize("name", ["x-envoy-auth-partial-body", "x-envoy-auth-failure-mode-allowed", "x-envoy-internal"])
def test_envoys_own_headers_cannot_be_claimed(gateway: AuthzStack, name: str) -> None:
    """What Envoy would say with them a client cannot say."""
    assert [] == seen(httpx.get(f"{gateway.url}/open", headers={name: "true"}), name)


def test_octets_that_are_no_text(gateway: AuthzStack) -> None:
    """Header values of any octets are judged: no error, no way around."""
    for value in (b"\xff\xfe", b"Bearer \xff.\xff.\xff", b"Bearer \xc3\xa9"):
        line = b"authorization: " + value
        assert status_of(raw(gateway.stack.port, "GET /users HTTP/1.1", line)) in (400, 401)


def test_claims_that_break_a_header(gateway: AuthzStack) -> None:
    """A claim with CR and LF is a clean 401; one that is no ASCII reaches the service."""
    broken = gateway.bearer("alice\r\nx-user-id: root")
    answer = httpx.get(f"{gateway.url}/users", headers=gateway.bearer("Zoë"))

    assert 401 == gateway.status("/users", broken)
    assert [b"Zo\xc3\xab"] == [value.encode("utf-8", "surrogateescape") for value in seen(answer, "x-user-id")]


def test_preflights_pass_and_bare_options_does_not(gateway: AuthzStack) -> None:
    """Only OPTIONS with Origin and Access-Control-Request-Method is a preflight; it reaches no service."""
    origin, wanted = {"origin": "https://app.example"}, {"access-control-request-method": "GET"}
    before = len(gateway.echo.requests)
    preflight = httpx.options(f"{gateway.url}/users", headers=origin | wanted)
    others = [httpx.options(f"{gateway.url}/users", headers=headers).status_code for headers in ({}, origin, wanted)]

    assert (200, "https://app.example") == (preflight.status_code, preflight.headers["access-control-allow-origin"])
    assert [401] * 3 == others
    assert before == len(gateway.echo.requests)


@pytest.mark.parametrize(
    "path",
    [
        "//admin",
        "/users/../admin",
        "/users/%2e%2e/admin",
        "/%61dmin",
        "/users/..\\admin",
        "/users%2f..%2fadmin",
        "/users/..%5cadmin",
        "/users/..;/admin",
        "/admin%00",
        "/admin;x=1",
        "/admin%252f",
        "*",
        "users",
    ],
)
def test_no_path_leads_around_a_check(gateway: AuthzStack, path: str) -> None:
    """However a path is spelled, the service sees /admin only if the caller is an admin."""
    token = f"authorization: {gateway.bearer()['authorization']}"
    before = len(gateway.echo.requests)
    status = status_of(raw(gateway.stack.port, f"GET {path} HTTP/1.1", token))
    reached = [each.partition(" ")[2] for each in gateway.echo.requests[before:]]

    assert status in (200, 400, 403, 404)
    assert all(each.startswith("/users/") and ".." not in each for each in reached)


@pytest.mark.parametrize(
    "path", ["/openx", "/open-x", "/open%78", "/opener/users", "/OPEN", "/users?/open", "/x?/open"]
)
def test_public_paths_are_whole_segments(gateway: AuthzStack, path: str) -> None:
    """What only begins like a public path, or names one in its query, is not public."""
    before = len(gateway.echo.requests)

    assert gateway.status(path) in (401, 404)
    assert before == len(gateway.echo.requests)


def test_connect_is_refused(gateway: AuthzStack) -> None:
    """A CONNECT leads nowhere."""
    assert status_of(raw(gateway.stack.port, "CONNECT 127.0.0.1:22 HTTP/1.1")) in (400, 403, 404, 405)


def test_methods_cannot_be_overridden(gateway: AuthzStack) -> None:
    """X-HTTP-Method-Override changes nothing, and `options` is no OPTIONS."""
    preflight = {"origin": "https://app.example", "access-control-request-method": "GET"}
    lines = [f"{name}: {value}" for name, value in preflight.items()]

    assert 401 == gateway.status("/users", preflight | {"x-http-method-override": "OPTIONS"})
    assert status_of(raw(gateway.stack.port, "options /users HTTP/1.1", *lines)) in (400, 401)


def call(gateway: AuthzStack, method: str, **metadata: str) -> tuple[grpc.StatusCode, dict[str, str]]:
    """Call as a gRPC client; return status and trailing metadata."""
    with grpc.insecure_channel(f"127.0.0.1:{gateway.stack.port}") as channel:
        unary: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        with pytest.raises(grpc.RpcError) as failed:  # the echo service speaks no gRPC
            unary(b"", metadata=tuple(metadata.items()), timeout=20)
    assert isinstance(failed.value, grpc.Call)
    return failed.value.code(), {key: str(value) for key, value in failed.value.trailing_metadata()}


def test_grpc_callers_get_a_grpc_status(gateway: AuthzStack) -> None:
    """401, 403 and 429 are UNAUTHENTICATED, PERMISSION_DENIED and RESOURCE_EXHAUSTED, with a time to come back."""
    token = gateway.bearer("grpc")
    missing, _ = call(gateway, "/users/Call")
    forbidden, _ = call(gateway, "/admin/Call", **token)
    call(gateway, "/scarce/Call", **token)
    limited, trailers = call(gateway, "/scarce/Call", **token)

    assert grpc.StatusCode.UNAUTHENTICATED is missing
    assert grpc.StatusCode.PERMISSION_DENIED is forbidden
    assert grpc.StatusCode.RESOURCE_EXHAUSTED is limited
    assert int(trailers["retry-after"]) > 3000


def test_limits_answer_with_their_headers(gateway: AuthzStack) -> None:
    """An allowed answer says what is left; the refusal is a 429 problem with Retry-After."""
    token = gateway.bearer("limited")
    first, second = (httpx.get(f"{gateway.url}/scarce", headers=token) for _ in range(2))

    assert (200, '"scarce";q=1;w=3600') == (first.status_code, first.headers["ratelimit-policy"])
    assert (429, "urn:meetinity:rate-limited") == (second.status_code, second.json()["type"])
    assert 3500 < int(second.headers["retry-after"]) <= 3600


async def test_websocket_upgrades_need_the_credential(gateway: AuthzStack) -> None:
    """The handshake is refused with 401 without a token, and passes with one."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{gateway.url}/users/socket")
        async with session.ws_connect(f"{gateway.url}/users/socket", headers=gateway.bearer()) as passed:
            await passed.send_str("hello")
            async with asyncio.timeout(20):
                answer = await passed.receive_str()

    assert (401, "echo hello") == (refused.value.status, answer)


def test_websockets_over_http2_need_the_credential(gateway: AuthzStack) -> None:
    """Extended CONNECT (RFC 8441) is judged like any request: 401 without a token, and the service hears nothing."""
    hello = b"\x81\x85\0\0\0\0hello"  # a text frame, masked with zeros
    before = len(gateway.echo.requests)
    for headers in ([], [("authorization", "Bearer x")], [("x-user-id", "root")]):
        with tunnel(gateway.stack.port, websocket_headers("/users/socket", *headers)) as refused:
            assert 401 == refused.status
    assert before == len(gateway.echo.requests)

    token = ("authorization", gateway.bearer()["authorization"])
    with tunnel(gateway.stack.port, websocket_headers("/users/socket", token)) as passed:
        assert (200, b"\x81\x0aecho hello") == (passed.status, passed.says(hello))


@pytest.mark.parametrize(
    ("path", "protocol", "expected"),
    [
        ("/open/socket", "websocket", {200}),
        ("/admin/socket", "websocket", {403}),
        ("//admin/socket", "websocket", {403}),
        ("/open/../admin/socket", "websocket", {403}),
        ("/open%2f..%2fadmin", "websocket", {400}),
        ("*", "websocket", {400, 404, None}),
        ("127.0.0.1:22", "websocket", {400, 404, None}),
        ("/open", "connect-udp", {400, 403, 404, None}),
        ("/open", "", {400, 403, 404, None}),
    ],
)
def test_extended_connect_goes_by_its_path(
    gateway: AuthzStack, path: str, protocol: str, expected: set[int | None]
) -> None:
    """The rules are those of `:path`, as the service would see it; what is no WebSocket leads nowhere."""
    token = ("authorization", gateway.bearer()["authorization"])
    before = len(gateway.echo.requests)
    with tunnel(gateway.stack.port, websocket_headers(path, token, protocol=protocol)) as told:
        assert told.status in expected
    assert (200 in expected) is (len(gateway.echo.requests) > before)


def test_plain_connect_over_http2_is_refused(gateway: AuthzStack) -> None:
    """CONNECT with an authority alone opens no tunnel, with a token neither."""
    token = ("authorization", gateway.bearer()["authorization"])
    for authority in ("127.0.0.1:22", f"127.0.0.1:{gateway.echo.ports[0]}"):
        with tunnel(gateway.stack.port, [(":method", "CONNECT"), (":authority", authority), token]) as told:
            assert told.status in {400, 403, 404, None}


@pytest.mark.parametrize(
    ("forwarded_for", "expected"),
    [
        ("198.51.100.7", 200),
        ("203.0.113.9, 198.51.100.7", 200),
        ("198.51.100.7, 203.0.113.9", 403),
        ("198.51.100.66", 403),
        ("::ffff:198.51.100.7", 200),
        ("not-an-ip", 403),
        ("198.51.100.7:4444", 403),
        ("unknown", 403),
        ("", 403),
        ("203.0.113.9\n198.51.100.7", 200),
        ("198.51.100.7\n203.0.113.9", 403),
    ],
)
def test_ip_rules_behind_a_proxy(gateway: AuthzStack, forwarded_for: str, expected: int) -> None:
    """The last address of the last line counts, deny wins; what is no address is the proxy's own, and not listed."""
    url = f"http://127.0.0.1:{gateway.proxied_port}/office"
    lines = [("x-forwarded-for", line) for line in forwarded_for.split("\n")]

    assert expected == httpx.get(url, headers=lines).status_code


@pytest.mark.parametrize(
    "name", ["X-Forwarded-For", "x-real-ip", "forwarded", "x-envoy-external-address", "x-gateway-client-ip"]
)
def test_an_address_cannot_be_claimed(gateway: AuthzStack, name: str) -> None:
    """Where no proxy is trusted, no header makes a client come from elsewhere."""
    assert 403 == gateway.status("/office", {name: "198.51.100.7"})


def test_shadow_passes_and_counts(gateway: AuthzStack) -> None:
    """Whoever would be denied reaches the service, and the counter tells how many and why."""
    name, labels = "gateway_authz_shadow_denials_total", 'reason="no_credential",route="shadow"'
    before = gateway.sample(name, labels)

    assert [200, 200] == [gateway.status("/shadow", {}), gateway.status("/shadow", gateway.bearer())]
    assert before + 1 == gateway.sample(name, labels)


def test_what_operators_see(gateway: AuthzStack) -> None:
    """Decisions by route and reason are counted, and the access log knows the caller and never the credential."""
    before = gateway.sample("gateway_authz_decisions_total", 'reason="no_credential",route="admin"')
    gateway.status("/admin")
    token = gateway.bearer("seen-in-the-log")
    gateway.status("/users", token)
    log = gateway.stack.state_dir.path
    text = ""

    with httpx.Client(base_url=gateway.url) as client:

        def logged() -> bool:
            nonlocal text
            for _ in range(50):
                client.get("/open")  # Envoy writes its log when 64 KiB have come together, or after 10 s
            text = "".join(path.read_text(errors="replace") for path in log.rglob("*.log"))
            return '"user":"seen-in-the-log"' in text

        until(logged, "the request is logged")
    assert before + 1 == gateway.sample("gateway_authz_decisions_total", 'reason="no_credential",route="admin"')
    assert token["authorization"].partition(" ")[2] not in text


def test_api_keys_rotate_without_a_refusal(gateway: AuthzStack) -> None:
    """Two keys of a caller live side by side while one is exchanged; the old one ends with the file."""
    gateway.write_keys("first-key")
    until(lambda: gateway.status("/keys", {"x-api-key": "first-key"}) == 200, "the first key is good")
    with load(f"{gateway.url}/keys", headers={"x-api-key": "first-key"}) as old:
        old.until_more(5)
        gateway.write_keys("first-key", "second-key")
        until(lambda: gateway.status("/keys", {"x-api-key": "second-key"}) == 200, "both are good", 5)
        old.until_more(20)
    with load(f"{gateway.url}/keys", headers={"x-api-key": "second-key"}) as new:
        new.until_more(5)
        gateway.write_keys("second-key")
        until(lambda: gateway.status("/keys", {"x-api-key": "first-key"}) == 401, "the old one has ended", 5)
        new.until_more(20)
    gateway.write_keys("first-key")
    until(lambda: gateway.status("/keys", {"x-api-key": "first-key"}) == 200, "the next test finds what it expects")

    assert ({}, {}) == (old.failures, new.failures)


def test_keys_of_an_issuer_rotate(gateway: AuthzStack) -> None:
    """Tokens of fetched and of discovered keys pass; a new key is found by its first token, and the old one ends."""
    issuer = gateway.issuer

    def status(path: str, kid: str) -> int:
        return gateway.status(path, {"authorization": f"Bearer {issuer.token(kid)}"})

    until(lambda: [status("/remote", "one"), status("/found", "one")] == [200, 200], "the keys are there")
    begun_s, before = time.monotonic(), issuer.fetches
    assert 401 == status("/remote", "two")
    issuer.kids = ("one", "two")
    old = issuer.token("one")
    with load(f"{gateway.url}/remote", headers={"authorization": f"Bearer {old}"}, clients=1) as tally:
        until(lambda: status("/remote", "two") == 200, "the new key is known")
        tally.until_more(5)
    issuer.kids = ("two",)
    assert 401 == status("/remote", "three")
    until(lambda: gateway.status("/remote", {"authorization": f"Bearer {old}"}) == 401, "the old one has ended")
    fetches = issuer.fetches - before

    assert {} == tally.failures
    assert 200 == status("/remote", "two")
    assert 2 <= fetches <= (time.monotonic() - begun_s) / COOLDOWN_S + 1


def test_a_stopped_ext_authz(gateway: AuthzStack) -> None:
    """While it does not answer, routes refuse with 503; one that says `failure_mode: open` passes, and only that."""
    pid = gateway.stack.state().processes["ext_authz"]
    token = gateway.bearer()
    os.kill(pid, signal.SIGSTOP)
    try:
        answers = [httpx.get(gateway.url + path, headers=token, timeout=20) for path in ("/users", "/bold", "/open")]
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: gateway.status("/users", token) == 200, "it is back")

    assert [503, 200, 200] == [answer.status_code for answer in answers]
    assert "urn:meetinity:auth-unavailable" == answers[0].json()["type"]
    assert [] == seen(answers[1], "x-user-id")


def test_a_killed_ext_authz(gateway: AuthzStack) -> None:
    """After kill -9 nobody passes until it is back; then tokens are judged as before."""
    old = gateway.stack.kill("ext_authz")
    statuses = {gateway.status("/users", gateway.bearer("alice")), gateway.status("/users")}
    gateway.stack.until_restarted("ext_authz", old)
    until(lambda: gateway.status("/users", gateway.bearer()) == 200, "tokens pass again")

    assert statuses <= {200, 401, 503}
    assert 401 == gateway.status("/users")
