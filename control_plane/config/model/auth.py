"""auth, rate_limits and stores: who may call, and how often."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, model_validator

from control_plane.config.model.base import Section
from control_plane.config.scalars import Bool, Duration, Int, RateValue

Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512"
]


class TokenSource(Section):
    """Exactly one of the three."""

    header: str | None = None
    cookie: str | None = None
    query: str | None = None


class Revocation(Section):
    redis_key: str


class JwtProvider(Section):
    issuer: str
    audiences: tuple[str, ...] = ()
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)]
    jwks_url: str | None = None
    oidc_discovery: Bool | None = None
    jwks_file: str | None = None
    secret: Annotated[str | None, Field(repr=False)] = None
    token: tuple[TokenSource, ...] = (TokenSource(header="authorization"),)
    leeway: Duration = timedelta(seconds=30)
    max_lifetime: Duration | None = None
    revocation: Revocation | None = None
    forward: Bool = True
    required_claims: tuple[str, ...] = ("exp",)
    forward_claims: dict[str, str] = {}


class ApiKey(Section):
    id: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]
    attributes: dict[str, str] = {}


class ApiKeys(Section):
    """Exactly one of header, query; exactly one of keys, keys_file."""

    header: str | None = None
    query: str | None = None
    keys: tuple[ApiKey, ...] | None = None
    keys_file: str | None = None
    forward: Bool = False
    forward_claims: dict[str, str] = {}


class SignatureClient(Section):
    id: str
    secret: Annotated[str, Field(repr=False)]


class Signatures(Section):
    clients: Annotated[tuple[SignatureClient, ...], Field(min_length=1)]
    clock_skew: Duration = timedelta(minutes=5)
    signed_headers: tuple[str, ...] = ()


class AuthMethods(Section):
    jwt: dict[str, JwtProvider] = {}
    api_keys: dict[str, ApiKeys] = {}
    signatures: dict[str, Signatures] = {}


class RateByAttribute(Section):
    """In the file: `{attribute: tier, gold: 1000/minute}`."""

    attribute: str
    rates: Annotated[dict[str, RateValue], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _from_shorthand(cls, value: object) -> object:
        if not isinstance(value, dict) or isinstance(value.get("rates"), dict):
            return value
        rates = {key: rate for key, rate in value.items() if key != "attribute"}
        return {key: value[key] for key in value if key == "attribute"} | {"rates": rates}


class RateLimit(Section):
    rate: RateValue
    burst: Annotated[Int, Field(ge=1)] | None = None
    """Requests at once; the number in rate if absent."""
    key: tuple[str, ...]
    """user, api_key, client_ip, route, header:NAME, claim:NAME, attribute:NAME."""
    on_store_error: Literal["local", "allow", "deny"] = "local"
    cost: Annotated[Int, Field(ge=1)] = 1
    shadow: Bool = False
    by: RateByAttribute | None = None


class Redis(Section):
    url: Annotated[str, Field(repr=False)]


class Stores(Section):
    rate_limits: Literal["memory", "redis"] = "memory"
    cache: Literal["memory", "redis"] = "memory"
    redis: Redis | None = None
