"""What the translation means to clients and services: a static Envoy, no control plane, no callouts.

The callouts' endpoints lead nowhere, so a route that asks one is answered 503.
"""

import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import grpc
import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from control_plane.cli.files import CommandLineFiles
from control_plane.config.loading import load
from tests.e2e.echo import Echo, echo
from tests.e2e.envoy import StaticEnvoy, static_envoy
from tests.e2e.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("translation")]

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
APP = "https://app.example.com"
CONFIGURATION = Path(__file__).with_name("translation.yaml")


@dataclass(frozen=True)
class Running:
    envoy: StaticEnvoy
    service: Echo
    client: httpx.Client
    access_log: Path

    def get(self, path: str, listener: str = "public", **options: object) -> httpx.Response:
        return self.client.get(self.envoy.url(listener) + path, **options)  # type: ignore[arg-type]

    def sent_upstream(self, response: httpx.Response) -> dict[str, str]:
        """Headers that the service got."""
        return dict(response.json()["headers"])

    def logged(self, request_id: str) -> dict[str, object]:
        """The line of one request, once it is there."""
        lines: list[dict[str, object]] = []

        def found() -> bool:
            read = map(json.loads, self.access_log.read_text().splitlines())
            lines[:] = [line for line in read if line["request_id"] == request_id]
            return bool(lines)

        until(found, "the line in the access log")
        return lines[0]


@contextmanager
def grpc_echo() -> Iterator[int]:
    """A gRPC service that answers each message of a stream with the same; its port."""
    server = grpc.server(ThreadPoolExecutor(4))
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(lambda messages, _: messages)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("echo.Echo", {"Talk": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()


@pytest.fixture(scope="module")
def running(envoy_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One Envoy for all tests of this module; none of them changes it."""
    folder = tmp_path_factory.mktemp("static")
    access_log = folder / "access.log"
    with echo(2) as service, grpc_echo() as grpc_port:
        environment = {
            "GRPC": str(grpc_port),
            "FIRST": str(service.ports[0]),
            "SECOND": str(service.ports[1]),
            "SOCKET": str(folder / "no.sock"),
            "LOG": str(access_log),
        }
        loaded = load(str(CONFIGURATION), CommandLineFiles(), environment)
        assert loaded.gateway is not None, "\n".join(map(str, loaded.faults))
        with static_envoy(envoy_binary, folder, loaded.gateway) as envoy, httpx.Client(timeout=10) as client:
            yield Running(envoy, service, client, access_log)


def _problem(response: httpx.Response) -> tuple[int, str]:
    """Status and name of a problem, after checking what all of them have in common."""
    problem = response.json()
    assert "application/problem+json" == response.headers["content-type"]
    assert response.headers["x-request-id"] == problem["instance"]
    assert response.status_code == problem["status"]
    assert "server" not in response.headers
    assert {"type", "title", "status", "detail", "instance"} == set(problem)
    return response.status_code, problem["type"].removeprefix("urn:meetinity:")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/none", (404, "no-route")),
        ("/api/usersX", (404, "no-route")),
        ("/echo%2fx", (400, "bad-request")),
        ("/dead", (502, "upstream-reset")),
        ("/nowhere", (503, "no-endpoints")),
        ("/echo/slow", (504, "upstream-timeout")),
        ("/private", (503, "auth-unavailable")),
        ("/processed", (503, "processing-unavailable")),
    ],
)
def test_envoys_own_replies_are_problems(running: Running, path: str, expected: tuple[int, str]) -> None:
    """What Envoy answers itself is problem+json with the id of the request."""
    assert expected == _problem(running.get(path))


def test_a_dead_processor_may_be_passed_by(running: Running) -> None:
    """A route whose ext_proc failure mode is open is served without it."""
    assert 200 == running.get("/tolerant").status_code


def test_headers_too_large(running: Running) -> None:
    """More header bytes than the listener takes are a 431."""
    assert (431, "headers-too-large") == _problem(running.get("/echo", headers={"x-big": "a" * 70_000}))


def test_underscores_are_refused(running: Running) -> None:
    """A header name with an underscore is a 400: a service might read it as one with a hyphen."""
    assert (400, "bad-request") == _problem(running.get("/echo", headers={"x_user_id": "mallory"}))


def test_upstream_failures_are_retried_for_safe_methods_only(running: Running) -> None:
    """A 503 of a service is asked for again with GET, not with POST."""
    running.service.requests.clear()

    running.get("/echo/fail")
    running.client.post(running.envoy.url() + "/echo/fail")

    assert ["GET /echo/fail"] * 3 + ["POST /echo/fail"] == running.service.requests


def test_a_grpc_caller_gets_a_grpc_status(running: Running) -> None:
    """Envoy's replies to gRPC have a grpc-status that says what happened, and no JSON."""
    headers = {"content-type": "application/grpc"}
    late = running.get("/echo/slow", headers=headers)
    unknown = running.get("/none", headers=headers)

    assert ("4", "the service did not answer in time") == (late.headers["grpc-status"], late.headers["grpc-message"])
    assert ("12", "no route matches the request") == (unknown.headers["grpc-status"], unknown.headers["grpc-message"])


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        ("other.org", "/first", "first"),
        ("api.example.com", "/first", "first"),
        ("API.Example.com.:8080", "/anything", "host"),
        ("a.b.example.com:1", "/sub", "sub"),
        ("api.example.com", "/sub", "host"),
    ],
)
def test_first_match_wins_over_all_hosts(running: Running, host: str, path: str, expected: str) -> None:
    """File order decides, not how specific a host is; case and port of Host do not count."""
    assert expected == running.get(path, headers={"host": host}).text


def test_a_wildcard_is_not_the_domain_itself(running: Running) -> None:
    """*.example.com is not example.com."""
    assert 404 == running.get("/sub", headers={"host": "example.com"}).status_code


def test_conditions_on_headers_query_and_method(running: Running) -> None:
    """All conditions have to hold; a known path with another method is a 404."""
    statuses = [
        running.get("/v?page=7", headers={"x-version": "2"}).status_code,
        running.get("/v?page=x", headers={"x-version": "2"}).status_code,
        running.get("/v?page=7").status_code,
        running.client.post(running.envoy.url() + "/v").status_code,
    ]

    assert [200, 404, 404, 200] == statuses


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/users", "/"),
        ("/api/users/", "/"),
        ("/api/users/7?q=1", "/7?q=1"),
        ("//api//users//7/", "/7/"),
        ("/x/../api/users/7", "/7"),
    ],
)
def test_rewrites_make_no_double_slash(running: Running, path: str, expected: str) -> None:
    """The service gets one clean path; the query stays."""
    assert expected == running.get(path).json()["path"]


