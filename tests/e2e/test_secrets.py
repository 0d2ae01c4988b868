"""Secrets are fed in wherever one can stand; no process of the gateway writes one, whatever its log level."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.stack import GATEWAYCTL, Stack
from tests.e2e.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("secrets"), pytest.mark.timeout(120)]

WORD = "s3cr3t"
"""Part of every secret of this test, so that one search finds them all."""
JWT_SECRET = f"{WORD}-jwt-secret-of-thirty-two-bytes"
API_KEY = f"{WORD}-api-key"
SIGNING_SECRET = f"{WORD}-signing-secret-of-32-bytes-and-more"
HTTP_TOKEN, XDS_TOKEN = f"{WORD}-http-token", f"{WORD}-xds-token"
PASSWORD = f"{WORD}-password"
PROCESSES = ("control_plane", "ext_authz", "ext_proc", "analytics")

AUTH = f"""
  api_keys:
    partners: {{query: api_key, keys: [{{id: acme, sha256: DIGEST}}]}}
  signatures:
    webhooks: {{clients: [{{id: billing, secret: {SIGNING_SECRET}}}]}}

stores:
  rate_limits: redis
  redis: {{url: "redis://gateway:{PASSWORD}@127.0.0.1:1/0"}}

rate_limits:
"""
ROUTES = """
routes:
  - name: keyed
    match: {path_prefix: /keyed}
    auth: {any_of: [jwt.meetinity, api_keys.partners, signatures.webhooks]}
    service: users
    rewrite: {path_prefix: /users}
"""


@pytest.fixture
def secretive(tmp_path: Path) -> Iterator[Stack]:
    """Every secret of configuration and environment is one of ours; all processes write debug lines."""
    from hashlib import sha256

    environment = {"JWT_SECRET": JWT_SECRET, "GATEWAY_TOKEN": HTTP_TOKEN, "GATEWAY_XDS_TOKEN": XDS_TOKEN}
    stack = Stack.make(tmp_path)
    stack = Stack(stack.folder, stack.port, environment)
    stack.edit("\nrate_limits:\n", AUTH.replace("DIGEST", sha256(API_KEY.encode()).hexdigest()))
    stack.edit("\nroutes:", ROUTES)
    started = stack.up()
    assert started.returncode == 0, started.stdout + started.stderr
    for name in PROCESSES:
        os.kill(stack.state().processes[name], signal.SIGUSR1)
    yield stack
    stack.down()


def _requests(stack: Stack) -> None:
    """Good and bad credentials in every place, and requests that are none."""
    import jwt

    good = jwt.encode(
        {"iss": "https://auth.meetinity.io", "aud": "meetinity-api", "sub": "alice", "exp": 4_000_000_000},
        JWT_SECRET,
        algorithm="HS256",
    )
    bad = f"{good[:-8]}{WORD}"
    with httpx.Client(base_url=stack.url, timeout=20.0) as client:
        for token in (good, bad, f"eyJhbGciOiJub25lIn0.{WORD}.", WORD):
            client.get("/keyed/1", headers={"authorization": f"Bearer {token}"})
        client.get(f"/keyed/1?api_key={API_KEY}&access_token={WORD}")
        client.get(f"/keyed/1?api_key={WORD}-wrong")
        client.get("/keyed/1", headers={"authorization": f"Basic {WORD}", "proxy-authorization": f"Bearer {WORD}"})
        client.get("/keyed/1", headers={"cookie": f"session={WORD}", "x-signature": WORD, "x-api-key": WORD})
        client.get("/keyed/1", headers={"authorization": f'HMAC-SHA256 id="billing", signature="{WORD}"'})
        client.post("/api/auth/login", json={"user": "alice", "password": PASSWORD})
        client.get(f"/nowhere/1?token={WORD}")
        client.put("/keyed/1", headers={"authorization": f"Bearer {good}"}, content=PASSWORD * 1000)
    with socket.create_connection(("127.0.0.1", stack.port)) as raw:
        raw.sendall(f"GET /keyed?token={WORD} HTTP/1.1\r\nhost: a\r\nbad header {WORD}\r\n\r\n".encode())
        raw.settimeout(10)
        raw.recv(65536)


def _operators(stack: Stack) -> None:
    """What operators send, rightly and wrongly, and a configuration that is refused."""
    for port in (stack.ports.http, stack.ports.analytics_http):
        for token in (HTTP_TOKEN, f"{WORD}-wrong"):
            httpx.get(f"http://127.0.0.1:{port}/?token={WORD}", headers={"authorization": f"Bearer {token}"})
    stack.edit("timeout: 10s", "timeout: 9s")
    stack.edit("version: 1", f"version: 1\n{WORD}-key: {{password: {PASSWORD}}}")
    until(lambda: "configuration_faulty" in _log(stack, "control_plane"), "the fault is told")
    stack.edit(f"{WORD}-key: {{password: {PASSWORD}}}\n", "")


def _log(stack: Stack, name: str) -> str:
    return (stack.state_dir.logs / f"{name}.log").read_text()


def test_no_process_writes_a_secret(secretive: Stack) -> None:
    """Headers, cookies, queries, bodies, tokens good and bad, keys, passwords of URLs: in no log, page or command."""
    _requests(secretive)
    _operators(secretive)
    until(
        lambda: '"route":"keyed"' in _log(secretive, "envoy") and "denied" in _log(secretive, "ext_authz"), "the logs"
    )
    assert all('"level_now":"debug"' in _log(secretive, name) for name in PROCESSES)
    shown = [
        secretive.run([*GATEWAYCTL, "status", "-o", "json", "--server", f"http://127.0.0.1:{secretive.ports.http}"]),
        secretive.run([*GATEWAYCTL, "render", str(secretive.config)]),
        secretive.run([*GATEWAYCTL, "explain", str(secretive.config), "GET", "http://a/keyed/1"]),
    ]
    secretive.down()
    found = {
        f"{path.name}: {line[:300]}"
        for path in secretive.state_dir.logs.iterdir()
        for line in path.read_text(errors="replace").splitlines()
        if WORD in line.replace(f"{WORD}-key", "the name of a key")
    }

    assert set() == found
    assert {"control_plane.log", "ext_authz.log", "ext_proc.log", "analytics.log", "envoy.log"} <= {
        path.name for path in secretive.state_dir.logs.iterdir()
    }
    assert [0, 0, 0] == [done.returncode for done in shown], shown
    assert [] == [done.stdout for done in shown if WORD in done.stdout + done.stderr]
