"""Who may look: a token, a client certificate, or being on this machine; and what browsers are told to forbid.

A browser cannot send a token by itself: it gives it once to a form and gets a cookie that is good for reading, for half
a day. What changes something wants the token itself, so no other site can make a browser do it.
"""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Callable
from urllib.parse import quote, urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

_OPEN = frozenset({"/healthz", "/readyz"})
"""Probes have no token."""
_LOGIN = frozenset({"/login", "/static/app.css", "/static/theme.js", "/static/icon.svg"})
COOKIE = "gateway_status"
_LIFETIME_S = 12 * 3600
_WRONG_S = 0.5
"""Before a wrong token is answered."""
_READING = frozenset({"GET", "HEAD"})
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Server": "gateway",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Sessions:
    """Cookies that hold nothing but their end and a proof that this token made them."""

    def __init__(self, token: str, clock: Callable[[], float] = time.time) -> None:
        self._key = hashlib.sha256(b"gateway status session\0" + token.encode()).digest()
        self._token = token
        self._clock = clock

    def is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())

    def cookie(self) -> str:
        """A new session."""
        end = str(int(self._clock()) + _LIFETIME_S)
        return f"{end}.{self._proof(end)}"

    def is_valid(self, cookie: str) -> bool:
        end, _, proof = cookie.partition(".")
        if not hmac.compare_digest(proof.encode(), self._proof(end).encode()):
            return False
        return int(end) > self._clock()

    def _proof(self, end: str) -> str:
        return hmac.new(self._key, end.encode(), hashlib.sha256).hexdigest()


def security_headers() -> Middleware:
    """On every answer, errors included."""

    @web.middleware
    async def add(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except web.HTTPException as error:
            error.headers.update(HEADERS)
            raise
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    return add


async def on_prepare(_request: web.Request, response: web.StreamResponse) -> None:
    """For answers that are sent while their handler runs (server-sent events)."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)


def same_site(*, only_local: bool) -> Middleware:
    """No other site may read or do anything with the browser of somebody who may.

    Args:
        only_local: nobody is asked for a token, so the name in the URL has to be this machine's: another site's name
            can be made to lead here (DNS rebinding).
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if only_local and _host(request.host) not in _LOCAL:
            raise web.HTTPForbidden(text="this answers to localhost only, or set GATEWAY_TOKEN\n")
        site = request.headers.get("Sec-Fetch-Site", "none")
        is_link = request.method == "GET" and request.headers.get("Sec-Fetch-Mode") == "navigate"
        if site not in ("none", "same-origin") and not is_link:
            raise web.HTTPForbidden(text="not from another site\n")
        return await handler(request)

    return check


def _host(authority: str) -> str:
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return ""


def authenticated(sessions: Sessions | None, *, by_certificate: bool) -> Middleware:
    """
    Args:
        sessions: of the token; None: there is none.
        by_certificate: a client certificate, which the server has verified, is enough.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in _OPEN or (by_certificate and has_certificate(request)):
            return await handler(request)
        if sessions is not None and (request.path in _LOGIN or _may(request, sessions)):
            return await handler(request)
        if sessions is not None and request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
            raise web.HTTPSeeOther(f"/login?next={quote(request.path_qs, safe='')}")
        text = "a token is needed\n" if sessions is not None else "a client certificate is needed\n"
        challenge = {"WWW-Authenticate": "Bearer"} if sessions is not None else {}
        return web.Response(status=401, text=text, headers=challenge)

    return check


def has_certificate(request: web.Request) -> bool:
    """Whether the connection has shown one that the CA has signed."""
    return request.transport is not None and bool(request.transport.get_extra_info("peercert"))


def _may(request: web.Request, sessions: Sessions) -> bool:
    given = request.headers.get("Authorization", "")
    if given.startswith("Bearer ") and sessions.is_token(given.removeprefix("Bearer ")):
        return True
    return request.method in _READING and sessions.is_valid(request.cookies.get(COOKIE, ""))


def login_routes(sessions: Sessions, page: Callable[[str, str], str]) -> list[web.RouteDef]:
    """
    Args:
        page: the form, from the path to go to afterwards and what was wrong.
    """

    async def show(request: web.Request) -> web.Response:
        return _html(page(_next(request.query.get("next", "/")), ""))

    async def enter(request: web.Request) -> web.Response:
        form = await request.post()
        goal = _next(str(form.get("next", "/")))
        if not sessions.is_token(str(form.get("token", ""))):
            await asyncio.sleep(_WRONG_S)
            return _html(page(goal, "That is not the token."), status=403)
        response = web.Response(status=303, headers={"Location": goal})
        response.set_cookie(
            COOKIE,
            sessions.cookie(),
            max_age=_LIFETIME_S,
            httponly=True,
            samesite="Strict",
            secure=request.secure,
            path="/",
        )
        return response

    async def leave(_request: web.Request) -> web.Response:
        response = web.Response(status=303, headers={"Location": "/login"})
        response.del_cookie(COOKIE, path="/")
        return response

    return [web.get("/login", show), web.post("/login", enter), web.get("/logout", leave)]


def _next(path: str) -> str:
    """A path of this site, whatever was asked for."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() else "/"


def _html(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html", headers={"Cache-Control": "no-store"})
