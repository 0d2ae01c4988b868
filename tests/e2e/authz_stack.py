"""A gateway whose routes ask for every kind of credential, and an issuer on loopback whose keys tests may exchange."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import jwt
from aiohttp import web

from policy.signatures import SignedContent, Stamp, signature_headers
from tests.e2e.echo import Echo, echo
from tests.e2e.stack import Stack
from tests.ports import free_port
from tests.threads import http_server, in_thread
from tests.unit.ext_authz.fixtures import jwk, jwks, rsa_key

CLIENT_SECRET = "the secret of billing, 32 bytes or more"

COOLDOWN_S = 1
"""Between two fetches of the issuer's keys."""

CONFIG = """
version: 1
name: authz
listeners:
  - {{name: public, port: {public}, address: 127.0.0.1}}
  - {{name: proxied, port: {proxied}, address: 127.0.0.1, client_ip: {{trusted_hops: 1}}}}
services: {{echo: {{endpoints: [{{address: 127.0.0.1, port: {echo}}}]}}}}
auth:
  jwt:
    main:
      issuer: https://auth.meetinity.io
      audiences: [meetinity-api]
      algorithms: [HS256]
      secret: "${{JWT_SECRET}}"
      required_claims: [sub, exp]
      forward_claims: {{sub: x-user-id, tenant: x-tenant}}
    remote: {{issuer: "http://127.0.0.1:{issuer}", algorithms: [RS256], jwks_url: "http://127.0.0.1:{issuer}/jwks"}}
    web:
      issuer: https://web.example
      algorithms: [HS256]
      secret: "${{JWT_SECRET}}"
      token: [{{query: token}}, {{cookie: session}}]
      forward_claims: {{sub: x-user-id}}
    found: {{issuer: "http://127.0.0.1:{issuer}", algorithms: [RS256], oidc_discovery: true}}
  api_keys:
    partners: {{header: x-api-key, keys_file: keys.yaml, forward_claims: {{tier: x-tier}}}}
  signatures:
    hooks: {{clients: [{{id: billing, secret: "{secret}"}}], clock_skew: 1m, signed_headers: [content-type]}}
rate_limits:
  scarce: {{rate: 1/hour, key: [user]}}
callouts: {{ext_authz: {{timeout: 500ms}}}}
defaults: {{auth: {{any_of: [jwt.main]}}}}
routes:
  - {{name: open, listeners: [public], match: {{path_prefix: /open}}, service: echo, auth: none}}
  - name: users
    listeners: [public]
    match: {{path_prefix: /users}}
    service: echo
    cors: {{allow_origins: ["https://app.example"], allow_headers: [authorization]}}
  - {{name: admin, listeners: [public], match: {{path_prefix: /admin}}, service: echo,
      auth: {{any_of: [jwt.main], required_claims: {{roles: [admin]}}}}}}
  - {{name: anyone, listeners: [public],
      match: {{path_prefix: /anyone}}, service: echo, auth: {{any_of: [jwt.main], optional: true}}}}
  - {{name: keys, listeners: [public],
      match: {{path_prefix: /keys}}, service: echo, auth: {{any_of: [api_keys.partners]}}}}
  - {{name: hooks, listeners: [public],
      match: {{path_prefix: /hooks}}, service: echo, auth: {{any_of: [signatures.hooks]}},
      max_request_body: 64KiB}}
  - {{name: remote, listeners: [public],
      match: {{path_prefix: /remote}}, service: echo, auth: {{any_of: [jwt.remote]}}}}
  - {{name: found, listeners: [public],
      match: {{path_prefix: /found}}, service: echo, auth: {{any_of: [jwt.found]}}}}
  - {{name: web, listeners: [public], match: {{path_prefix: /web}}, service: echo, auth: {{any_of: [jwt.web]}}}}
  - {{name: scarce, listeners: [public],
      match: {{path_prefix: /scarce}}, service: echo, rate_limits: [scarce]}}
  - {{name: shadow, listeners: [public],
      match: {{path_prefix: /shadow}}, service: echo, shadow: true}}
  - {{name: bold, listeners: [public],
      match: {{path_prefix: /bold}}, service: echo, failure_mode: {{ext_authz: open}}}}
  - {{name: office, match: {{path_prefix: /office}}, service: echo, auth: none, listeners: [public, proxied],
      ip: {{allow: [198.51.100.0/24], deny: [198.51.100.66]}}}}
"""


