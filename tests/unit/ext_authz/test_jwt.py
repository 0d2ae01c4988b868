"""Tokens: what is accepted, and everything that is not (section 4 of the security check-list, JWT / JWKS)."""

import base64
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from policy.errors import PolicyError
from tests.unit.ext_authz.fixtures import (
    ISSUER,
    NOW_S,
    SECRET,
    Gate,
    any_of,
    authz_policy,
    bearer,
    check_request,
    ec_key,
    ed_key,
    hs256,
    jwk,
    jwks,
    jwt_method,
    rsa_key,
    segment,
    token,
)

PAYLOAD = {"iss": ISSUER, "sub": "alice", "exp": NOW_S + 600}
HEADER = {"alg": "HS256", "typ": "JWT"}


def gate(**options: object) -> Gate:
    return Gate(authz_policy(authentication=any_of(jwt_method(**options))))  # type: ignore[arg-type]


def reason(text: str, **options: object) -> str:
    return gate(**options).reason(check_request(bearer(text)))


def test_valid_token() -> None:
    """A token that is signed, current and of the right issuer is accepted."""
    assert reason(token()) == "ok"


@pytest.mark.parametrize(
    ("algorithm", "key", "public"),
    [
        ("RS256", rsa_key, lambda: jwk(rsa_key(), "k")),
        ("RS512", rsa_key, lambda: jwk(rsa_key(), "k")),
        ("PS256", rsa_key, lambda: jwk(rsa_key(), "k")),
        ("ES256", ec_key, lambda: jwk(ec_key(), "k")),
        ("ES384", lambda: ec_key("P-384"), lambda: jwk(ec_key("P-384"), "k")),
        ("ES512", lambda: ec_key("P-521"), lambda: jwk(ec_key("P-521"), "k")),
        ("EdDSA", ed_key, lambda: jwk(ed_key(), "k")),
    ],
)
def test_asymmetric_algorithms(algorithm: str, key: object, public: object) -> None:
    """Each algorithm verifies with its key from a JWK Set, and fails when one bit of the signature is wrong."""
    set_of_keys = {"set": jwks(public())}  # type: ignore[operator]
    judge = Gate(authz_policy(authentication=any_of(jwt_method(algorithms=[algorithm], jwks="set"))), set_of_keys)
    good = token(key(), algorithm, kid="k")  # type: ignore[operator]
    head, _, signature = good.rpartition(".")
    flipped = bytearray(base64.urlsafe_b64decode(signature + "=="))
    flipped[5] ^= 1

    assert judge.reason(check_request(bearer(good))) == "ok"
    assert judge.reason(check_request(bearer(f"{head}.{segment(bytes(flipped))}"))) == "signature"


@pytest.mark.parametrize("form", ["pem", "der", "jwk"])
def test_public_key_as_hmac_secret(form: str) -> None:
    """A public key in any form never verifies an HS256 token (CVE-2022-29217, CVE-2026-48526)."""
    public = rsa_key().public_key()
    forms = {
        "pem": public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        "der": public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        "jwk": json.dumps(jwk(rsa_key(), "k")).encode(),
    }
    forged = hs256(HEADER | {"kid": "k"}, PAYLOAD, forms[form])
    both = jwt_method(algorithms=["RS256", "HS256"], jwks="set")
    judge = Gate(authz_policy(authentication=any_of(both)), {"set": jwks(jwk(rsa_key(), "k"))})

    assert judge.reason(check_request(bearer(forged))) == "unknown_key"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "HS384", "hs256", "ES256K"])
def test_algorithm_not_listed(algorithm: str) -> None:
    """An algorithm that the provider does not list is refused, signature or not."""
    assert reason(hs256({"alg": algorithm}, PAYLOAD)) == "algorithm"


@pytest.mark.parametrize("header", [{"alg": ["HS256"]}, {"alg": None}, {}, {"alg": 1}, [], "HS256", None])
def test_algorithm_of_wrong_type(header: object) -> None:
    """An `alg` that is no text, or is missing, makes the token malformed."""
    assert reason(hs256(header, PAYLOAD)) == "malformed_token"


@pytest.mark.parametrize("kid", ["../../etc/passwd", "unknown", "", "k' OR 1=1"])
def test_unknown_kid(kid: str) -> None:
    """A kid that no key has is refused, whatever it looks like."""
    judge = Gate(
        authz_policy(authentication=any_of(jwt_method(algorithms=["RS256"], jwks="set"))),
        {"set": jwks(jwk(rsa_key(), "k"))},
    )

    assert judge.reason(check_request(bearer(token(rsa_key(), "RS256", kid=kid)))) == "unknown_key"


