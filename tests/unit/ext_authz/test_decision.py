"""What is decided: credentials and their combinations, addresses, limits, and what is told."""

import json

import pytest

from tests.unit.ext_authz.fixtures import (
    Gate,
    all_of,
    any_of,
    api_keys_method,
    api_keys_secret,
    authz_policy,
    bearer,
    check_request,
    jwt_method,
    rate_limit,
    token,
)

KEYS = {"keys": api_keys_secret(acme={"tier": "gold", "roles": "admin"}, small={"tier": "free"})}
ACME = {"x-api-key": "key-of-acme"}
BOTH_FORMS = pytest.mark.parametrize("raw", [False, True], ids=["map", "raw"])
USER_KEY = [{"user": True}]


def test_public_route() -> None:
    """A route without authentication allows, says so explicitly, and strips identity headers in both spellings."""
    answer = Gate(authz_policy(identity_headers=["X-User-Id"])).check(check_request())

    assert (answer.status, answer.code) == (200, 0)
    assert sorted(answer.removed) == ["x-user-id", "x_user_id"]


@BOTH_FORMS
def test_identity_headers(raw: bool) -> None:
    """Claims become headers; those without a claim are removed, and none is both set and removed."""
    judge = Gate(
        authz_policy(
            authentication=any_of(
                jwt_method(forward_claims={"sub": "x-user-id", "roles": "x-user-roles", "no": "x-no"})
            ),
            identity_headers=["x-user-id", "x-user-roles", "x-no", "x-other"],
        )
    )
    answer = judge.check(check_request(bearer(token(roles=["admin", "ops"])), raw=raw))

    assert answer.upstream == {"x-user-id": "alice", "x-user-roles": "admin,ops"}
    assert set(answer.removed) == {"x-no", "x-other", "x_user_id", "x_user_roles", "x_no", "x_other"}


@pytest.mark.parametrize("subject", ["a\r\nx-admin: 1", "a\nb", "a\0b", "a\x7fb"])
def test_claim_that_breaks_a_header(subject: str) -> None:
    """A claim with control characters refuses the token; it is neither sent nor silently left out."""
    judge = Gate(authz_policy(authentication=any_of(jwt_method(forward_claims={"sub": "x-user-id"}))))

    assert judge.reason(check_request(bearer(token(sub=subject)))) == "unfit_claim"


@pytest.mark.parametrize(
    ("claim", "header"),
    [
        (True, "true"),
        (7, "7"),
        (["a", 1, False], "a,1,false"),
        ({"a": [1]}, '{"a":[1]}'),
        ([["a"]], '[["a"]]'),
        ("Zoë", "Zoë"),
    ],
)
def test_claim_as_header(claim: object, header: str) -> None:
    """Scalars are text, arrays of scalars are joined by commas, what is nested is JSON."""
    judge = Gate(authz_policy(authentication=any_of(jwt_method(forward_claims={"x": "x-claim"}))))

    assert judge.check(check_request(bearer(token(x=claim)))).upstream == {"x-claim": header}


def test_claims_that_templates_read_are_told_in_the_metadata() -> None:
    """As text, nested ones by their path; one that is absent or no line of text is not there."""
    policy = authz_policy(authentication=any_of(jwt_method()))
    policy.told_claims.extend(["groups", "missing", "odd", "org.unit", "sub"])
    answer = Gate(policy).check(check_request(bearer(token(org={"unit": 7}, groups=["a", "b"], odd="a\nb"))))
    told = {name: value for name, value in answer.metadata.items() if name.startswith("claim:")}

    assert {"claim:sub": "alice", "claim:org.unit": "7", "claim:groups": "a,b"} == told


def test_item_with_a_comma() -> None:
    """An item that would pass for two refuses the token."""
    judge = Gate(authz_policy(authentication=any_of(jwt_method(forward_claims={"roles": "x-roles"}))))

    assert judge.reason(check_request(bearer(token(roles=["user,admin"])))) == "unfit_claim"


