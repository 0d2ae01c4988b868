"""The audit log: who was refused what and why; never a secret, and never a flood."""

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from ext_authz.audit import LINES_PER_S, AuditLog
from ext_authz.decision import Deny
from ext_authz.request import parse
from tests.unit.ext_authz.fixtures import (
    Gate,
    any_of,
    api_keys_method,
    api_keys_secret,
    authz_policy,
    bearer,
    check_request,
    jwt_method,
    rate_limit,
    rsa_key,
    token,
)

SOURCES = [{"header": "authorization"}, {"cookie": "session"}, {"query": "token"}]


def logged(message: bytes, gate: Gate) -> dict[str, Any]:
    """The line that a denial leaves."""
    decision = gate.decide(message)
    assert isinstance(decision, Deny)
    with capture_logs() as lines:
        AuditLog(lambda: 0.0).denied(parse(message), decision)
    (line,) = lines
    return dict(line)


def test_a_denial_says_who_and_why() -> None:
    """Reason, route, caller if proven, limit; the path without its query."""
    gate = Gate(
        authz_policy(
            authentication=any_of(jwt_method()), rate_limits=[rate_limit("few", 1, key=[{"user": True}], before=False)]
        )
    )
    message = check_request(bearer(token()), path="/a?b=secret")
    gate.decide(message)
    line = logged(message, gate)

    told = {name: line[name] for name in ("event", "reason", "status", "route", "user", "rate_limit", "path")}
    assert told == {
        "event": "denied", "reason": "rate_limit", "status": 429, "route": "users", "user": "alice",
        "rate_limit": "few", "path": "/a",
    }  # fmt: skip
    assert ("203.0.113.7", "req-1") == (line["client_ip"], line["request_id"])


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        (bearer(token(exp=1)), "/a"),
        ({"cookie": f"session={token(exp=1)}"}, "/a"),
        ({}, f"/a?token={token(exp=1)}"),
        ({"x-api-key": "wrong-key-of-acme"}, "/a"),
        (bearer(token(rsa_key(), "RS256", kid="a-kid-of-an-attacker")), "/a"),
        (bearer("x" * 9000), "/a"),
    ],
)
def test_credentials_are_not_logged(headers: dict[str, str], path: str) -> None:
    """Neither a token nor a key nor anything out of them, wherever it stood."""
    secrets = {"keys": api_keys_secret(acme={})}
    gate = Gate(authz_policy(authentication=any_of(jwt_method(sources=SOURCES), api_keys_method())), secrets)
    text = json.dumps(logged(check_request(headers, path=path), gate))
    sent = [*headers.values(), path]

    assert all(part not in text for value in sent for part in value.split("=") if len(part) > 8)
    assert "kid" not in text
    assert "alice" not in text


def test_what_clients_send_is_cut() -> None:
    """Long values cost no more than they are worth."""
    gate = Gate(authz_policy(authentication=any_of(jwt_method())))
    message = check_request(path="/" + "a" * 5000, method="M" * 500, client_ip="1" * 500)

    assert 1000 > len(json.dumps(logged(message, gate)))


def test_a_flood_is_counted_not_written() -> None:
    """So many lines a second, then one that says how many were left out."""
    now_s = 0.0
    audit, request, decision = AuditLog(lambda: now_s), parse(check_request()), None
    decision = Gate(authz_policy(authentication=any_of(jwt_method()))).decide(check_request())
    assert isinstance(decision, Deny)
    with capture_logs() as lines:
        for _ in range(LINES_PER_S + 50):
            audit.denied(request, decision)
        now_s = 1.0
        audit.denied(request, decision)

    assert LINES_PER_S + 2 == len(lines)
    assert {"event": "denials_not_logged", "count": 50, "log_level": "warning"}.items() <= lines[-2].items()
