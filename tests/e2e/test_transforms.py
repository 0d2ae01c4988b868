"""Transforms as clients and services see them: the whole gateway, with real Envoy between them."""

import gzip
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import brotli
import httpx
import pytest
from aiohttp import web
from websockets.sync.client import connect

from tests.e2e.stack import Stack
from tests.e2e.waiting import until
from tests.threads import http_server, in_thread

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("transforms"), pytest.mark.timeout(180)]

CONFIG = """
version: 1
name: shop
listeners: [{{name: public, port: {public}, address: 127.0.0.1, limits: {{request_body: 10MiB}}}}]
services: {{api: {{endpoints: [{{address: 127.0.0.1, port: {service}}}]}}}}
auth:
  jwt:
    main:
      issuer: https://auth.meetinity.io
      audiences: [meetinity-api]
      algorithms: [HS256]
      secret: "${{JWT_SECRET}}"
defaults: {{auth: none, rate_limits: none, timeout: 8s, retry: none}}
routes:
  - name: users
    match: {{path_prefix: /users}}
    service: api
    auth: {{any_of: [jwt.main]}}
    cache: {{ttl: 1m}}
    transform:
      path_parameters: /users/{{id}}
      request:
        path: /v2/{{claim:org.tenant}}/{{path:id}}
        query: {{set: {{by: "{{claim:sub}}"}}}}
        headers: {{rename: {{x-old: x-new}}, set: {{x-caller: "{{claim:sub}}"}}}}
        body: [{{type: remove, fields: [isAdmin]}}, {{type: set, fields: {{$.by: "{{claim:sub}}"}}}}]
      response:
        headers: {{set: {{x-frame-options: DENY}}, remove: [x-internal]}}
        body: [{{type: redact, fields: [password]}}]
  - name: redacted
    match: {{path_prefix: /redacted}}
    service: api
    cache: {{stale_if_error: 1m}}
    transform: {{max_body: 200KiB, response: {{body: [{{type: redact, fields: [password]}}]}}}}
  - name: passing
    match: {{path_prefix: /passing}}
    service: api
    transform:
      max_body: 200KiB
      on_unreadable: pass
      request: {{body: [{{type: remove, fields: [password]}}]}}
      response: {{body: [{{type: redact, fields: [password]}}]}}
  - name: uploads
    match: {{path_prefix: /uploads}}
    service: api
    transform: {{max_body: 200KiB, request: {{body: [{{type: remove, fields: [password]}}]}}}}
  - name: converted
    match: {{path_prefix: /converted}}
    service: api
    cache: {{}}
    transform:
      request: {{body: [{{type: convert, to: json}}]}}
      response: {{body: [{{type: convert, to: [json, xml, csv]}}]}}
  - name: graphql
    match: {{path_prefix: /people}}
    service: api
    transform:
      path_parameters: /people/{{id}}
      request:
        path: /graphql
        body:
          - type: graphql
            envelope: wrap
            query: "query ($id: ID!) {{ user(id: $id) {{ name }} }}"
            variables: {{id: "{{path:id}}"}}
      response: {{body: [{{type: graphql, envelope: unwrap, field: user}}]}}
  - name: validated
    match: {{path_prefix: /orders}}
    service: api
    cache: {{ttl: 1m}}
    transform:
      request: {{validate: {{openapi: orders.yaml}}}}
      response: {{validate: {{openapi: orders.yaml}}}}
"""

OPENAPI = """
openapi: 3.1.0
info: {title: orders, version: "1"}
paths:
  /orders/{id}:
    parameters: [{name: id, in: path, required: true, schema: {type: integer}}]
    get:
      responses:
        "200": {description: one, content: {application/json: {schema: {type: object, required: [item]}}}}
    put:
      requestBody: {required: true, content: {application/json: {schema: {type: object, required: [item]}}}}
      responses: {"200": {description: done, content: {application/json: {}}}}
"""

Answer = Callable[[web.Request, bytes], web.StreamResponse]


@dataclass
class Seen:
    """What reached the service."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Service:
    """Answers as the test at hand wants."""

    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    answer: Answer = field(default=lambda _request, _body: web.Response(text="ok"))
    chunks: bytes | None = None
    """A body that is sent in pieces, without its length."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("upgrade", "").lower() == "websocket":
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            async for message in socket:
                await socket.send_str(f"echo {message.data}")
            return socket
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append(Seen(f"{request.method} {request.raw_path}", headers, body))
        if self.chunks is None:
            return self.answer(request, body)
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        for start in range(0, len(self.chunks), 64 << 10):
            await response.write(self.chunks[start : start + (64 << 10)])
        await response.write_eof()
        return response

    def answers(self, document: object, status: int = 200, **headers: str) -> None:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        fields.setdefault("content-type", "application/json")
        self.answer = lambda _request, _body: web.Response(body=body, status=status, headers=fields)
        self.seen.clear()
        self.chunks = None