def test_no_credential() -> None:
    """Without a credential the answer is 401 with a challenge for each method and no error code (RFC 6750)."""
    judge = Gate(authz_policy(authentication=any_of(jwt_method(), api_keys_method())), KEYS)
    answer = judge.check(check_request())

    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="meetinity", ApiKey realm="partners"'
    assert answer.metadata == {"reason": "no_credential"}


def test_wrong_token() -> None:
    """With a wrong token the challenge says invalid_token and why."""
    answer = Gate(authz_policy(authentication=any_of(jwt_method()))).check(check_request(bearer(token(exp=1))))

    assert answer.status == 401
    assert answer.headers["www-authenticate"] == (
        'Bearer realm="meetinity", error="invalid_token", error_description="The token has expired."'
    )


def test_problem_json() -> None:
    """A denial is problem+json with the request id as instance."""
    answer = Gate(authz_policy(authentication=any_of(jwt_method()))).check(check_request())

    assert json.loads(answer.body) == {
        "type": "urn:meetinity:unauthenticated",
        "title": "Unauthenticated",
        "status": 401,
        "detail": "This needs a credential.",
        "instance": "req-1",
    }
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == "req-1"
    assert answer.code == 16


def test_grpc_caller() -> None:
    """A gRPC caller gets grpc-status, and the sentence that becomes grpc-message."""
    judge = Gate(authz_policy(rate_limits=[rate_limit(count=0)]))
    answer = judge.check(check_request({"content-type": "application/grpc+proto"}))

    assert answer.status == 429
    assert answer.headers["grpc-status"] == "8"
    assert answer.body == "Too many requests; try again later."
    assert "retry-after" in answer.headers


@BOTH_FORMS
def test_two_authorization_headers(raw: bool) -> None:
    """Two Authorization headers are refused, joined by Envoy or kept apart."""
    good = token()
    twice = [("authorization", f"Bearer {good}")] * 2 if raw else {"authorization": f"Bearer {good},Bearer {good}"}
    judge = Gate(authz_policy(authentication=any_of(jwt_method(), optional=True)))

    assert judge.reason(check_request(twice, raw=raw)) == "ambiguous_credential"


@BOTH_FORMS
def test_two_api_keys(raw: bool) -> None:
    """Two X-API-Key headers are refused in both forms."""
    twice = [("x-api-key", "key-of-acme")] * 2 if raw else {"x-api-key": "key-of-acme,key-of-acme"}
    judge = Gate(authz_policy(authentication=any_of(api_keys_method())), KEYS)

    assert judge.reason(check_request(twice, raw=raw)) == "ambiguous_credential"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Basic YTpi", "no_credential"),
        ("bearer {}", "ok"),
        ("BEARER   {}", "ok"),
        ("Bearer{}", "malformed_token"),
        ("Bearer", "malformed_token"),
        ("Bearer ", "malformed_token"),
        ("Bearer\t{}", "malformed_token"),
        ("Bearer {} {}", "malformed_token"),
        ("{}", "no_credential"),
    ],
)
def test_authorization_schemes(header: str, expected: str) -> None:
    """Only the Bearer scheme, in any letter case and followed by a space, brings a token."""
    judge = Gate(authz_policy(authentication=any_of(jwt_method())))
    good = token()

    assert judge.reason(check_request({"authorization": header.replace("{}", good)})) == expected


def test_optional() -> None:
    """Optional authentication lets the anonymous pass, and refuses a credential that is wrong."""
    judge = Gate(authz_policy(authentication=any_of(jwt_method(), optional=True)))

    assert judge.reason(check_request()) == "ok"
    assert judge.reason(check_request(bearer(token(exp=1)))) == "expired"
    assert judge.check(check_request(bearer(token()))).metadata["user"] == "alice"