@dataclass
class Issuer:
    """Serves /jwks and a discovery document; the set is what `kids` says, all with one RSA key."""

    port: int = 0
    kids: tuple[str, ...] = ("one",)
    fetches: int = 0

    def token(self, kid: str = "one", **claims: object) -> str:
        payload = {"iss": self.url, "sub": "alice", "exp": int(time.time()) + 600, **claims}
        return jwt.encode(payload, rsa_key(), algorithm="RS256", headers={"kid": kid})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, request: web.Request) -> web.Response:
        if request.path == "/.well-known/openid-configuration":
            return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/jwks"})
        self.fetches += 1
        keys = jwks(*(jwk(rsa_key(), kid) for kid in self.kids))
        return web.Response(body=keys, content_type="application/json")


@contextmanager
def issuer() -> Iterator[Issuer]:
    """Run one in a thread of its own until the block ends."""
    served = Issuer()
    app = web.Application()
    app.router.add_get("/{path:.*}", served.handle)
    with in_thread(http_server(app)) as ports:
        served.port = ports[0]
        yield served


@dataclass
class AuthzStack:
    """What a test drives."""

    stack: Stack
    issuer: Issuer
    echo: Echo
    proxied_port: int
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1 << 30)))

    @property
    def url(self) -> str:
        return self.stack.url

    def status(self, path: str, headers: Mapping[str, str] | list[tuple[str, str]] | None = None) -> int:
        return httpx.get(self.url + path, headers=headers, timeout=20).status_code

    def bearer(self, sub: str = "alice", **claims: object) -> dict[str, str]:
        return self.stack.bearer(sub, **claims)

    def signed(
        self, path: str, body: bytes = b"", method: str = "POST", headers: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """The headers of a signed request, `content-type` among them if it is one of `headers`."""
        stamp = Stamp("billing", str(int(time.time())), f"nonce-of-request-{next(self.numbers)}-{time.time_ns()}")
        own = tuple((name, value.encode()) for name, value in (headers or {}).items() if name == "content-type")
        content = SignedContent(method, f"127.0.0.1:{self.stack.port}", path, body, own)
        return {**(headers or {}), **signature_headers(CLIENT_SECRET.encode(), stamp, content)}

    def write_keys(self, *keys: str) -> None:
        """Let the caller `acme` have exactly these API keys."""
        listed = [
            {"id": "acme", "sha256": hashlib.sha256(key.encode()).hexdigest(), "attributes": {"tier": "gold"}}
            for key in keys
        ]
        path = self.stack.folder / "keys.yaml"
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(listed))
        draft.replace(path)

    def sample(self, name: str, labels: str) -> float:
        """Of ext_authz's metrics; 0 if there is none."""
        text = httpx.get(f"http://127.0.0.1:{self.stack.ports.ext_authz_admin}/metrics").text
        lines = (line.rpartition(" ") for line in text.splitlines())
        return next((float(value) for key, _, value in lines if key == f"{name}{{{labels}}}"), 0.0)


@contextmanager
def authz_stack(folder: Path, change: Callable[[str], str] = lambda text: text) -> Iterator[AuthzStack]:
    """Run the gateway of CONFIG until the block ends."""
    with issuer() as served, echo(1) as service:
        fetching = {"ALLOW_HTTP": "1", "ALLOW_PRIVATE": "1", "COOLDOWN": str(COOLDOWN_S)}
        made = Stack.make(folder)
        stack = Stack(made.folder, made.port, {f"GATEWAY_AUTHZ_JWKS_{name}": value for name, value in fetching.items()})
        proxied = free_port()
        numbers = {"public": stack.port, "proxied": proxied, "echo": service.ports[0], "issuer": served.port}
        stack.config.write_text(change(CONFIG.format(secret=CLIENT_SECRET, **numbers)))
        running = AuthzStack(stack, served, service, proxied)
        running.write_keys("first-key")
        started = stack.up("--no-demo")
        assert started.returncode == 0, started.stdout + started.stderr
        try:
            yield running
        finally:
            stack.down()