@contextmanager
def serving() -> Iterator[Service]:
    service = Service()
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", service.handle)
    with in_thread(http_server(app, auto_decompress=False)) as ports:
        service.port = ports[0]
        yield service


@dataclass
class Shop:
    stack: Stack
    service: Service
    client: httpx.Client


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, envoy_binary: str) -> Iterator[Shop]:
    """The gateway of CONFIG."""
    with serving() as service:
        stack = Stack.make(tmp_path_factory.mktemp("transforms"))
        stack.config.write_text(CONFIG.format(public=stack.port, service=service.port))
        (stack.folder / "orders.yaml").write_text(OPENAPI)
        started = stack.up("--no-demo")
        assert started.returncode == 0, started.stdout + started.stderr
        try:
            with stack.client() as client:
                yield Shop(stack, service, client)
        finally:
            stack.down()


def test_a_request_and_its_response_are_changed_and_hits_have_the_same_bytes(shop: Shop) -> None:
    """Claims, path, query, headers and bodies, with the right lengths; nothing that the client forged passes."""
    alice = shop.stack.bearer("alice", org={"tenant": "acme"})
    shop.service.answers({"password": "x", "a": 1}, etag='"1"', x_internal="1", content_digest="sha-256=:YQ==:")
    miss = shop.client.get("/users/7?by=mallory&v=1", headers=alice | {"x-caller": "mallory", "x-old": "o"})
    hit = shop.client.get("/users/7?by=mallory&v=1", headers=alice | {"x-old": "o"})
    other = shop.client.get("/users/7?by=mallory&v=1", headers=shop.stack.bearer("bob", org={"tenant": "evil"}))
    traversal = shop.client.get("/users/7", headers=shop.stack.bearer("eve", org={"tenant": ".."}))
    shop.client.get("/users/7", headers=shop.stack.bearer("eve"))

    first, second = shop.service.seen
    assert "GET /v2/acme/7?v=1&by=alice" == first.line
    assert ("alice", "o", None) == (first.headers["x-caller"], first.headers["x-new"], first.headers.get("x-old"))
    assert "GET /v2/evil/7?v=1&by=bob" == second.line
    assert 400 == traversal.status_code
    assert {"password": "[redacted]", "a": 1} == miss.json() == hit.json() == other.json()
    assert ["shop; fwd=uri-miss; stored", "shop; hit"] == [
        each.headers["cache-status"].partition("; ttl")[0] for each in (miss, hit)
    ]
    assert miss.content == hit.content
    for each in (miss, hit):
        assert str(len(each.content)) == each.headers["content-length"]
        assert ('W/"1"', "DENY") == (each.headers["etag"], each.headers["x-frame-options"])
        assert "x-internal" not in each.headers
        assert "sha-256=:YQ==:" != each.headers["content-digest"]
    assert (
        304
        == shop.client.get(
            "/users/7?by=mallory&v=1", headers=alice | {"x-old": "o", "if-none-match": '"1"'}
        ).status_code
    )


@pytest.mark.parametrize("coding", ["", "gzip", "br"])
@pytest.mark.parametrize("chunked", [False, True])
def test_request_bodies_reach_the_service_changed(shop: Shop, coding: str, chunked: bool) -> None:
    """Decoded and encoded again, however they are sent, with a length that is theirs."""
    plain = json.dumps({"name": "é" * 40_000, "isAdmin": True}, ensure_ascii=False).encode()
    body = {"": plain, "gzip": gzip.compress(plain), "br": brotli.compress(plain)}[coding]
    shop.service.answers({"ok": True})
    headers = shop.stack.bearer("alice", org={"tenant": "acme"}) | {"content-type": "application/json"}
    if coding:
        headers["content-encoding"] = coding

    answer = shop.client.post("/users/7", content=iter([body[:10], body[10:]]) if chunked else body, headers=headers)

    assert 200 == answer.status_code
    (seen,) = shop.service.seen
    decode = {"": bytes, "gzip": gzip.decompress, "br": brotli.decompress}[coding]
    assert {"name": "é" * 40_000, "by": "alice"} == json.loads(decode(seen.body))
    assert (coding or None) == seen.headers.get("content-encoding")
    assert str(len(seen.body)) == seen.headers["content-length"]


