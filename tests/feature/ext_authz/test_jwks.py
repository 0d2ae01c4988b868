"""Key sets from a server that rotates its keys, hangs, lies and serves megabytes."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from ext_authz.credentials import Authenticator
from ext_authz.jwks import FetchError, FetchGuards, KeyFetcher, _public_socket, check_url
from ext_authz.jwt.cache import TokenCache
from ext_authz.jwt.sources import MAX_STALE_S, sources_of
from gateway_runtime.admin import http_server
from protos.gateway.policy.v1 import authz_pb2
from tests.feature.ext_authz.harness import eventually
from tests.unit.ext_authz.fixtures import (
    Gate,
    any_of,
    authz_policy,
    bearer,
    check_request,
    ec_key,
    jwk,
    jwks,
    jwt_method,
    rsa_key,
    token,
)

LOOPBACK = FetchGuards(allow_http=True, allow_private=True)
COOLDOWN_S = 0.05


class Issuer:
    """An HTTP server of keys whose behaviour tests change."""

    def __init__(self) -> None:
        self.address = ""
        self.keys = jwks(jwk(rsa_key(), "one"))
        self.discovery: dict[str, object] = {}
        self.status = 200
        self.hangs = False
        self.headers: dict[str, str] = {}
        self.requests: list[web.Request] = []

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    async def serve_keys(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if self.hangs:
            await asyncio.sleep(3600)
        if request.headers.get("If-None-Match", "-") == self.headers.get("ETag"):
            return web.Response(status=304)
        return web.Response(status=self.status, body=self.keys, headers=self.headers)

    async def serve_discovery(self, _request: web.Request) -> web.Response:
        return web.Response(body=json.dumps({"issuer": self.url, "jwks_uri": f"{self.url}/keys"} | self.discovery))


@asynccontextmanager
async def issuer() -> AsyncIterator[Issuer]:
    serving = Issuer()
    app = web.Application()
    app.router.add_get("/keys", serving.serve_keys)
    app.router.add_get("/.well-known/openid-configuration", serving.serve_discovery)
    async with http_server(app, "127.0.0.1:0", name="issuer") as address:
        serving.address = address
        yield serving


@asynccontextmanager
async def fetching(
    *methods: authz_pb2.Method,
    guards: FetchGuards = LOOPBACK,
    monotonic_s: Callable[[], float] = time.monotonic,
    timeout_s: float = 0.5,
) -> AsyncIterator[tuple[Gate, KeyFetcher]]:
    """A gate whose providers' keys are fetched."""
    gate = Gate(authz_policy(authentication=any_of(*methods)))
    fetcher = KeyFetcher(guards, cooldown_s=COOLDOWN_S, timeout_s=timeout_s, monotonic_s=monotonic_s)
    gate.authenticator = Authenticator(TokenCache(100), fetcher.ring)
    assert gate.policy.authentication is not None
    fetcher.want(sources_of(gate.policy.authentication.methods))
    task = asyncio.create_task(fetcher.run())
    try:
        yield gate, fetcher
    finally:
        task.cancel()
        await asyncio.wait([task])


def by_url(server: Issuer) -> authz_pb2.Method:
    return jwt_method(algorithms=["RS256", "ES256"], jwks_url=f"{server.url}/keys")


async def test_keys_by_url() -> None:
    """Before the first fetch requests get 503, after it tokens are judged."""
    request = check_request(bearer(token(rsa_key(), "RS256", kid="one")))
    async with issuer() as server, fetching(by_url(server)) as (gate, fetcher):
        assert gate.reason(request) == "no_keys"
        assert gate.check(request).status == 503

        await eventually(lambda: gate.reason(request) == "ok")

        assert list(fetcher.ages_s()) == [f"{server.url}/keys"]


async def test_discovery() -> None:
    """The issuer's discovery document leads to its keys."""
    async with issuer() as server:
        request = check_request(bearer(token(rsa_key(), "RS256", kid="one", iss=server.url)))
        async with fetching(jwt_method(algorithms=["RS256"], issuer=server.url, oidc_discovery=True)) as (gate, _):
            await eventually(lambda: gate.reason(request) == "ok")


