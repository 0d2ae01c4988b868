"""Builders of what the tests of ext_authz need: policies, tokens, requests, and a reader of answers."""

import hashlib
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from envoy.service.auth.v3 import external_auth_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict

from ext_authz.credentials import Authenticator
from ext_authz.decision import Allow, Decision, Deny, Now, decide
from ext_authz.jwt.cache import TokenCache
from ext_authz.limiter.memory import MemoryStore
from ext_authz.nonces import MemoryNonces
from ext_authz.request import Request, parse
from ext_authz.response import Replies
from policy.authz import Inputs, Policy, compile_policy
from protos.gateway.policy.v1 import authz_pb2

SECRET = b"a-secret-of-more-than-thirty-two-bytes!"
NOW_S = 1_800_000_000
ISSUER = "https://auth.example"


@dataclass(frozen=True)
class Answer:
    """A CheckResponse as a test reads it."""

    status: int
    """200 if allowed."""
    headers: Mapping[str, str]
    """Of the denial, or added to the response."""
    upstream: Mapping[str, str]
    removed: Sequence[str]
    removed_parameters: Sequence[str]
    body: str
    metadata: Mapping[str, object]
    code: int


def answer(message: bytes) -> Answer:
    """Decode with Envoy's own classes."""
    response = external_auth_pb2.CheckResponse.FromString(message)
    metadata = MessageToDict(response.dynamic_metadata)
    kind = response.WhichOneof("http_response")
    if kind == "ok_response":
        ok = response.ok_response
        return Answer(
            status=200,
            headers={each.header.key: each.header.value for each in ok.response_headers_to_add},
            upstream={each.header.key: each.header.value for each in ok.headers},
            removed=list(ok.headers_to_remove),
            removed_parameters=list(ok.query_parameters_to_remove),
            body="",
            metadata=metadata,
            code=response.status.code,
        )
    assert kind == "denied_response"
    denied = response.denied_response
    return Answer(
        status=denied.status.code,
        headers={each.header.key: each.header.value for each in denied.headers},
        upstream={},
        removed=[],
        removed_parameters=[],
        body=denied.body,
        metadata=metadata,
        code=response.status.code,
    )


def seconds(number: float) -> Duration:
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=number))
    return duration


def jwt_method(
    name: str = "meetinity",
    *,
    issuer: str = ISSUER,
    algorithms: Sequence[str] = ("HS256",),
    secret: str = "",
    jwks: str = "",
    jwks_url: str = "",
    oidc_discovery: bool = False,
    audiences: Sequence[str] = (),
    sources: Sequence[Mapping[str, str]] = (),
    forward_claims: Mapping[str, str] | None = None,
    forward: bool = True,
    leeway_s: float = 0,
    max_lifetime_s: float | None = None,
    required_claims: Sequence[str] = (),
    revocation: str = "",
) -> authz_pb2.Method:
    provider = authz_pb2.JwtProvider(
        name=name,
        issuer=issuer,
        audiences=audiences,
        algorithms=algorithms,
        sources=[authz_pb2.CredentialSource(**source) for source in sources],
        leeway=seconds(leeway_s),
        required_claims=required_claims,
        forward_claims=[
            authz_pb2.ClaimHeader(claim=claim, header=header) for claim, header in (forward_claims or {}).items()
        ],
        forward=forward,
    )
    if max_lifetime_s is not None:
        provider.max_lifetime.CopyFrom(seconds(max_lifetime_s))
    if revocation:
        provider.revocation_redis_key = revocation
        provider.revocation_store.url_secret = "redis"
    if jwks_url:
        provider.jwks_url = jwks_url
    elif oidc_discovery:
        provider.oidc_discovery = True
    elif jwks:
        provider.jwks_secret = jwks
    else:
        provider.shared_secret = secret or "hmac"
    return authz_pb2.Method(name=f"jwt.{name}", jwt=provider)