def test_a_body_that_cannot_be_redacted_never_passes(shop: Shop) -> None:
    """By type, by form, by size with and without a length, by a bomb; at once, not after a timeout."""
    secret = {"password": "secret"}
    large = json.dumps({**secret, "rest": "x" * 3_000_000}).encode()
    bomb = gzip.compress(json.dumps({**secret, "rest": "x" * 30_000_000}).encode())
    assert len(bomb) < 200 << 10
    bodies: list[tuple[bytes, dict[str, Any]]] = [
        (b"password: secret", {"content_type": "text/plain"}),
        (b'{"password": "secret"', {}),
        (b'{"password": "secret", "password": "secret"}', {}),
        (large, {}),
        (bomb, {"content_encoding": "gzip"}),
        (gzip.compress(b'{"password": "secret"}')[:-4], {"content_encoding": "gzip"}),
        (b'{"password": "secret"}', {"content_encoding": "zstd"}),
        (b'{"password": "secr\xe9t"}', {}),
    ]
    for number, (body, headers) in enumerate(bodies):
        shop.service.answers(body, **headers)
        _is_blocked(shop.client.get(f"/redacted/{number}"))
    shop.service.answers(b"")
    shop.service.chunks = large
    _is_blocked(shop.client.get("/redacted/chunked"))


def _is_blocked(answer: httpx.Response) -> None:
    assert (502, "application/problem+json") == (answer.status_code, answer.headers["content-type"])
    assert "urn:meetinity:response-not-processed" == answer.json()["type"]
    assert "secret" not in answer.text
    assert answer.elapsed.total_seconds() < 5


def test_where_the_route_says_so_such_bodies_pass_as_they_are(shop: Shop) -> None:
    """Byte for byte in both directions; what can be read is redacted all the same."""
    large = json.dumps({"password": "secret", "rest": "x" * 3_000_000}).encode()
    shop.service.answers(large)
    assert large == shop.client.get("/passing/large").content
    shop.service.chunks = large
    assert large == shop.client.get("/passing/chunked").content
    shop.service.answers(b"password: secret", content_type="text/plain")
    assert b"password: secret" == shop.client.get("/passing/text").content
    shop.service.answers({"password": "secret"})
    assert {"password": "[redacted]"} == shop.client.post("/passing/up", content=b'{"password"').json()
    assert b'{"password"' == shop.service.seen[-1].body
    shop.client.post("/passing/up", content=large, headers={"content-type": "application/json"})
    assert large == shop.service.seen[-1].body


def test_requests_that_cannot_be_read_are_refused_before_the_service(shop: Shop) -> None:
    """413, 415, 400; a body of unknown length and a bomb as well."""
    shop.service.answers({})
    bomb = gzip.compress(b'{"a": "' + b"x" * 30_000_000 + b'"}')
    cases: list[tuple[int, bytes | Iterator[bytes], dict[str, str]]] = [
        (413, b'{"a": "' + b"x" * 1_000_000 + b'"}', {}),
        (413, iter([b'{"a": "', *[b"x" * 100_000] * 12, b'"}']), {}),
        (413, bomb, {"content-encoding": "gzip"}),
        (415, b"{}", {"content-encoding": "zstd"}),
        (400, b"{", {}),
        (400, b'{"a": 1, "a": 2}', {}),
        (400, b'\xef\xbb\xbf{"a": 1}', {}),
        (400, b'{"a": 1e999}', {}),
        (400, b"[" * 100_000, {}),
        (400, b'<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>', {"content-type": "application/xml"}),
        (415, b"{}", {"content-type": "application/json; charset=utf-16"}),
    ]
    for status, body, headers in cases:
        answer = shop.client.post("/uploads/a", content=body, headers={"content-type": "application/json"} | headers)
        assert status == answer.status_code, (headers, answer.text)
        assert "application/problem+json" == answer.headers["content-type"]
    assert [] == shop.service.seen


def test_error_stale_and_coalesced_answers_are_redacted(shop: Shop) -> None:
    """Every answer of the service, whichever way it takes."""
    shop.service.answers({"password": "secret"}, 404)
    assert {"password": "[redacted]"} == shop.client.get("/redacted/error").json()
    shop.service.answers({"password": "secret"}, 500)
    assert {"password": "[redacted]"} == shop.client.get("/redacted/error2").json()
    shop.service.answers({"password": "secret"}, cache_control="max-age=0", etag='"1"')
    shop.client.get("/redacted/stale")
    shop.service.answers({"password": "secret"}, 503)
    stale = shop.client.get("/redacted/stale")
    assert (200, {"password": "[redacted]"}) == (stale.status_code, stale.json())
    shop.service.answers({"password": "secret"}, cache_control="max-age=60")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: shop.client.get("/redacted/many").json(), range(16)))
    assert [{"password": "[redacted]"}] * 16 == answers
    assert 1 == len(shop.service.seen)