@pytest.mark.parametrize("lie", [{"issuer": "https://evil.example"}, {"jwks_uri": 7}, {"jwks_uri": "https://["}])
async def test_lying_discovery(lie: dict[str, object]) -> None:
    """A document of another issuer, or without a URL, brings no keys."""
    async with issuer() as server:
        server.discovery = lie
        method = jwt_method(algorithms=["RS256"], issuer=server.url, oidc_discovery=True)
        async with fetching(method) as (gate, fetcher):
            await eventually(lambda: any(fetcher.failures().values()))

            assert gate.reason(check_request(bearer(token(rsa_key(), "RS256", kid="one", iss=server.url)))) == "no_keys"
            assert server.requests == []


async def test_rotation() -> None:
    """A token with a new key makes the set be fetched again; the old key's tokens end with it."""
    old = check_request(bearer(token(rsa_key(), "RS256", kid="one")))
    new = check_request(bearer(token(ec_key(), "ES256", kid="two")))
    async with issuer() as server, fetching(by_url(server)) as (gate, _):
        await eventually(lambda: gate.reason(old) == "ok")
        server.keys = jwks(jwk(ec_key(), "two"))

        assert gate.reason(new) == "unknown_key"

        await eventually(lambda: gate.reason(new) == "ok")

        assert gate.reason(old) == "unknown_key"


async def test_unknown_keys_do_not_amplify() -> None:
    """However many tokens with unknown keys come, the set is fetched at most once a cool-down."""
    good = check_request(bearer(token(rsa_key(), "RS256", kid="one")))
    unknown = [check_request(bearer(token(rsa_key(), "RS256", kid=f"random-{number}"))) for number in range(50)]
    async with issuer() as server, fetching(by_url(server)) as (gate, _):
        await eventually(lambda: gate.reason(good) == "ok")
        before, begun_s, sent = len(server.requests), time.monotonic(), 0
        while (fetches := len(server.requests) - before) < 4:
            for each in unknown:
                assert gate.reason(each) == "unknown_key"
            sent += len(unknown)
            await asyncio.sleep(0)

        assert fetches <= (time.monotonic() - begun_s) / COOLDOWN_S + 1
        assert sent > 10 * fetches
        assert gate.reason(good) == "ok"


async def test_unchanged_set_keeps_verified_tokens() -> None:
    """A fetch that brings the same (304, or the same bytes) verifies no token anew."""
    good = check_request(bearer(token(rsa_key(), "RS256", kid="one")))
    async with issuer() as server, fetching(by_url(server)) as (gate, _):
        server.headers = {"ETag": '"v1"'}
        await eventually(lambda: gate.reason(good) == "ok")
        fetched = len(server.requests)
        gate.reason(check_request(bearer(token(rsa_key(), "RS256", kid="random"))))
        await eventually(lambda: len(server.requests) > fetched)
        misses = gate.authenticator.tokens.misses

        assert gate.reason(good) == "ok"
        assert gate.authenticator.tokens.misses == misses


@pytest.mark.parametrize("trouble", ["status", "hang", "size", "nonsense", "redirect", "symmetric", "compressed"])
async def test_trouble_keeps_the_keys_that_are_there(trouble: str) -> None:
    """A server that fails, hangs, redirects or serves rubbish takes nothing away."""
    good = check_request(bearer(token(rsa_key(), "RS256", kid="one")))
    async with issuer() as server, fetching(by_url(server)) as (gate, fetcher):
        await eventually(lambda: gate.reason(good) == "ok")
        match trouble:
            case "status":
                server.status = 500
            case "hang":
                server.hangs = True
            case "size":
                server.keys = b" " * 10_000_000
            case "nonsense":
                server.keys = b"<html>"
            case "redirect":
                server.status, server.headers = 302, {"Location": "http://127.0.0.1:1/keys"}
            case "symmetric":
                server.keys = jwks({"kty": "oct", "k": "A" * 64, "kid": "one"})
            case "compressed":
                server.headers = {"Content-Encoding": "gzip"}
        gate.reason(check_request(bearer(token(rsa_key(), "RS256", kid="random"))))
        await eventually(lambda: any(fetcher.failures().values()))

        assert gate.reason(good) == "ok"