def test_redirects_keep_the_query(running: Running) -> None:
    """Only what the redirect names is exchanged."""
    response = running.get("/old/a?x=1", headers={"host": "example.net"})

    assert (308, "http://example.net/new/a?x=1") == (response.status_code, response.headers["location"])


def test_a_listener_may_redirect_everything(running: Running) -> None:
    """308 to the same host, path and query under https."""
    response = running.get("/a/b?c=d", "plain", headers={"host": "example.net"})

    assert (308, "https://example.net:8443/a/b?c=d") == (response.status_code, response.headers["location"])


def test_clients_cannot_claim_what_the_gateway_says(running: Running) -> None:
    """Identity, forwarding and x-envoy headers of a client never reach a service; nor do the gateway's own."""
    forged = ["X-User-Id", "x-envoy-retry-on", "x-forwarded-host", "x-real-ip", "forwarded", "x-gateway-client-ip"]
    response = running.get("/echo", headers={**dict.fromkeys(forged, "mallory"), "x-forwarded-for": "6.6.6.6"})
    sent = running.sent_upstream(response)

    assert "mallory" not in sent.values()
    assert "6.6.6.6" not in sent["x-forwarded-for"]
    assert set() == {name for name in sent if name.startswith(("x-envoy-", "x-gateway-"))}
    assert UUID.fullmatch(sent["x-request-id"])


@pytest.mark.parametrize(
    ("listener", "forwarded_for", "expected"),
    [
        ("public", "203.0.113.7", "127.0.0.1"),
        ("proxied", "6.6.6.6, 203.0.113.7", "203.0.113.7"),
        ("listed", "6.6.6.6, 203.0.113.7, 10.1.2.3", "203.0.113.7"),
        ("listed", "10.1.2.3", "10.1.2.3"),
    ],
)
def test_client_address(running: Running, listener: str, forwarded_for: str, expected: str) -> None:
    """The address is found as the listener says, whatever else a client writes."""
    response = running.get("/echo", listener, headers={"x-forwarded-for": forwarded_for})

    assert expected == running.logged(response.headers["x-request-id"])["client_ip"]