@pytest.mark.parametrize("kid", ["a\0b", "a\r\nb", "k" * 10_000, 7, None, ["k"]])
def test_kid_that_cannot_be_one(kid: object) -> None:
    """A kid with control characters, of absurd length or of another type makes the token malformed."""
    assert reason(hs256(HEADER | {"kid": kid}, PAYLOAD)) == "malformed_token"


def test_kid_absent_with_several_keys() -> None:
    """Without a kid a token is judged only if exactly one key fits; the first is never simply taken."""
    methods = any_of(jwt_method(algorithms=["RS256", "ES256"], jwks="set"))
    several = {"set": jwks(jwk(rsa_key(), "a"), jwk(rsa_key(), "b"), jwk(ec_key(), "c"))}
    judge = Gate(authz_policy(authentication=methods), several)

    assert judge.reason(check_request(bearer(token(rsa_key(), "RS256")))) == "unknown_key"
    assert judge.reason(check_request(bearer(token(ec_key(), "ES256")))) == "ok"


@pytest.mark.parametrize(
    "members",
    [{"use": "enc"}, {"key_ops": ["encrypt"]}, {"alg": "PS256"}],
)
def test_key_for_something_else(members: dict[str, object]) -> None:
    """A key that its set reserves for another use or algorithm verifies nothing."""
    methods = any_of(jwt_method(algorithms=["RS256", "ES256"], jwks="set"))
    judge = Gate(
        authz_policy(authentication=methods), {"set": jwks(jwk(rsa_key(), "k", **members), jwk(ec_key(), "e"))}
    )

    assert judge.reason(check_request(bearer(token(rsa_key(), "RS256", kid="k")))) == "unknown_key"


@pytest.mark.parametrize(
    ("algorithm", "kid"),
    [
        ("RS256", "p-256"),
        ("PS256", "ed25519"),
        ("ES256", "rsa"),
        ("ES256", "p-384"),
        ("ES384", "p-256"),
        ("EdDSA", "p-256"),
        ("HS256", "rsa"),
    ],
)
def test_key_of_another_type(algorithm: str, kid: str) -> None:
    """A key serves the algorithms of its own type and curve, whatever its provider lists and the token names."""
    keys = {"rsa": rsa_key(), "p-256": ec_key(), "p-384": ec_key("P-384"), "ed25519": ed_key()}
    algorithms = ["RS256", "PS256", "ES256", "ES384", "EdDSA", "HS256"]
    secrets = {"set": jwks(*(jwk(key, name) for name, key in keys.items()))}
    judge = Gate(authz_policy(authentication=any_of(jwt_method(algorithms=algorithms, jwks="set"))), secrets)
    own = {"RS256": "rsa", "PS256": "rsa", "ES256": "p-256", "ES384": "p-384", "EdDSA": "ed25519"}
    signer = keys[own[algorithm]] if algorithm in own else SECRET

    assert judge.reason(check_request(bearer(token(signer, algorithm, kid=kid)))) == "unknown_key"
    if algorithm in own:
        assert judge.reason(check_request(bearer(token(signer, algorithm, kid=own[algorithm])))) == "ok"


@pytest.mark.parametrize("name", ["jku", "x5u", "jwk", "x5c"])
def test_keys_brought_along(name: str) -> None:
    """Keys, and addresses of keys, that a token brings itself are not looked at."""
    attacker = ec.generate_private_key(ec.SECP256R1())
    brought = {"jku": "http://evil/", "x5u": "http://evil/", "jwk": jwk(attacker), "x5c": ["AAAA"]}
    judge = Gate(
        authz_policy(authentication=any_of(jwt_method(algorithms=["ES256"], jwks="set"))),
        {"set": jwks(jwk(ec_key()))},
    )
    signed = [jwt.encode(PAYLOAD, key, "ES256", headers={name: brought[name]}) for key in (attacker, ec_key())]

    assert [judge.reason(check_request(bearer(each))) for each in signed] == ["signature", "ok"]


@pytest.mark.parametrize(
    "members",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"b64": False, "crit": ["b64"]},
        {"b64": False},
        {"typ": "logout+jwt"},
        {"typ": 1},
    ],
)
def test_header_not_understood(members: dict[str, object]) -> None:
    """Extensions, unencoded payloads and tokens typed for another use are refused."""
    assert reason(hs256(HEADER | members, PAYLOAD)) == "malformed_token"


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "application/at+jwt", "AT+JWT"])
def test_access_token_types(typ: str) -> None:
    """Plain and access tokens (RFC 9068) are for us."""
    assert reason(hs256(HEADER | {"typ": typ}, PAYLOAD)) == "ok"