def test_any_of_with_one_wrong() -> None:
    """A wrong credential refuses the request, also when another one would pass."""
    judge = Gate(authz_policy(authentication=any_of(jwt_method(), api_keys_method())), KEYS)

    assert judge.reason(check_request(bearer(token()) | {"x-api-key": "no"})) == "unknown_api_key"
    assert judge.reason(check_request(bearer(token(exp=1)) | ACME)) == "expired"
    assert judge.reason(check_request(bearer(token()) | ACME)) == "ok"
    assert judge.reason(check_request(ACME)) == "ok"


def test_all_of() -> None:
    """all_of needs every credential, and tells both identities."""
    judge = Gate(authz_policy(authentication=all_of(jwt_method(), api_keys_method())), KEYS)
    answer = judge.check(check_request(bearer(token()) | ACME))

    assert judge.reason(check_request(bearer(token()))) == "no_credential"
    assert judge.reason(check_request(ACME)) == "no_credential"
    assert (answer.metadata["user"], answer.metadata["api_key"]) == ("alice", "acme")


def test_all_of_optional() -> None:
    """Under optional all_of either nothing or everything is sent."""
    judge = Gate(authz_policy(authentication=all_of(jwt_method(), api_keys_method(), optional=True)), KEYS)

    assert judge.reason(check_request()) == "ok"
    assert judge.reason(check_request(ACME)) == "no_credential"


def test_token_for_another_place_is_wrong() -> None:
    """A token whose provider does not look where it stands is wrong, not absent, also under optional."""
    elsewhere = jwt_method("b", issuer="https://other.example", sources=[{"cookie": "session"}])
    judge = Gate(authz_policy(authentication=any_of(jwt_method("a"), elsewhere, optional=True)))

    assert judge.reason(check_request(bearer(token(iss="https://other.example")))) == "unknown_issuer"


@pytest.mark.parametrize(
    ("claims", "required", "expected"),
    [
        ({"roles": ["user", "admin"]}, {"roles": ["admin"]}, "ok"),
        ({"roles": "admin"}, {"roles": ["admin", "root"]}, "ok"),
        ({"roles": ["user"]}, {"roles": ["admin"]}, "insufficient_claims"),
        ({}, {"roles": ["admin"]}, "insufficient_claims"),
        ({"roles": ["admin"], "org": {"id": 7}}, {"roles": ["admin"], "org.id": ["7"]}, "ok"),
        ({"roles": ["admin"], "org": {"id": 8}}, {"roles": ["admin"], "org.id": ["7"]}, "insufficient_claims"),
        ({"roles": {"admin": True}}, {"roles": ["admin"]}, "insufficient_claims"),
        ({"roles": [["admin"]]}, {"roles": ["admin"]}, "insufficient_claims"),
    ],
)
def test_required_claims(claims: dict[str, object], required: dict[str, list[str]], expected: str) -> None:
    """Every required claim has to match, one of its values is enough."""
    judge = Gate(authz_policy(authentication=any_of(jwt_method(), required_claims=required)))

    assert judge.reason(check_request(bearer(token(**claims)))) == expected  # type: ignore[arg-type]


def test_insufficient_scope() -> None:
    """A proven identity that may not is told 403 and insufficient_scope."""
    judge = Gate(authz_policy(authentication=any_of(jwt_method(), required_claims={"roles": ["admin"]})))
    answer = judge.check(check_request(bearer(token())))

    assert (answer.status, answer.code) == (403, 7)
    assert answer.headers["www-authenticate"] == 'Bearer realm="meetinity", error="insufficient_scope"'
    assert answer.metadata["user"] == "alice"


def test_api_key_attributes() -> None:
    """Attributes of an API key satisfy requirements and become headers; the key itself is not forwarded."""
    method = api_keys_method(forward_claims={"tier": "x-tier", "id": "x-partner"})
    judge = Gate(authz_policy(authentication=any_of(method, required_claims={"roles": ["admin"]})), KEYS)
    answer = judge.check(check_request(ACME))

    assert answer.upstream == {"x-tier": "gold", "x-partner": "acme"}
    assert "x-api-key" in answer.removed
    assert "key-of-acme" not in repr(answer)
    assert judge.reason(check_request({"x-api-key": "key-of-small"})) == "insufficient_claims"


