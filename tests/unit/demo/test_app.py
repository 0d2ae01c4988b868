"""The HTTP side of a demo instance, on a real port."""

from collections.abc import AsyncIterator

import aiohttp
import jwt
import pytest

from demo.app import DemoService, Instance
from demo.login import DEMO_SECRET, Issuer
from gateway_runtime.admin import http_server

NOW_S = 2_000_000_000


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    service = DemoService(Instance("auth", "auth-1"), Issuer(DEMO_SECRET), clock=lambda: NOW_S)
    async with (
        http_server(service.app(), "127.0.0.1:0", name="demo") as bound,
        aiohttp.ClientSession(f"http://{bound}") as session,
    ):
        yield session


async def test_an_answer_names_the_instance_and_echoes_the_request(http: aiohttp.ClientSession) -> None:
    """The tour reads identity headers and weights from the answers."""
    async with http.get("/users/2?lang=en", headers={"x-user-id": "alice", "authorization": "Bearer x"}) as response:
        answer = await response.json()

    assert ("auth-1", "/users/2?lang=en") == (answer["instance"], answer["path"])
    assert "alice" == answer["headers"]["x-user-id"]
    assert "[present]" == answer["headers"]["authorization"]
    assert "Bob" == answer["data"]["name"]


async def test_an_instance_fails_and_heals_as_told(http: aiohttp.ClientSession) -> None:
    """Every path but the controls answers what was set, the health check included, until it is deleted."""
    async with http.put("/demo/behaviour", json={"status": 503, "delay_ms": 1}) as told:
        assert 200 == told.status
    assert [503, 503] == [(await http.get("/users")).status, (await http.get("/health")).status]
    await http.delete("/demo/behaviour")
    assert [200, 200] == [(await http.get("/users")).status, (await http.get("/health")).status]


async def test_a_wrong_order_is_refused(http: aiohttp.ClientSession) -> None:
    """400 with the reason, and nothing changes."""
    async with http.put("/demo/behaviour", json={"status": 7}) as refused:
        assert (400, True) == (refused.status, "between 200 and 599" in await refused.text())
    assert 200 == (await http.get("/users")).status


async def test_requests_are_counted_by_path(http: aiohttp.ClientSession) -> None:
    """How the tour shows that a cache hit does not reach the service."""
    await http.get("/users?page=1")
    await http.get("/users?page=2")
    async with http.get("/demo/requests") as response:
        assert {"GET /users": 2} == (await response.json())["requests"]


async def test_login_hands_out_a_token_that_the_provider_of_the_demo_accepts(http: aiohttp.ClientSession) -> None:
    """Issuer, audience, roles and an hour of life, never cached."""
    async with http.post("/auth/login", json={"user": "carol"}) as response:
        token = (await response.json())["access_token"]
        assert "no-store" == response.headers["Cache-Control"]
    claims = jwt.decode(
        token,
        DEMO_SECRET,
        algorithms=["HS256"],
        audience="meetinity-api",
        options={"verify_exp": False, "verify_iat": False},
    )

    assert ("carol", ["member", "admin"], 3600) == (claims["sub"], claims["roles"], claims["exp"] - claims["iat"])


@pytest.mark.parametrize("body", ["", "[]", '{"user": ""}', '{"user": 7}'])
async def test_login_without_a_user_is_refused(http: aiohttp.ClientSession, body: str) -> None:
    """400 with an example of what is expected."""
    async with http.post("/auth/login", data=body) as response:
        assert 400 == response.status