def test_clients_choose_a_form_and_each_is_stored(shop: Shop) -> None:
    """By Accept; Vary and ETag tell the forms apart, and a hit is what the miss was."""
    shop.service.answers([{"a": "=1", "b": 2}], cache_control="max-age=60", etag='"1"')
    bodies = {}
    for accept in ("application/json", "application/xml", "text/csv"):
        miss, hit = (shop.client.get("/converted/x", headers={"accept": accept}) for _ in range(2))
        assert miss.content == hit.content
        assert accept == hit.headers["content-type"].partition(";")[0]
        assert "accept" in hit.headers["vary"].lower()
        assert "hit" in hit.headers["cache-status"]
        bodies[hit.headers["etag"]] = hit.text
    assert {
        'W/"1"': '[{"a":"=1","b":2}]',
        'W/"1;xml"': '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<root type="array"><item><a>=1</a><b type="number">2</b></item></root>',
        'W/"1;csv"': "a,b\r\n'=1,2\r\n",
    } == bodies
    assert 3 == len(shop.service.seen)

    shop.service.answers({})
    shop.client.post("/converted/x", content=b"a,b\r\n1,2\r\n", headers={"content-type": "text/csv"})
    assert ([{"a": "1", "b": "2"}], "application/json") == (
        json.loads(shop.service.seen[-1].body),
        shop.service.seen[-1].headers["content-type"],
    )
    refused = shop.client.post(
        "/converted/x", content=b"a=1", headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert 415 == refused.status_code


def test_a_rest_client_gets_what_a_graphql_service_says(shop: Shop) -> None:
    """A GET becomes a POST with a body; errors alone are a 502."""
    shop.service.answers({"data": {"user": {"name": "Ada"}}})
    answer = shop.client.get("/people/7")
    (seen,) = shop.service.seen
    assert {"name": "Ada"} == answer.json()
    assert ("POST /graphql", "7") == (seen.line, json.loads(seen.body)["variables"]["id"])
    shop.service.answers({"data": None, "errors": [{"message": "no"}]})
    assert 502 == shop.client.get("/people/8").status_code


def test_the_api_description_is_enforced(shop: Shop) -> None:
    """400 with all problems and no call of the service; 502 and nothing stored; a changed document counts at once."""
    shop.service.answers({"wrong": 1})
    bad = shop.client.put("/orders/x", json=[])
    unknown = shop.client.get("/orders/7/more")
    assert (400, 400) == (bad.status_code, unknown.status_code)
    assert ["path", "body"] == [error["in"] for error in bad.json()["errors"]]
    assert [] == shop.service.seen
    assert [502, 502] == [shop.client.get("/orders/7").status_code for _ in range(2)]
    assert 2 == len(shop.service.seen)
    shop.service.answers({"item": 1})
    assert ["shop; fwd=uri-miss; stored", "shop; hit"] == [
        shop.client.get("/orders/7").headers["cache-status"].partition("; ttl")[0] for _ in range(2)
    ]
    assert 200 == shop.client.put("/orders/7", json={"item": 1}).status_code
    document = shop.stack.folder / "orders.yaml"
    document.write_text(OPENAPI.replace("schema: {type: integer}", "schema: {type: string, maxLength: 3}"))
    until(lambda: shop.client.put("/orders/x", json={"item": 1}).status_code == 200, "the new document counts")


def test_websockets_and_heads_pass_routes_that_transform_bodies(shop: Shop) -> None:
    """A handshake has no body that could be waited for."""
    with connect(f"ws://127.0.0.1:{shop.stack.port}/uploads/ws") as socket:
        socket.send("a")
        assert "echo a" == socket.recv(5)
    with connect(f"ws://127.0.0.1:{shop.stack.port}/passing/ws") as socket:
        socket.send("b")
        assert "echo b" == socket.recv(5)
    shop.service.answers({"password": "secret"}, etag='"1"')
    head = shop.client.head("/redacted/head")
    assert (200, 'W/"1"', None) == (head.status_code, head.headers["etag"], head.headers.get("content-length"))


def test_nothing_passes_while_ext_proc_is_dead(shop: Shop) -> None:
    """Unless a route says otherwise, one that redacts answers 503; who is not let in is told so as ever."""
    shop.service.answers({"password": "secret"})
    pid = shop.stack.kill("ext_proc")
    nobody = shop.client.get("/users/7")
    answers = [shop.client.get(f"/redacted/dead{number}") for number in range(3)]
    shop.stack.until_restarted("ext_proc", pid)
    until(lambda: shop.client.get("/redacted/alive").status_code == 200, "it works again")

    assert not [each.text for each in answers if "secret" in each.text]
    assert 401 == nobody.status_code
    assert {"password": "[redacted]"} == shop.client.get("/redacted/alive").json()