@pytest.mark.parametrize("key", ["", "no", "key-of-acme ", "KEY-OF-ACME", "x" * 100_000, "é"])
def test_wrong_api_key(key: str) -> None:
    """A key that is not one of the keys, to the letter, is refused."""
    judge = Gate(authz_policy(authentication=any_of(api_keys_method())), KEYS)

    assert judge.reason(check_request({"x-api-key": key})) == "unknown_api_key"


def test_token_in_query_and_cookie() -> None:
    """A token from query or cookie counts, and reaches neither the service nor the answer."""
    method = jwt_method(sources=[{"header": "authorization"}, {"cookie": "session"}, {"query": "token"}])
    judge = Gate(authz_policy(authentication=any_of(method)))
    good = token()
    by_query = judge.check(check_request(path=f"/a?x=1&token={good}&y"))
    by_cookie = judge.check(check_request({"cookie": f"a=1; session={good}; b=2"}))
    only_cookie = judge.check(check_request({"cookie": f"session={good}"}))
    spelled = judge.check(check_request(path=f"/a?x=1&%74ok%65n={good}&y"))

    assert (by_query.status, by_query.removed_parameters) == (200, ["token"])
    assert (spelled.status, spelled.removed_parameters) == (200, ["%74ok%65n"])
    assert (by_cookie.status, by_cookie.upstream) == (200, {"cookie": "a=1; b=2"})
    assert (only_cookie.status, only_cookie.removed) == (200, ["cookie"])
    assert good not in repr((by_query, by_cookie, only_cookie))


def test_first_place_counts() -> None:
    """Of several places the first that holds a token counts; the others are hidden from the service all the same."""
    method = jwt_method(sources=[{"header": "authorization"}, {"query": "token"}])
    judge = Gate(authz_policy(authentication=any_of(method)))
    answer = judge.check(check_request(bearer(token()), path=f"/a?token={token(sub='mallory')}"))

    assert (answer.metadata["user"], answer.removed_parameters) == ("alice", ["token"])
    assert judge.reason(check_request(bearer(token(exp=1)), path=f"/a?token={token()}")) == "expired"


@pytest.mark.parametrize("query", ["token={0}&token={0}", "token={0}&%74oken={0}"])
def test_token_twice_in_query(query: str) -> None:
    """A parameter that comes twice, in whatever spelling, is ambiguous."""
    judge = Gate(authz_policy(authentication=any_of(jwt_method(sources=[{"query": "token"}]))))

    assert judge.reason(check_request(path="/a?" + query.format(token()))) == "ambiguous_credential"


def test_token_not_forwarded() -> None:
    """forward: false keeps the credential's header from the service."""
    judge = Gate(authz_policy(authentication=any_of(jwt_method(forward=False))))

    assert "authorization" in judge.check(check_request(bearer(token()))).removed


@pytest.mark.parametrize("path", ["", "*", "users", "api.example:443", "?a"])
def test_path_without_a_slash(path: str) -> None:
    """What has no path (CONNECT, OPTIONS *) is refused, on public routes too."""
    assert Gate(authz_policy()).check(check_request(path=path)).status == 403


@pytest.mark.parametrize("method", ["OPTIONS", "options", "GET", "TRACE"])
def test_bare_options_needs_a_credential(method: str) -> None:
    """No method is exempt, and X-HTTP-Method-Override changes nothing."""
    judge = Gate(authz_policy(authentication=any_of(jwt_method())))
    request = check_request({"x-http-method-override": "OPTIONS", "origin": "https://a"}, method=method)

    assert judge.reason(request) == "no_credential"