@pytest.mark.parametrize(
    ("claims", "offset_s", "expected"),
    [
        ({"exp": NOW_S}, 29, "ok"),
        ({"exp": NOW_S}, 30, "expired"),
        ({"exp": NOW_S}, 31, "expired"),
        ({"exp": NOW_S + 600, "nbf": NOW_S}, -31, "not_yet_valid"),
        ({"exp": NOW_S + 600, "nbf": NOW_S}, -30, "ok"),
        ({"exp": NOW_S + 600, "nbf": NOW_S}, -29, "ok"),
        ({"exp": NOW_S + 600, "iat": NOW_S}, -31, "not_yet_valid"),
        ({"exp": NOW_S + 600, "iat": NOW_S}, -30, "ok"),
        ({"exp": NOW_S + 600, "iat": NOW_S + 10**9}, 0, "not_yet_valid"),
    ],
)
def test_leeway(claims: dict[str, Any], offset_s: int, expected: str) -> None:
    """exp, nbf and iat hold to the second, leeway included."""
    judge = gate(leeway_s=30)

    assert judge.reason(check_request(bearer(token(**claims))), now_s=NOW_S + offset_s) == expected


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["1.5e9", '"1800000600"', "-1", "1e308", "true", "null", "[]", str(10**30)])
def test_times_of_wrong_type(name: str, value: str) -> None:
    """Times are whole numbers of seconds; anything else refuses the token."""
    others = "".join(f'"{other}":1,' for other in ("nbf", "iat") if other != name)
    expires = "" if name == "exp" else f'"exp":{NOW_S + 600},'
    payload = f'{{"iss":"{ISSUER}",{others}{expires}"{name}":{value}}}'.encode()

    assert reason(hs256(HEADER, payload)) == "unfit_claim"


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none(value: str) -> None:
    """NaN and infinities are no JSON."""
    assert reason(hs256(HEADER, f'{{"iss":"{ISSUER}","exp":{value}}}'.encode())) == "malformed_token"


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"iat": NOW_S, "exp": NOW_S + 3600}, "ok"),
        ({"iat": NOW_S, "exp": NOW_S + 3601}, "lifetime"),
        ({"exp": NOW_S + 10}, "missing_claim"),
        ({"iat": NOW_S, "exp": None}, "missing_claim"),
    ],
)
def test_max_lifetime(claims: dict[str, Any], expected: str) -> None:
    """A token must not live longer than allowed, and has to say how long it lives."""
    assert reason(token(**claims), max_lifetime_s=3600) == expected


@pytest.mark.parametrize(
    ("aud", "expected"),
    [
        ("api", "ok"),
        (["web", "api"], "ok"),
        ("web", "audience"),
        ([], "audience"),
        (None, "audience"),
        ("API", "audience"),
        (["api", 1], "unfit_claim"),
        ({"api": 1}, "unfit_claim"),
    ],
)
def test_audience(aud: object, expected: str) -> None:
    """One of the audiences has to be one of ours, to the letter."""
    assert reason(token(aud=aud), audiences=["api", "api2"]) == expected


@pytest.mark.parametrize("issuer", [ISSUER + "/", ISSUER.upper(), "", None, "https://evil.example"])
def test_issuer(issuer: str | None) -> None:
    """The issuer is compared byte for byte."""
    assert reason(hs256(HEADER, PAYLOAD | {"iss": issuer})) == "unknown_issuer"


@pytest.mark.parametrize(
    ("claims", "required", "expected"),
    [
        ({"tenant": {"id": "t1"}}, ["tenant.id"], "ok"),
        ({"tenant": {"id": None}}, ["tenant.id"], "missing_claim"),
        ({"tenant": "t1"}, ["tenant.id"], "missing_claim"),
        ({"exp": None}, ["exp"], "missing_claim"),
        ({"exp": None}, [], "ok"),
        ({"https://x.example/roles": ["a"]}, ["https://x.example/roles"], "ok"),
    ],
)
def test_required_claims(claims: dict[str, Any], required: list[str], expected: str) -> None:
    """Required claims have to be there; `a.b` is a path unless a claim is called so."""
    assert reason(token(**claims), required_claims=required) == expected


@pytest.mark.parametrize("subject", ["", 7, ["alice"], {"a": 1}, True])
def test_subject_that_is_none(subject: object) -> None:
    """`sub` is a text, or absent."""
    assert reason(hs256(HEADER, PAYLOAD | {"sub": subject})) == "unfit_claim"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "a.b.c.d.e",
        "..",
        token() + "=",
        token() + "\n",
        " " + token().replace(".", ". "),
        token().replace(".", "..", 1),
        token() + ".x",
        "é" + token(),
        segment(b"\xff\xfe") + "." + segment(PAYLOAD) + ".AAAA",
        hs256(HEADER, b'{"iss":"a","iss":"' + ISSUER.encode() + b'"}'),
        hs256(b'{"alg":"none","alg":"HS256"}', PAYLOAD),
        hs256(HEADER, b"[" * 3000),
        hs256(HEADER, b'{"iss":' * 900 + b"1" + b"}" * 900),
        hs256(HEADER, b'{"iss":"\xff"}'),
        hs256(HEADER, b'{"iss":"\\ud800"}'),
        hs256(HEADER, b'["iss"]'),
        hs256(HEADER, b'"iss"'),
        hs256(HEADER, b"\xef\xbb\xbf{}"),
        hs256(HEADER, b""),
    ],
)
def test_malformed(text: str) -> None:
    """What is not exactly a signed JWT is refused without an exception."""
    assert reason(text) == "malformed_token"