def test_client_address_by_proxy_protocol(running: Running) -> None:
    """A TCP proxy says who connected."""
    with socket.create_connection(("127.0.0.1", running.envoy.ports["tcp"])) as connection:
        connection.sendall(
            b"PROXY TCP4 203.0.113.9 127.0.0.1 1234 80\r\nGET /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
        )
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    request_id = re.search(r"x-request-id: (\S+)", answer)

    assert request_id is not None
    assert "203.0.113.9" == running.logged(request_id[1])["client_ip"]


@pytest.mark.parametrize(
    ("sent", "is_kept"), [("abc-123", True), ("a" * 128, True), ("a" * 129, False), ("a b", False)]
)
def test_a_request_id_is_kept_behind_a_proxy_only(running: Running, sent: str, is_kept: bool) -> None:
    """1 to 128 visible ASCII characters are kept; anything else, or from anybody else, is replaced."""
    proxied = running.get("/echo", "proxied", headers={"x-request-id": sent}).headers["x-request-id"]
    public = running.get("/echo", headers={"x-request-id": sent}).headers["x-request-id"]

    assert is_kept == (sent == proxied)
    assert UUID.fullmatch(public)


def _preflight(running: Running, path: str, origin: str, method: str = "GET") -> httpx.Response:
    headers = {"origin": origin, "access-control-request-method": method}
    return running.client.options(running.envoy.url() + path, headers=headers)


@pytest.mark.parametrize("path", ["/private/x", "/info"])
def test_preflights_are_answered_without_credentials(running: Running, path: str) -> None:
    """A preflight is answered on the spot, although its route asks for a token and takes only GET."""
    running.service.requests.clear()
    response = _preflight(running, path, APP)

    assert (200, APP) == (response.status_code, response.headers["access-control-allow-origin"])
    assert [] == running.service.requests


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "https://app.example.com.evil.example", "https://example.org"]
)
def test_preflights_of_other_origins_go_nowhere(running: Running, origin: str) -> None:
    """They are told nothing and reach nobody."""
    running.service.requests.clear()

    assert "access-control-allow-origin" not in _preflight(running, "/private", origin).headers
    assert [] == running.service.requests


def test_preflights_are_for_the_methods_of_their_route(running: Running) -> None:
    """A method that the route does not take is asked for in vain."""
    assert 404 == _preflight(running, "/private", APP, "DELETE").status_code


@pytest.mark.parametrize("path", ["/private", "/info"])
def test_answers_of_the_gateway_carry_cors_headers(running: Running, path: str) -> None:
    """A script can read why it was refused, and the gateway's own headers."""
    response = running.get(path, headers={"origin": "https://app.example.com"})
    elsewhere = running.get(path, headers={"origin": "https://evil.example"})

    assert APP == response.headers["access-control-allow-origin"]
    assert "x-request-id" in response.headers["access-control-expose-headers"]
    assert "origin" == response.headers["vary"]
    assert "access-control-allow-origin" not in elsewhere.headers


@pytest.mark.parametrize(
    ("accepted", "expected"), [("gzip, br", "br"), ("gzip", "gzip"), ("gzip;q=1, br;q=0.5", "gzip")]
)
def test_compression_keeps_validators(running: Running, accepted: str, expected: str) -> None:
    """The client's favourite is used; a strong ETag becomes a weak one instead of vanishing."""
    response = running.get("/compressed/etag", headers={"accept-encoding": accepted})

    assert (expected, 'W/"v1"') == (response.headers["content-encoding"], response.headers["etag"])
    assert "x-envoy-secret" not in response.headers