@pytest.mark.parametrize(
    ("allow", "deny", "address", "expected"),
    [
        (["10.0.0.0/8"], [], "10.1.2.3", "ok"),
        (["10.0.0.0/8"], [], "11.1.2.3", "address"),
        (["10.0.0.0/8"], ["10.6.6.0/24"], "10.6.6.6", "address"),
        ([], ["10.6.6.0/24"], "10.6.7.6", "ok"),
        (["10.0.0.0/8"], [], "::ffff:10.1.2.3", "ok"),
        (["::ffff:10.0.0.0/104"], [], "10.1.2.3", "ok"),
        ([], ["10.0.0.0/8"], "::ffff:a01:203", "address"),
        (["2001:db8::/32"], [], "2001:db8::1%eth0", "ok"),
        (["2001:db8::/32"], [], "10.1.2.3", "address"),
        ([], ["::/0"], "10.1.2.3", "ok"),
        (["0.0.0.0/0"], [], "unknown", "address"),
        ([], ["10.0.0.0/8"], "", "address"),
        ([], ["10.0.0.0/8"], "10.1.2.3:80", "address"),
        ([], ["10.0.0.0/8"], "/run/envoy.sock", "address"),
        (["10.1.2.3"], [], "10.1.2.3", "ok"),
    ],
)
def test_ip_rules(allow: list[str], deny: list[str], address: str, expected: str) -> None:
    """deny wins, IPv4-mapped IPv6 is IPv4, and what is no address passes no rule."""
    assert Gate(authz_policy(ip=[(allow, deny)])).reason(check_request(client_ip=address)) == expected


def test_every_rule_set_has_to_pass() -> None:
    """Listener, defaults and route rules hold together."""
    judge = Gate(authz_policy(ip=[(["10.0.0.0/8"], []), ([], ["10.1.0.0/16"])]))

    assert [judge.reason(check_request(client_ip=each)) for each in ("10.2.0.1", "10.1.0.1")] == ["ok", "address"]


@pytest.mark.parametrize(
    "name", ["x-forwarded-for", "forwarded", "x-real-ip", "x-envoy-external-address", "true-client-ip"]
)
def test_client_address_cannot_be_claimed(name: str) -> None:
    """Only Envoy's own header tells the address."""
    judge = Gate(authz_policy(ip=[(["10.0.0.0/8"], [])]))
    value = "for=10.1.2.3" if name == "forwarded" else "10.1.2.3"

    assert judge.reason(check_request({name: value}, client_ip="203.0.113.7")) == "address"


def test_rate_limit_answers() -> None:
    """Allowed answers tell what is left; the refusal tells when to come back, and names the limit."""
    judge = Gate(authz_policy(rate_limits=[rate_limit("login", 10, 60, burst=2)]))
    first, second, third = (judge.check(check_request()) for _ in range(3))

    assert first.headers == {"ratelimit": '"login";r=1;t=6', "ratelimit-policy": '"login";q=2;w=12'}
    assert second.headers["ratelimit"] == '"login";r=0;t=6'
    assert third.status == 429
    assert third.headers["retry-after"] == "6"
    assert third.headers["ratelimit"] == '"login";r=0;t=6'
    assert third.metadata == {"reason": "rate_limit", "rate_limit": "login"}
    assert json.loads(third.body)["type"] == "urn:meetinity:rate-limited"


def test_limits_before_authentication() -> None:
    """Limits that need no identity are charged for refused credentials too; the others are not."""
    by_ip, by_user = rate_limit("ip", 3), rate_limit("user", 1, key=USER_KEY, before=False)
    judge = Gate(authz_policy(authentication=any_of(jwt_method()), rate_limits=[by_ip, by_user]))
    good, bad = check_request(bearer(token())), check_request(bearer(token(exp=1)))

    assert [judge.reason(each) for each in (bad, bad, good, good)] == ["expired", "expired", "ok", "rate_limit"]


def test_user_limit_follows_the_identity() -> None:
    """A user's bucket is that of provider and subject, whatever the token or the address."""
    judge = Gate(
        authz_policy(
            authentication=any_of(jwt_method()), rate_limits=[rate_limit("user", 2, key=USER_KEY, before=False)]
        )
    )
    requests = [
        check_request(bearer(token(jti="1")), client_ip="203.0.113.1"),
        check_request(bearer(token(jti="2")), client_ip="203.0.113.2"),
        check_request(bearer(token(jti="3")), client_ip="203.0.113.3"),
        check_request(bearer(token(sub="bob"))),
    ]

    assert [judge.reason(each) for each in requests] == ["ok", "ok", "rate_limit", "ok"]