async def test_keys_that_are_too_old() -> None:
    """An issuer that is away for long takes its keys with it: 503, never an allow; when it is back they count again."""
    good = check_request(bearer(token(rsa_key(), "RS256", kid="one")))
    now_s = 0.0
    async with issuer() as server, fetching(by_url(server), monotonic_s=lambda: now_s) as (gate, fetcher):
        await eventually(lambda: gate.reason(good) == "ok")
        server.status = 500
        now_s = MAX_STALE_S
        for failures in (1, 2):
            gate.reason(check_request(bearer(token(rsa_key(), "RS256", kid="random"))))
            await eventually(lambda wanted=failures: max(fetcher.failures().values()) >= wanted)  # type: ignore[misc]
        served = gate.reason(good)
        now_s = MAX_STALE_S + 1
        await eventually(lambda: gate.reason(good) == "no_keys")
        server.status = 200
        await eventually(lambda: gate.reason(good) == "ok")

    assert "ok" == served


async def test_one_issuer_does_not_delay_another() -> None:
    """While one does not answer, a key of the other that nobody knew is found."""
    other_url = "https://other.example"
    new = check_request(bearer(token(ec_key(), "ES256", kid="two", iss=other_url)))
    async with issuer() as hanging, issuer() as other:
        hanging.hangs = True
        methods = (
            by_url(hanging),
            jwt_method("other", issuer=other_url, algorithms=["RS256", "ES256"], jwks_url=f"{other.url}/keys"),
        )
        async with fetching(*methods, timeout_s=3600) as (gate, _):
            # Which of the two judges is known from the issuer alone, so the one that hangs is not asked for.
            await eventually(lambda: gate.reason(new) == "unknown_key")
            other.keys = jwks(jwk(ec_key(), "two"))
            await eventually(lambda: gate.reason(new) == "ok")

            assert 1 == len(hanging.requests)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}", b"\xff\0\r\n\r\n", b"", b"HTTP/9 9\r\n" * 9]
)
async def test_what_is_no_http(answer: bytes) -> None:
    """Whatever a server sends, fetching goes on."""

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with fetching(jwt_method(algorithms=["RS256"], jwks_url=f"http://127.0.0.1:{port}/keys")) as (_, fetcher):
        await eventually(lambda: max(fetcher.failures().values(), default=0) >= 1)
    server.close()


async def test_sources_come_and_go() -> None:
    """Keys of a provider that no policy names any more are dropped."""
    good = check_request(bearer(token(rsa_key(), "RS256", kid="one")))
    async with issuer() as server, fetching(by_url(server)) as (gate, fetcher):
        await eventually(lambda: gate.reason(good) == "ok")
        fetcher.want(frozenset())
        await eventually(lambda: gate.reason(good) == "no_keys")

        assert fetcher.ages_s() == {}


@pytest.mark.parametrize(
    "url",
    [
        "http://keys.example/",
        "ftp://keys.example/",
        "file:///etc/passwd",
        "https://",
        "https://user:password@keys.example/",
        "https://127.0.0.1/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest",
        "https://[::1]/",
        "https://[fd00::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::a00:1]/",
        "https://2130706433/",
        "https://127.1/",
        "https://0177.0.0.1/",
        "https://0x7f.1/",
        "https://[",
        "",
    ],
)
def test_urls_that_are_not_fetched(url: str) -> None:
    """Only https to public places, unless the operator allows more."""
    with pytest.raises(FetchError):
        check_url(url, FetchGuards())


def test_no_connection_into_a_private_network() -> None:
    """What is connected to is looked at again, whatever it was called."""
    inside = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 443))
    with pytest.raises(OSError, match="private"):
        _public_socket(inside)
    with _public_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 443))) as outside:
        assert outside.family is socket.AF_INET


async def test_names_of_private_addresses() -> None:
    """A name that leads to a private address is not fetched either."""
    async with issuer() as server:
        port = server.address.rpartition(":")[2]
        method = jwt_method(algorithms=["RS256"], jwks_url=f"http://localhost:{port}/keys")
        async with fetching(method, guards=FetchGuards(allow_http=True)) as (_, fetcher):
            await eventually(lambda: any(fetcher.failures().values()))

            assert server.requests == []