def api_keys_method(
    name: str = "partners",
    *,
    secret: str = "keys",
    header: str = "",
    query: str = "",
    forward: bool = False,
    forward_claims: Mapping[str, str] | None = None,
) -> authz_pb2.Method:
    source = (
        authz_pb2.CredentialSource(query=query) if query else authz_pb2.CredentialSource(header=header or "x-api-key")
    )
    keys = authz_pb2.ApiKeys(
        name=name,
        source=source,
        keys_secret=secret,
        forward=forward,
        forward_claims=[
            authz_pb2.ClaimHeader(claim=claim, header=name) for claim, name in (forward_claims or {}).items()
        ],
    )
    return authz_pb2.Method(name=f"api_keys.{name}", api_keys=keys)


def signatures_method(
    name: str = "webhooks",
    *,
    secret: str = "clients",
    clock_skew_s: float = 300,
    signed_headers: Sequence[str] = (),
    shared: bool = False,
) -> authz_pb2.Method:
    signatures = authz_pb2.Signatures(
        name=name, clients_secret=secret, clock_skew=seconds(clock_skew_s), signed_headers=signed_headers
    )
    if shared:
        signatures.nonce_store.CopyFrom(authz_pb2.RedisStore(url_secret="redis", prefix="test:nonce:"))
    return authz_pb2.Method(name=f"signatures.{name}", signatures=signatures)


def any_of(
    *methods: authz_pb2.Method, optional: bool = False, required_claims: Mapping[str, Sequence[str]] | None = None
) -> authz_pb2.Authentication:
    return _authentication(authz_pb2.Authentication.ANY_OF, methods, optional, required_claims)


def all_of(
    *methods: authz_pb2.Method, optional: bool = False, required_claims: Mapping[str, Sequence[str]] | None = None
) -> authz_pb2.Authentication:
    return _authentication(authz_pb2.Authentication.ALL_OF, methods, optional, required_claims)


def _authentication(
    combination: authz_pb2.Authentication.Combination,
    methods: Sequence[authz_pb2.Method],
    optional: bool,
    required_claims: Mapping[str, Sequence[str]] | None,
) -> authz_pb2.Authentication:
    return authz_pb2.Authentication(
        combination=combination,
        methods=methods,
        optional=optional,
        required_claims=[
            authz_pb2.ClaimRequirement(claim=claim, values=values) for claim, values in (required_claims or {}).items()
        ],
    )


def rate_limit(
    name: str = "limit",
    count: int = 10,
    per_s: float = 60,
    *,
    burst: int = 0,
    key: Sequence[Mapping[str, object]] = ({"client_ip": True},),
    cost: int = 1,
    shadow: bool = False,
    before: bool = True,
    by_attribute: str = "",
    by_value: Mapping[str, tuple[int, float]] | None = None,
) -> authz_pb2.RateLimit:
    return authz_pb2.RateLimit(
        name=name,
        rate=authz_pb2.Rate(count=count, period=seconds(per_s)),
        burst=burst,
        key=[authz_pb2.LimitKey(**part) for part in key],  # type: ignore[arg-type]
        cost=cost,
        shadow=shadow,
        before_authentication=before,
        by_attribute=by_attribute,
        by_value={
            value: authz_pb2.Rate(count=number, period=seconds(period))
            for value, (number, period) in (by_value or {}).items()
        },
    )


def authz_policy(
    name: str = "authz-test",
    authentication: authz_pb2.Authentication | None = None,
    *,
    rate_limits: Sequence[authz_pb2.RateLimit] = (),
    ip: Sequence[tuple[Sequence[str], Sequence[str]]] = (),
    identity_headers: Sequence[str] = (),
    shadow: bool = False,
) -> authz_pb2.AuthzPolicy:
    return authz_pb2.AuthzPolicy(
        name=name,
        authentication=authentication,
        rate_limits=rate_limits,
        ip=[authz_pb2.IpRules(allow=allow, deny=deny) for allow, deny in ip],
        identity_headers=identity_headers,
        shadow=shadow,
    )