def test_rotating_a_bogus_key_resets_nothing() -> None:
    """A limit by API key counts proven keys only; unproven ones are refused and charged to their address."""
    limits = [rate_limit("ip", 3), rate_limit("key", 100, key=[{"api_key": True}], before=False)]
    judge = Gate(authz_policy(authentication=any_of(api_keys_method()), rate_limits=limits), KEYS)
    reasons = [judge.reason(check_request({"x-api-key": f"bogus-{number}"})) for number in range(5)]

    assert reasons == ["unknown_api_key"] * 3 + ["rate_limit"] * 2


def test_absent_key_counts_under_the_address() -> None:
    """Anonymous callers of an optional route share their address's bucket of a user limit."""
    limits = [rate_limit("user", 1, key=USER_KEY, before=False)]
    judge = Gate(authz_policy(authentication=any_of(jwt_method(), optional=True), rate_limits=limits))

    assert [judge.reason(check_request(client_ip=each)) for each in ("10.0.0.1", "10.0.0.1", "10.0.0.2")] == [
        "ok",
        "rate_limit",
        "ok",
    ]
    assert judge.reason(check_request(bearer(token()), client_ip="10.0.0.1")) == "ok"


def test_ipv6_by_64() -> None:
    """Addresses of one /64 share a bucket; IPv4-mapped ones are IPv4."""
    judge = Gate(authz_policy(rate_limits=[rate_limit(count=1)]))
    addresses = ["2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1", "::ffff:10.0.0.1", "10.0.0.1", "::ffff:10.0.0.2"]

    assert [judge.reason(check_request(client_ip=each)) for each in addresses] == [
        "ok",
        "rate_limit",
        "ok",
        "ok",
        "rate_limit",
        "ok",
    ]


def test_key_parts_do_not_run_together() -> None:
    """Two headers that read the same when joined are two keys."""
    key = [{"header": "x-a"}, {"header": "x-b"}]
    judge = Gate(authz_policy(rate_limits=[rate_limit(count=1, key=key)]))
    pairs = [("1", "11"), ("11", "1"), ("1:", "1"), ("1", ":1"), ("", "h"), ("h", "")]

    assert [judge.reason(check_request({"x-a": a, "x-b": b})) for a, b in pairs] == ["ok"] * len(pairs)


def test_long_keys_are_distinct() -> None:
    """Long header values are hashed, not cut."""
    judge = Gate(authz_policy(rate_limits=[rate_limit(count=1, key=[{"header": "x-a"}])]))

    assert [judge.reason(check_request({"x-a": "a" * 5000 + end})) for end in ("1", "2", "1")] == [
        "ok",
        "ok",
        "rate_limit",
    ]


def test_empty_key_is_one_bucket() -> None:
    """`key: []` is one bucket for all."""
    judge = Gate(authz_policy(rate_limits=[rate_limit(count=1, key=[])]))

    assert [judge.reason(check_request(client_ip=each)) for each in ("10.0.0.1", "10.0.0.2")] == ["ok", "rate_limit"]


@pytest.mark.parametrize("part", [{"claim": "tenant"}, {"attribute": "tenant"}])
def test_key_by_claim(part: dict[str, str]) -> None:
    """A claim or attribute can be the key."""
    limits = [rate_limit(count=1, key=[part], before=False)]
    judge = Gate(authz_policy(authentication=any_of(jwt_method()), rate_limits=limits))
    tokens = [token(sub="a", tenant="t1"), token(sub="b", tenant="t1"), token(sub="c", tenant="t2")]

    assert [judge.reason(check_request(bearer(each))) for each in tokens] == ["ok", "rate_limit", "ok"]


