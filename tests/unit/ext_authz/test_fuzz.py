"""Whatever is sent: never an exception, never an allow that a slow, obvious reading of the rules would deny."""

import json
from base64 import urlsafe_b64decode
from functools import lru_cache

import jwt
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ext_authz.decision import Allow
from ext_authz.request import parse
from tests.unit.ext_authz.fixtures import (
    ISSUER,
    NOW_S,
    SECRET,
    Gate,
    any_of,
    api_keys_method,
    api_keys_secret,
    authz_policy,
    bearer,
    check_request,
    ec_key,
    hs256,
    jwk,
    jwks,
    jwt_method,
    rate_limit,
    token,
)

SECRETS = {"keys": api_keys_secret(acme={}), "set": jwks(jwk(ec_key(), "ec"))}
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)
TIMES = st.none() | st.integers(NOW_S - 5, NOW_S + 5) | st.floats() | st.booleans() | st.text(max_size=5) | JSON
CLAIMS = st.fixed_dictionaries(
    {},
    optional={
        "iss": st.sampled_from([ISSUER, ISSUER + "/", "", None]) | JSON,
        "sub": st.sampled_from(["alice", ""]) | JSON,
        "aud": st.sampled_from(["api", ["api"], ["web", "api"], [], "web"]) | JSON,
        "exp": TIMES,
        "nbf": TIMES,
        "iat": TIMES,
        "roles": st.sampled_from([["admin"], "admin", ["user"]]) | JSON,
    },
)
HEADERS = st.fixed_dictionaries(
    {"alg": st.sampled_from(["HS256", "HS384", "ES256", "none", "None", ""]) | JSON},
    optional={"kid": st.sampled_from(["ec", "", "../x"]) | JSON, "typ": st.text(max_size=8), "crit": JSON, "b64": JSON},
)


@lru_cache
def gate() -> Gate:
    method = jwt_method(
        algorithms=["HS256"], audiences=["api"], required_claims=["exp"], forward_claims={"roles": "x-roles"}
    )
    return Gate(authz_policy(authentication=any_of(method, required_claims={"roles": ["admin"]})), SECRETS)


def obviously_allowed(text: str) -> bool:
    """The rules of `gate()` as PyJWT and a few lines of Python understand them."""
    try:
        header = json.loads(urlsafe_b64decode(text.split(".")[0] + "=="))
        claims = jwt.decode(
            text,
            SECRET,
            algorithms=["HS256"],
            issuer=ISSUER,
            audience="api",
            options={"verify_exp": False, "verify_nbf": False, "verify_iat": False, "require": ["exp"]},
        )
    except Exception:
        return False
    times = [claims.get(name) for name in ("exp", "nbf", "iat")]
    if not all(value is None or (type(value) is int and value >= 0) for value in times):
        return False
    roles = claims.get("roles")
    return (
        "crit" not in header
        and NOW_S < claims["exp"]
        and all(value is None or value <= NOW_S for value in times[1:])
        and ("admin" in roles if isinstance(roles, list) else roles == "admin")
    )


@FUZZ
@given(HEADERS, CLAIMS)
def test_signed_tokens(header: dict[str, object], claims: dict[str, object]) -> None:
    """Of rightly signed tokens with any header and claims, none is accepted that an obvious judge refuses."""
    try:
        text = hs256(header, claims)
    except ValueError:
        return
    allowed = isinstance(gate().decide(check_request(bearer(text))), Allow)

    assert not allowed or obviously_allowed(text)


@FUZZ
@given(
    st.text(st.characters(codec="utf-8"))
    | st.from_regex(r"[A-Za-z0-9_-]*(\.[A-Za-z0-9_-]*){1,4}")
    | st.binary().map(lambda raw: raw.decode("latin-1"))
)
def test_any_text_as_token(text: str) -> None:
    """No text is an accident that passes."""
    assert not isinstance(gate().decide(check_request(bearer(text))), Allow)


@FUZZ
@given(st.data())
def test_edited_tokens(data: st.DataObject) -> None:
    """A good token with any bit of it changed is refused."""
    good = token(aud="api", roles=["admin"])
    assert isinstance(gate().decide(check_request(bearer(good))), Allow)

    position = data.draw(st.integers(0, len(good) - 1))
    replacement = data.draw(st.characters(codec="utf-8"))
    edited = good[:position] + replacement + good[position + 1 :]

    assert edited == good or not isinstance(gate().decide(check_request(bearer(edited))), Allow)


NAMES = st.sampled_from(
    [
        "authorization",
        "x-api-key",
        "cookie",
        "content-type",
        "x-gateway-client-ip",
        "x-forwarded-for",
        "x-request-id",
        "x-junk",
    ]
)
VALUES = (
    st.binary(max_size=60)
    | st.sampled_from([b"Bearer ", b"bearer", b"session=", b"session=;session=", b"key-of-acme", b"10.0.0.1", b"a,b"])
    | st.ip_addresses().map(lambda address: str(address).encode())
)
PATHS = st.text(max_size=60) | st.sampled_from(
    ["/a/../b", "//a", "/%2e%2e/", "/a?token=%00", "/a?token=&token", "*", "/a?%"]
)


@FUZZ
@given(st.lists(st.tuples(NAMES, VALUES), max_size=8), PATHS, st.text(max_size=10))
def test_any_headers_and_paths(headers: list[tuple[str, bytes]], path: str, method: str) -> None:
    """Any headers, repeated or not, and any path: an answer, and allowed only with the key and below the limits."""
    judge = Gate(
        authz_policy(
            authentication=any_of(
                jwt_method(sources=[{"header": "authorization"}, {"cookie": "session"}, {"query": "token"}]),
                api_keys_method(),
            ),
            ip=[([], ["10.0.0.0/8"])],
            rate_limits=[
                rate_limit("ip", 3),
                rate_limit("junk", 3, key=[{"header": "x-junk"}, {"route": True}]),
                rate_limit("user", 3, key=[{"user": True}], before=False),
            ],
        ),
        SECRETS,
    )
    message = check_request(headers, path=path, method=method, raw=True)
    answer = judge.check(message)
    keys = [value for name, value in headers if name == "x-api-key"]

    assert answer.status in (200, 401, 403, 429)
    assert answer.status != 200 or (keys == [b"key-of-acme"] and path.startswith("/"))
    assert (answer.code == 0) == (answer.status == 200)


@FUZZ
@given(st.binary(max_size=400))
def test_any_bytes(message: bytes) -> None:
    """Bytes are a CheckRequest or a DecodeError, nothing else."""
    try:
        request = parse(message)
    except DecodeError:
        return
    Gate(authz_policy(authentication=any_of(jwt_method()))).decide(message)
    assert request.id is not None