@lru_cache
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@lru_cache
def ec_key(curve: str = "P-256") -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key({"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}[curve])


@lru_cache
def ed_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def jwk(key: object, kid: str | None = None, **members: object) -> dict[str, object]:
    """The public half of a private key as a JWK."""
    match key:
        case rsa.RSAPrivateKey():
            public = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        case ec.EllipticCurvePrivateKey():
            public = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        case ed25519.Ed25519PrivateKey():
            public = jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
        case _:
            raise TypeError(key)
    public.pop("key_ops", None)
    if kid is not None:
        public["kid"] = kid
    return {**public, **members}


def jwks(*keys: Mapping[str, object]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def token(key: object = SECRET, algorithm: str = "HS256", *, kid: str | None = None, **claims: object) -> str:
    """A signed token; a claim given as None is left out."""
    payload = {"iss": ISSUER, "sub": "alice", "exp": NOW_S + 600, **claims}
    payload = {name: value for name, value in payload.items() if value is not None}
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode(payload, key, algorithm=algorithm, headers=headers)  # type: ignore[arg-type]


def segment(content: object) -> str:
    """base64url of bytes, or of JSON."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def hs256(header: object, payload: object, secret: bytes = SECRET) -> str:
    """A token of any header and payload, with a signature that is right."""
    import hmac

    signing_input = f"{segment(header)}.{segment(payload)}"
    return f"{signing_input}.{segment(hmac.digest(secret, signing_input.encode(), 'sha256'))}"


def api_keys_secret(**keys: Mapping[str, str]) -> bytes:
    """A Secret of API keys: id=attributes; the key of "acme" is "key-of-acme"."""
    entries = [
        {"id": name, "sha256": hashlib.sha256(f"key-of-{name}".encode()).hexdigest(), "attributes": attributes}
        for name, attributes in keys.items()
    ]
    return json.dumps(entries).encode()


def check_request(
    headers: Mapping[str, str] | Sequence[tuple[str, str | bytes]] = (),
    *,
    path: str = "/api/users?a=1",
    method: str = "GET",
    policy: str = "authz-test",
    route: str = "users",
    client_ip: str = "203.0.113.7",
    raw: bool = False,
    host: str = "api.example",
    body: bytes = b"",
) -> bytes:
    """A serialised CheckRequest; `raw` is the form of encode_raw_headers, and the only one for headers sent twice."""
    pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    pairs += [("x-gateway-client-ip", client_ip), ("x-request-id", "req-1")]
    request = external_auth_pb2.CheckRequest()
    request.attributes.context_extensions["policy"] = policy
    request.attributes.context_extensions["route"] = route
    http = request.attributes.request.http
    http.id, http.method, http.path, http.host = "4711", method, path, host
    http.raw_body, http.size = body, len(body)
    for name, value in pairs:
        if raw:
            http.header_map.headers.add(key=name, raw_value=value if isinstance(value, bytes) else value.encode())
        else:
            assert isinstance(value, str)
            http.headers[name] = value
    return request.SerializeToString()


class Gate:
    """A policy with everything around it that decides."""

    def __init__(self, message: authz_pb2.AuthzPolicy, secrets: Mapping[str, bytes] | None = None) -> None:
        self.policy: Policy = compile_policy(message, Inputs({"hmac": SECRET, **(secrets or {})}))
        self.replies = Replies(self.policy)
        self.authenticator = Authenticator(TokenCache(1000))
        self.store = MemoryStore(1000)
        self.nonces = MemoryNonces(NOW_S - 3600)

    def decide(self, message: bytes, *, now_s: float = NOW_S, now_us: int = 1_000_000_000) -> Decision:
        return decide(self.policy, parse(message), Now(now_s, now_us), self.authenticator, self.store, self.nonces)

    def check(self, message: bytes, *, now_s: float = NOW_S, now_us: int = 1_000_000_000) -> Answer:
        request: Request = parse(message)
        decision = decide(self.policy, request, Now(now_s, now_us), self.authenticator, self.store, self.nonces)
        match decision:
            case Allow():
                return answer(self.replies.allowed(decision, request))
            case Deny():
                return answer(self.replies.denied(decision, request))

    def reason(self, message: bytes, *, now_s: float = NOW_S, now_us: int = 1_000_000_000) -> str:
        """The denial's reason, or "ok"."""
        decision = self.decide(message, now_s=now_s, now_us=now_us)
        return decision.reason.label if isinstance(decision, Deny) else "ok"


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}