def test_rate_by_attribute() -> None:
    """A caller's attribute chooses the rate; without a value of the list the standard one holds."""
    limits = [
        rate_limit("tier", 1, key=[{"api_key": True}], before=False, by_attribute="tier", by_value={"gold": (3, 60.0)})
    ]
    judge = Gate(authz_policy(authentication=any_of(api_keys_method()), rate_limits=limits), KEYS)
    gold = [judge.check(check_request(ACME)) for _ in range(4)]
    free = [judge.reason(check_request({"x-api-key": "key-of-small"})) for _ in range(2)]

    assert [answer.status for answer in gold] == [200, 200, 200, 429]
    assert gold[0].headers["ratelimit-policy"] == '"tier";q=3;w=60'
    assert free == ["ok", "rate_limit"]


def test_shadow_limit() -> None:
    """A limit in shadow mode lets everything pass, unseen by callers."""
    judge = Gate(authz_policy(rate_limits=[rate_limit(count=1, shadow=True)]))
    decisions = [judge.decide(check_request()) for _ in range(3)]

    assert [[each.name for each in decision.would_refuse] for decision in decisions] == [[], ["limit"], ["limit"]]
    assert judge.check(check_request()).headers == {}


def test_limit_state_survives_a_policy_edit() -> None:
    """A new version of a policy finds the buckets of the old one."""
    old = Gate(authz_policy("authz-1", rate_limits=[rate_limit("login", 2, 3600)]))
    new = Gate(authz_policy("authz-2", rate_limits=[rate_limit("login", 3, 3600), rate_limit("more", 9)]))
    new.store = old.store

    assert [old.reason(check_request()), old.reason(check_request()), new.reason(check_request())] == [
        "ok",
        "ok",
        "rate_limit",
    ]


def test_identities_do_not_mix() -> None:
    """Claims of one caller never appear in another's answer."""
    judge = Gate(
        authz_policy(
            authentication=any_of(jwt_method(forward_claims={"sub": "x-user", "roles": "x-roles"})),
            identity_headers=["x-user", "x-roles"],
        )
    )
    admin = check_request(bearer(token(sub="root", roles=["admin"])))
    user = check_request(bearer(token(sub="bob")))
    for _ in range(3):
        judge.check(admin)
        answer = judge.check(user)

        assert answer.upstream == {"x-user": "bob"}
        assert "x-roles" in answer.removed
        assert answer.metadata["user"] == "bob"


def test_opaque_identity() -> None:
    """The identity for cache keys is the same for each token of a caller and differs between callers and providers."""
    judge = Gate(authz_policy(authentication=any_of(jwt_method(forward_claims={"roles": "x-roles"}))))
    other = Gate(authz_policy(authentication=any_of(jwt_method("other"))))

    def opaque(gate: Gate, text: str) -> object:
        return gate.check(check_request(bearer(text))).metadata["identity"]

    assert opaque(judge, token(jti="1")) == opaque(judge, token(jti="2"))
    distinct = [
        opaque(judge, token()),
        opaque(judge, token(sub="bob")),
        opaque(judge, token(roles=["admin"])),
        opaque(judge, token(sub=None, jti="1")),
        opaque(judge, token(sub=None, jti="2")),
        opaque(other, token()),
    ]
    assert len(set(distinct)) == len(distinct)


def test_non_utf8_headers() -> None:
    """Bytes that are no text cause no exception, whatever header they stand in."""
    junk = b"\xff\xfe\x80"
    judge = Gate(
        authz_policy(
            authentication=any_of(
                jwt_method(sources=[{"header": "authorization"}, {"cookie": "s"}]), api_keys_method(), optional=True
            ),
            rate_limits=[rate_limit(count=100, key=[{"header": "x-junk"}])],
        ),
        KEYS,
    )
    names = ["authorization", "cookie", "x-api-key", "x-junk", "content-type", "x-request-id", "x-gateway-client-ip"]
    for name in names:
        for value in (junk, b"Bearer " + junk, b"s=" + junk, b""):
            judge.check(check_request([(name, value)], raw=True))