def test_size_limit() -> None:
    """A token over 8 KiB is refused before it is decoded, one below it is judged."""
    assert reason(token(pad="x" * 4000)) == "ok"
    assert reason(token(pad="x" * 8000)) == "malformed_token"


def test_stray_bits() -> None:
    """Two spellings of one signature are two tokens, of which one is malformed."""
    good = token()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = good[:-1] + alphabet[alphabet.index(good[-1]) + 1]

    assert reason(good) == "ok"
    assert reason(other) == "malformed_token"


def test_cached_token_expires() -> None:
    """A token that was verified before is refused from the second of its expiry on, and before its nbf."""
    judge = gate()
    request = check_request(bearer(token(nbf=NOW_S - 5, exp=NOW_S + 5)))

    assert [judge.reason(request, now_s=NOW_S + offset) for offset in (0, 4, 5, 0, -5, -6)] == [
        "ok",
        "ok",
        "expired",
        "ok",
        "ok",
        "not_yet_valid",
    ]


def test_cache_hits_and_is_bounded() -> None:
    """A token is verified once; the number of remembered tokens stays within the capacity."""
    judge = gate()
    request = check_request(bearer(token()))
    for _ in range(3):
        judge.reason(request)
    hits = judge.authenticator.tokens.hits
    for number in range(3000):
        judge.reason(check_request(bearer(token(sub=f"user-{number}"))))

    assert hits == 2
    assert len(judge.authenticator.tokens) <= 1000 + 125


def test_cache_is_bound_to_the_keys() -> None:
    """A rotated secret ends what was verified, and refused, under the old one."""
    method = any_of(jwt_method())
    old, new = (
        Gate(authz_policy(authentication=method)),
        Gate(authz_policy(authentication=method), {"hmac": b"another-secret-of-more-than-32-bytes!!!"}),
    )
    new.authenticator = old.authenticator
    request = check_request(bearer(token()))

    assert [old.reason(request), new.reason(request), old.reason(request)] == ["ok", "signature", "ok"]


def test_forged_signature_is_remembered() -> None:
    """The same forged token is refused again without another verification, and does not shadow the honest one."""
    judge = gate()
    head = token().rpartition(".")[0]
    forged = f"{head}.{segment(b'x' * 32)}"

    assert [judge.reason(check_request(bearer(text))) for text in (forged, forged, token())] == [
        "signature",
        "signature",
        "ok",
    ]


def test_two_providers() -> None:
    """A token is judged only by the provider whose issuer it names, cached or not."""
    other = "https://other.example"
    methods = any_of(jwt_method("a"), jwt_method("b", issuer=other, secret="other"))
    judge = Gate(authz_policy(authentication=methods), {"other": b"b" * 40})
    of_a = bearer(token())
    of_b = bearer(token(b"b" * 40, iss=other))
    crossed = bearer(token(SECRET, iss=other))

    assert [judge.reason(check_request(each)) for each in (of_a, of_b, crossed, of_a, of_b, crossed)] == [
        "ok",
        "ok",
        "signature",
        "ok",
        "ok",
        "signature",
    ]


def test_two_providers_of_one_issuer() -> None:
    """The first provider of an issuer judges, also after the other one has accepted the same token elsewhere."""
    first, second = jwt_method("a", audiences=["x"]), jwt_method("b", audiences=["api"])
    alone = Gate(authz_policy(authentication=any_of(second)))
    both = Gate(authz_policy(authentication=any_of(first, second)))
    both.authenticator = alone.authenticator
    request = check_request(bearer(token(aud="api")))

    assert [both.reason(request), alone.reason(request), both.reason(request)] == ["audience", "ok", "audience"]


def test_unusable_keys_never_compile() -> None:
    """Short secrets, short RSA keys and asymmetric keys as secrets are refused when the policy arrives."""
    pem = (
        rsa_key().public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    der = (
        rsa_key().public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    for secret in (b"short", pem, der, json.dumps(jwk(rsa_key())).encode()):
        with pytest.raises(PolicyError):
            Gate(authz_policy(authentication=any_of(jwt_method())), {"hmac": secret})
