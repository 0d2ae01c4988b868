"""Any policy and any requests against a second, slow and obvious reading of the rules: the same answer, every time.

The rules are those of docs/operations/authentication.md and rate-limiting.md; nothing of ext_authz is used to read
them. Numbers are exact fractions, tokens are PyJWT's, addresses are the standard library's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import jwt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protos.gateway.policy.v1 import authz_pb2
from tests.unit.ext_authz.fixtures import (
    ISSUER,
    NOW_S,
    SECRET,
    Gate,
    all_of,
    any_of,
    api_keys_method,
    api_keys_secret,
    authz_policy,
    check_request,
    jwt_method,
    rate_limit,
    token,
)

OTHER_ISSUER, OTHER_SECRET = "https://other.example", b"another-secret-of-more-than-thirty-two-bytes"
ATTRIBUTES = {"acme": {"tier": "gold", "roles": "admin"}, "small": {"tier": "free"}}
SECRETS = {"keys": api_keys_secret(**ATTRIBUTES), "other": OTHER_SECRET}
START_US = 1_000_000_000


# what is configured


@dataclass(frozen=True)
class Jwt:
    """A provider; `places` in the order in which they are looked at."""

    name: str
    issuer: str
    secret: bytes
    audience: str | None
    places: tuple[tuple[str, str], ...]

    def message(self) -> authz_pb2.Method:
        return jwt_method(
            self.name,
            issuer=self.issuer,
            secret="" if self.secret == SECRET else "other",
            audiences=[self.audience] if self.audience else [],
            sources=[{kind: name} for kind, name in self.places],
            forward_claims={"sub": "x-user"},
            required_claims=["exp"],
        )


@dataclass(frozen=True)
class Key:
    """API keys in one place."""

    place: tuple[str, str]

    def message(self) -> authz_pb2.Method:
        kind, name = self.place
        return api_keys_method(f"by-{kind}", **{kind: name}, forward_claims={"id": "x-user"})  # type: ignore[arg-type]


AUTHORIZATION = ("header", "authorization")
METHODS = (
    Jwt("main", ISSUER, SECRET, "api", (AUTHORIZATION,)),
    Jwt("other", OTHER_ISSUER, OTHER_SECRET, None, (AUTHORIZATION, ("cookie", "session"), ("query", "token"))),
    Jwt("own", "https://own.example", OTHER_SECRET, None, (("header", "x-token"),)),
    Key(("header", "x-api-key")),
    Key(("query", "key")),
)


@dataclass(frozen=True)
class Rate:
    """A limit per hour."""

    name: str
    per_hour: int
    key: tuple[str, ...]
    before: bool
    cost: int = 1
    shadow: bool = False
    gold: int = 0
    """For callers with the attribute tier=gold; 0: no difference."""

    def message(self) -> authz_pb2.RateLimit:
        parts = [{"header": part[7:]} if part.startswith("header:") else {part: True} for part in self.key]
        by: dict[str, object] = {"by_attribute": "tier", "by_value": {"gold": (self.gold, 3600)}} if self.gold else {}
        options = {"before": self.before, "cost": self.cost, "shadow": self.shadow, **by}
        return rate_limit(self.name, self.per_hour, 3600, key=parts, **options)  # type: ignore[arg-type]


LIMITS = (
    Rate("ip", 3, ("client_ip",), True),
    Rate("header", 4, ("header:x-a", "client_ip"), True, cost=2),
    Rate("all", 5, (), True),
    Rate("none", 0, ("header:x-b",), True),
    Rate("dry", 1, ("client_ip",), True, shadow=True),
    Rate("user", 2, ("user",), False),
    Rate("key", 1, ("api_key",), False, gold=3),
)


@dataclass(frozen=True)
class Rules:
    methods: tuple[Jwt | Key, ...]
    all_of: bool
    optional: bool
    required: Mapping[str, Sequence[str]]
    ip: Sequence[tuple[Sequence[str], Sequence[str]]]
    limits: tuple[Rate, ...]

    def gate(self) -> Gate:
        combined = all_of if self.all_of else any_of
        methods = [each.message() for each in self.methods]
        required = dict(self.required)
        return Gate(
            authz_policy(
                authentication=combined(*methods, optional=self.optional, required_claims=required)
                if methods
                else None,
                ip=self.ip,
                rate_limits=[each.message() for each in self.limits],
                identity_headers=["x-user"],
            ),
            SECRETS,
        )


# what is sent


@dataclass(frozen=True)
class Sent:
    headers: tuple[tuple[str, str], ...]
    query: tuple[tuple[str, str], ...]
    client_ip: str
    later_us: int

    def message(self) -> bytes:
        query = "&".join(f"{name}={value}" for name, value in self.query)
        return check_request(list(self.headers), path=f"/a?{query}", client_ip=self.client_ip, raw=True)

    def lines(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def values(self, place: tuple[str, str]) -> list[str]:
        kind, name = place
        if kind == "query":
            return [value for key, value in self.query if key == name]
        if kind == "header":
            return self.lines(name)
        pairs = [pair.strip().split("=", 1) for line in self.lines("cookie") for pair in line.split(";")]
        return [pair[1] for pair in pairs if len(pair) == 2 and pair[0] == name]


# the second reading


class Refused(Exception):  # noqa: N818 - a status, not a fault
    def __init__(self, status: int) -> None:
        self.status = status


@dataclass
class Who:
    user: str | None
    api_key: str | None
    method: str
    claims: Mapping[str, object]


@dataclass
class Reading:
    """Judges one request after another."""

    rules: Rules
    buckets: dict[tuple[object, ...], tuple[Fraction, int]] = field(default_factory=dict)
    """What is left, and when that was."""

    def status(self, sent: Sent, now_us: int) -> tuple[int, str | None]:
        """The answer, and who the service is told it is."""
        try:
            who = self._judge(sent, now_us)
        except Refused as refused:
            return refused.status, None
        return 200, None if who is None else who.user or who.api_key

    def _judge(self, sent: Sent, now_us: int) -> Who | None:
        for allow, deny in self.rules.ip:
            if not _admitted(sent.client_ip, allow, deny):
                raise Refused(403)
        self._charge([each for each in self.rules.limits if each.before], sent, None, now_us)
        proven = _authenticated(self.rules, sent) if self.rules.methods else []
        if self.rules.methods and self.rules.required and not (self.rules.optional and not proven):
            for name, wanted in self.rules.required.items():
                values = [each.claims[name] for each in proven if name in each.claims][:1]
                texts = [text for value in values for text in (value if isinstance(value, list) else [value])]
                if not set(texts) & set(wanted):
                    raise Refused(403)
        who = _joined(proven)
        self._charge([each for each in self.rules.limits if not each.before], sent, who, now_us)
        return who

    def _charge(self, limits: Sequence[Rate], sent: Sent, who: Who | None, now_us: int) -> None:
        after: dict[tuple[object, ...], tuple[Fraction, int]] = {}
        for each in limits:
            count, bucket = each.per_hour, (each.name, *(_part(part, sent, who) for part in each.key))
            if each.gold and who is not None and who.claims.get("tier") == "gold":
                count, bucket = each.gold, (*bucket, "gold")
            left, since_us = self.buckets.get(bucket, (Fraction(count), now_us))
            interval_us = -(-3_600_000_000 // count) if count else 1
            left = min(Fraction(count), left + Fraction(now_us - since_us, interval_us)) - each.cost
            if left >= 0:
                after[bucket] = (left, now_us)
            elif not each.shadow:
                raise Refused(429)
        self.buckets.update(after)


def _part(part: str, sent: Sent, who: Who | None) -> object:
    address = _address(sent.client_ip)
    network = ip_network(f"{address}/64", strict=False) if isinstance(address, IPv6Address) else address
    if part.startswith("header:") and (lines := sent.lines(part[7:])):
        return ("header", ",".join(lines))
    if who is not None and part == "user":
        return ("user", who.method, who.user or who.api_key)
    if who is not None and part == "api_key" and who.api_key is not None:
        return ("api_key", who.api_key)
    return ("address", network)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _admitted(text: str, allow: Sequence[str], deny: Sequence[str]) -> bool:
    address = _address(text)
    if address is None:
        return False

    def inside(networks: Sequence[str]) -> bool:
        return any(address in ip_network(each) for each in networks)

    return not inside(deny) and (not allow or inside(allow))


def _authenticated(rules: Rules, sent: Sent) -> list[Who]:
    authorization = ",".join(sent.lines("authorization"))
    if "," in authorization and any(isinstance(each, Jwt) and AUTHORIZATION in each.places for each in rules.methods):
        raise Refused(401)
    proven = []
    for method in rules.methods:
        found = _by_key(method, sent) if isinstance(method, Key) else _by_token(method, rules, sent)
        if found is not None:
            proven.append(found)
    enough = len(proven) == len(rules.methods) if rules.all_of else bool(proven)
    if not enough and not (rules.optional and not proven):
        raise Refused(401)
    return proven


def _by_key(method: Key, sent: Sent) -> Who | None:
    values = sent.values(method.place)
    if not values:
        return None
    for name, attributes in ATTRIBUTES.items():
        if values == [f"key-of-{name}"]:
            return Who(None, name, f"by-{method.place[0]}", {**attributes, "id": name})
    raise Refused(401)


def _by_token(method: Jwt, rules: Rules, sent: Sent) -> Who | None:
    text = _token_of(method, sent)
    if text is None:
        return None
    try:
        issuer = jwt.decode(text, options={"verify_signature": False}).get("iss")
    except jwt.InvalidTokenError:
        raise Refused(401) from None
    if issuer != method.issuer:
        for other in rules.methods:
            if isinstance(other, Jwt) and other.issuer == issuer and _token_of(other, sent) == text:
                return None
        raise Refused(401)
    try:
        options = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": bool(method.audience)}
        claims = jwt.decode(text, method.secret, ["HS256"], options=options, audience=method.audience)  # type: ignore[arg-type]
    except jwt.InvalidTokenError:
        raise Refused(401) from None
    if not isinstance(claims.get("exp"), int) or claims["exp"] <= NOW_S or claims.get("nbf", 0) > NOW_S:
        raise Refused(401)
    return Who(claims["sub"], None, method.name, claims)


def _token_of(method: Jwt, sent: Sent) -> str | None:
    for place in method.places:
        values = sent.values(place)
        if place == AUTHORIZATION:
            values = [value[7:].strip() for value in values if value.lower().startswith("bearer")]
        if len(values) > 1:
            raise Refused(401)
        if values:
            return values[0]
    return None


def _joined(proven: Sequence[Who]) -> Who | None:
    """The first that says something says it for all."""
    if not proven:
        return None
    claims: dict[str, object] = {}
    for each in reversed(proven):
        claims.update(each.claims)
    user = next((each.user for each in proven if each.user is not None), None)
    api_key = next((each.api_key for each in proven if each.api_key is not None), None)
    return Who(user if proven[0].user is not None else proven[0].api_key, api_key, proven[0].method, claims)


# what is tried

GOOD = token(aud="api")
GOOD_ADMIN = token(aud="api", sub="bob", roles=["user", "admin"])
GOOD_OTHER = token(OTHER_SECRET, iss=OTHER_ISSUER, sub="carl", roles="admin", exp=NOW_S + 1)
GOOD_OWN = token(OTHER_SECRET, iss="https://own.example", roles=["user"], tier="gold")
TOKENS = st.sampled_from([GOOD, GOOD_OTHER, GOOD_OWN]) | st.sampled_from(
    [
        token(aud="api", exp=NOW_S),
        token(aud="api", nbf=NOW_S + 1),
        token(aud="web"),
        token(OTHER_SECRET, aud="api"),
        token(OTHER_SECRET, iss=OTHER_ISSUER, exp=NOW_S),
        token(SECRET, iss=OTHER_ISSUER),
        token(OTHER_SECRET, iss="https://nobody.example"),
        "rubbish",
        "",
    ]
)
KEYS = st.sampled_from(["key-of-acme", "key-of-acme", "key-of-small", "key-of-nobody", ""])
AUTHORIZATIONS = st.one_of(
    TOKENS.map(lambda text: f"Bearer {text}"),
    TOKENS.map(lambda text: f"bearer  {text} "),
    st.sampled_from(["Basic YTpi", "Bearer", "bearerx", "Bearer a,Bearer b", f"Bearer {GOOD},Bearer {GOOD}"]),
)
ADDRESSES = st.just("10.0.0.1") | st.sampled_from(
    ["10.1.0.1", "::ffff:10.0.0.1", "2001:db8::1", "2001:db8::2", "192.0.2.1", "unknown", "", "10.0.0.1:80"]
)


CREDENTIALS = {
    AUTHORIZATION: AUTHORIZATIONS,
    ("header", "x-token"): TOKENS,
    ("header", "x-api-key"): KEYS,
    ("cookie", "session"): TOKENS,
    ("query", "token"): TOKENS,
    ("query", "key"): KEYS,
}
OTHERS = st.lists(
    st.tuples(st.sampled_from(["x-a", "x-b", "x-user", "x-forwarded-for"]), st.sampled_from(["1", "2", "10.0.0.1"])),
    max_size=2,
)


def good(method: Jwt | Key) -> tuple[str, ...]:
    """Credentials that this method accepts."""
    if isinstance(method, Key):
        return ("key-of-acme", "key-of-small")
    return {"main": (GOOD, GOOD_ADMIN), "other": (GOOD_OTHER,), "own": (GOOD_OWN,)}[method.name]


def _header(place: tuple[str, str], text: str) -> tuple[str, str]:
    kind, name = place
    return ("cookie", f"a=1; {name}={text}") if kind == "cookie" else (name, text)


@st.composite
def requests_to(draw: st.DrawFn, rules: Rules) -> Sent:
    """Mostly a good credential for each method, now and then another one beside it or in its place."""
    placed: list[tuple[tuple[str, str], str]] = []
    for method in rules.methods:
        places = method.places if isinstance(method, Jwt) else (method.place,)
        place = draw(st.sampled_from(places))
        match draw(st.sampled_from(["good", "good", "good", "other", "none"])):
            case "good":
                text = draw(st.sampled_from(good(method)))
                placed.append((place, f"Bearer {text}" if place == AUTHORIZATION else text))
            case "other":
                placed.append((place, draw(CREDENTIALS[place])))
    if draw(st.integers(0, 5)) == 5:
        place = draw(st.sampled_from(list(CREDENTIALS)))
        placed.append((place, draw(CREDENTIALS[place])))
    return Sent(
        headers=tuple(_header(*pair) for pair in placed if pair[0][0] != "query") + tuple(draw(OTHERS)),
        query=tuple((name, text) for (kind, name), text in placed if kind == "query"),
        client_ip=draw(ADDRESSES),
        later_us=draw(st.sampled_from([0, 0, 1, 600_000_000, 719_999_999, 1_800_000_000])),
    )


RULES = st.builds(
    Rules,
    methods=st.lists(st.sampled_from(METHODS), unique=True, max_size=3).map(tuple),
    all_of=st.booleans(),
    optional=st.booleans(),
    required=st.sampled_from([{}, {}, {"roles": ["admin", "root"]}, {"tier": ["gold"]}]),
    ip=st.just([])
    | st.lists(
        st.tuples(
            st.sampled_from([[], ["10.0.0.0/8"], ["10.0.0.0/8", "2001:db8::/32"]]),
            st.sampled_from([[], ["10.1.0.0/16"], ["2001:db8::2/128"]]),
        ),
        max_size=2,
    ),
    limits=st.lists(st.sampled_from(LIMITS), unique=True, max_size=3).map(tuple),
)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_both_readings_agree(data: st.DataObject) -> None:
    """Status and identity are the same for each request of a sequence, with what was remembered of earlier ones."""
    rules = data.draw(RULES)
    gate, reading, now_us = rules.gate(), Reading(rules), START_US
    for sent in data.draw(st.lists(requests_to(rules), min_size=1, max_size=8)):
        now_us += sent.later_us
        answer = gate.check(sent.message(), now_us=now_us)

        assert reading.status(sent, now_us) == (answer.status, answer.upstream.get("x-user"))
        assert answer.status == 200 or answer.code != 0
        assert answer.status != 200 or ("x-user" in answer.removed) is ("x-user" not in answer.upstream)