def test_deprecation(running: Running) -> None:
    """RFC 9745 and RFC 8594 headers, on answers of the service."""
    headers = running.get("/api/users").headers

    assert ("@1788220800", "Mon, 01 Mar 2027 00:00:00 GMT", '</v2>; rel="successor-version"') == (
        headers["deprecation"],
        headers["sunset"],
        headers["link"],
    )


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_over_the_limit(running: Running, chunked: bool) -> None:
    """A body over the route's limit is a 413, whether or not its length was said; one within passes."""

    def post(body: bytes) -> httpx.Response:
        content = iter([body]) if chunked else body
        return running.client.post(running.envoy.url() + "/small", content=content)

    assert (413, "body-too-large") == _problem(post(b"x" * 11))
    assert 10 == post(b"x" * 10).json()["length"]


def test_sticky_sessions(running: Running) -> None:
    """The cookie is set when it is missing, and leads to one and the same endpoint."""
    with httpx.Client(base_url=running.envoy.url()) as client:
        first = client.get("/sticky")
        later = {client.get("/sticky").json()["port"] for _ in range(5)}

    assert re.search(r"^session=.*; Path=/; .*HttpOnly", first.headers["set-cookie"])
    assert {first.json()["port"]} == later


def test_websockets_outlive_the_timeout(running: Running) -> None:
    """After the upgrade the route's timeout of 1 s no longer counts; `upgrades: none` refuses it."""
    url = running.envoy.url().replace("http", "ws")
    with connect(url + "/echo/ws") as websocket:
        websocket.send("one")
        assert "echo one" == websocket.recv()
        with pytest.raises(TimeoutError):
            websocket.recv(timeout=1.5)
        websocket.send("two")
        assert "echo two" == websocket.recv()

    with pytest.raises(InvalidStatus) as refused:
        connect(url + "/no-upgrades")
    assert 403 == refused.value.response.status_code


@pytest.mark.parametrize("deadline_s", [None, 60])
def test_a_grpc_stream_ends_with_the_timeout(running: Running, deadline_s: float | None) -> None:
    """Also one on which the client goes on sending, whatever deadline the client names."""
    over = Event()

    def said() -> Iterator[bytes]:
        yield b"hello"
        over.wait(20)

    with grpc.insecure_channel(f"127.0.0.1:{running.envoy.ports['public']}") as channel:
        call: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream("/echo.Echo/Talk")
        begun_s = time.monotonic()
        answers = call(said(), timeout=deadline_s)
        try:
            assert b"hello" == next(answers)
            with pytest.raises(grpc.RpcError):
                next(answers)
        finally:
            over.set()

    assert 0.9 < time.monotonic() - begun_s < 15


def test_access_log(running: Running) -> None:
    """One JSON object with the members of the contract; what is absent is null."""
    response = running.get("/api//users/7?token=secret", headers={"user-agent": "test"})
    line = running.logged(response.headers["x-request-id"])
    measured = {line.pop(name) for name in ("time", "duration_ms", "upstream_duration_ms", "bytes")}

    assert None not in measured
    assert {
        "request_id": response.headers["x-request-id"],
        "method": "GET",
        "path": "/api/users/7",
        "route": "rewritten",
        "status": 200,
        "flags": None,
        "upstream": f"127.0.0.1:{running.service.ports[0]}",
        "client_ip": "127.0.0.1",
        "user": None,
        "api_key": None,
        "cache": None,
        "rate_limit": None,
        "trace_id": None,
        "user_agent": "test",
    } == line


def test_access_log_of_failures(running: Running) -> None:
    """Envoy's own replies are logged with their flags, requests without a route too."""
    missing = running.logged(running.get("/none").headers["x-request-id"])
    refused = running.logged(running.get("/echo%2f").headers["x-request-id"])

    assert (404, "NR", None) == (missing["status"], missing["flags"], missing["route"])
    assert (400, None) == (refused["status"], refused["route"])


def test_silent_routes_are_not_logged(running: Running) -> None:
    """`access_log: none` keeps a route out of the log."""
    silent = running.get("/silent").headers["x-request-id"]
    running.logged(running.get("/first").headers["x-request-id"])

    assert silent not in running.access_log.read_text()


def test_only_readiness_and_metrics_are_shown(running: Running) -> None:
    """The status listener leads to two paths of the admin interface."""
    statuses = {
        path: running.get(path, "status").status_code for path in ("/ready", "/stats/prometheus", "/quitquitquit")
    }

    assert {"/ready": 200, "/stats/prometheus": 200, "/quitquitquit": 404} == statuses
    assert "envoy_server_live" in running.get("/stats/prometheus", "status").text
