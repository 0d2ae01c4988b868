import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AuthzPolicy(_message.Message):
    __slots__ = ("name", "authentication", "ip", "rate_limits", "identity_headers", "shadow", "rate_limit_store", "rate_limit_domain", "told_claims")
    NAME_FIELD_NUMBER: _ClassVar[int]
    AUTHENTICATION_FIELD_NUMBER: _ClassVar[int]
    IP_FIELD_NUMBER: _ClassVar[int]
    RATE_LIMITS_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_HEADERS_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    RATE_LIMIT_STORE_FIELD_NUMBER: _ClassVar[int]
    RATE_LIMIT_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    TOLD_CLAIMS_FIELD_NUMBER: _ClassVar[int]
    name: str
    authentication: Authentication
    ip: _containers.RepeatedCompositeFieldContainer[IpRules]
    rate_limits: _containers.RepeatedCompositeFieldContainer[RateLimit]
    identity_headers: _containers.RepeatedScalarFieldContainer[str]
    shadow: bool
    rate_limit_store: RedisStore
    rate_limit_domain: str
    told_claims: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., authentication: _Optional[_Union[Authentication, _Mapping]] = ..., ip: _Optional[_Iterable[_Union[IpRules, _Mapping]]] = ..., rate_limits: _Optional[_Iterable[_Union[RateLimit, _Mapping]]] = ..., identity_headers: _Optional[_Iterable[str]] = ..., shadow: _Optional[bool] = ..., rate_limit_store: _Optional[_Union[RedisStore, _Mapping]] = ..., rate_limit_domain: _Optional[str] = ..., told_claims: _Optional[_Iterable[str]] = ...) -> None: ...

class RedisStore(_message.Message):
    __slots__ = ("url_secret", "prefix")
    URL_SECRET_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    url_secret: str
    prefix: str
    def __init__(self, url_secret: _Optional[str] = ..., prefix: _Optional[str] = ...) -> None: ...

class Authentication(_message.Message):
    __slots__ = ("combination", "methods", "optional", "required_claims")
    class Combination(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        COMBINATION_UNSPECIFIED: _ClassVar[Authentication.Combination]
        ANY_OF: _ClassVar[Authentication.Combination]
        ALL_OF: _ClassVar[Authentication.Combination]
    COMBINATION_UNSPECIFIED: Authentication.Combination
    ANY_OF: Authentication.Combination
    ALL_OF: Authentication.Combination
    COMBINATION_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    OPTIONAL_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_CLAIMS_FIELD_NUMBER: _ClassVar[int]
    combination: Authentication.Combination
    methods: _containers.RepeatedCompositeFieldContainer[Method]
    optional: bool
    required_claims: _containers.RepeatedCompositeFieldContainer[ClaimRequirement]
    def __init__(self, combination: _Optional[_Union[Authentication.Combination, str]] = ..., methods: _Optional[_Iterable[_Union[Method, _Mapping]]] = ..., optional: _Optional[bool] = ..., required_claims: _Optional[_Iterable[_Union[ClaimRequirement, _Mapping]]] = ...) -> None: ...

class ClaimRequirement(_message.Message):
    __slots__ = ("claim", "values")
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    claim: str
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, claim: _Optional[str] = ..., values: _Optional[_Iterable[str]] = ...) -> None: ...

class Method(_message.Message):
    __slots__ = ("name", "jwt", "api_keys", "signatures")
    NAME_FIELD_NUMBER: _ClassVar[int]
    JWT_FIELD_NUMBER: _ClassVar[int]
    API_KEYS_FIELD_NUMBER: _ClassVar[int]
    SIGNATURES_FIELD_NUMBER: _ClassVar[int]
    name: str
    jwt: JwtProvider
    api_keys: ApiKeys
    signatures: Signatures
    def __init__(self, name: _Optional[str] = ..., jwt: _Optional[_Union[JwtProvider, _Mapping]] = ..., api_keys: _Optional[_Union[ApiKeys, _Mapping]] = ..., signatures: _Optional[_Union[Signatures, _Mapping]] = ...) -> None: ...

class CredentialSource(_message.Message):
    __slots__ = ("header", "cookie", "query")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    COOKIE_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    header: str
    cookie: str
    query: str
    def __init__(self, header: _Optional[str] = ..., cookie: _Optional[str] = ..., query: _Optional[str] = ...) -> None: ...

class ClaimHeader(_message.Message):
    __slots__ = ("claim", "header")
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    HEADER_FIELD_NUMBER: _ClassVar[int]
    claim: str
    header: str
    def __init__(self, claim: _Optional[str] = ..., header: _Optional[str] = ...) -> None: ...

class JwtProvider(_message.Message):
    __slots__ = ("name", "issuer", "audiences", "algorithms", "jwks_url", "oidc_discovery", "jwks_secret", "shared_secret", "sources", "leeway", "max_lifetime", "required_claims", "forward_claims", "forward", "revocation_redis_key", "revocation_store")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    AUDIENCES_FIELD_NUMBER: _ClassVar[int]
    ALGORITHMS_FIELD_NUMBER: _ClassVar[int]
    JWKS_URL_FIELD_NUMBER: _ClassVar[int]
    OIDC_DISCOVERY_FIELD_NUMBER: _ClassVar[int]
    JWKS_SECRET_FIELD_NUMBER: _ClassVar[int]
    SHARED_SECRET_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    LEEWAY_FIELD_NUMBER: _ClassVar[int]
    MAX_LIFETIME_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_CLAIMS_FIELD_NUMBER: _ClassVar[int]
    FORWARD_CLAIMS_FIELD_NUMBER: _ClassVar[int]
    FORWARD_FIELD_NUMBER: _ClassVar[int]
    REVOCATION_REDIS_KEY_FIELD_NUMBER: _ClassVar[int]
    REVOCATION_STORE_FIELD_NUMBER: _ClassVar[int]
    name: str
    issuer: str
    audiences: _containers.RepeatedScalarFieldContainer[str]
    algorithms: _containers.RepeatedScalarFieldContainer[str]
    jwks_url: str
    oidc_discovery: bool
    jwks_secret: str
    shared_secret: str
    sources: _containers.RepeatedCompositeFieldContainer[CredentialSource]
    leeway: _duration_pb2.Duration
    max_lifetime: _duration_pb2.Duration
    required_claims: _containers.RepeatedScalarFieldContainer[str]
    forward_claims: _containers.RepeatedCompositeFieldContainer[ClaimHeader]
    forward: bool
    revocation_redis_key: str
    revocation_store: RedisStore
    def __init__(self, name: _Optional[str] = ..., issuer: _Optional[str] = ..., audiences: _Optional[_Iterable[str]] = ..., algorithms: _Optional[_Iterable[str]] = ..., jwks_url: _Optional[str] = ..., oidc_discovery: _Optional[bool] = ..., jwks_secret: _Optional[str] = ..., shared_secret: _Optional[str] = ..., sources: _Optional[_Iterable[_Union[CredentialSource, _Mapping]]] = ..., leeway: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_lifetime: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., required_claims: _Optional[_Iterable[str]] = ..., forward_claims: _Optional[_Iterable[_Union[ClaimHeader, _Mapping]]] = ..., forward: _Optional[bool] = ..., revocation_redis_key: _Optional[str] = ..., revocation_store: _Optional[_Union[RedisStore, _Mapping]] = ...) -> None: ...

class ApiKeys(_message.Message):
    __slots__ = ("name", "source", "keys_secret", "forward", "forward_claims")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    KEYS_SECRET_FIELD_NUMBER: _ClassVar[int]
    FORWARD_FIELD_NUMBER: _ClassVar[int]
    FORWARD_CLAIMS_FIELD_NUMBER: _ClassVar[int]
    name: str
    source: CredentialSource
    keys_secret: str
    forward: bool
    forward_claims: _containers.RepeatedCompositeFieldContainer[ClaimHeader]
    def __init__(self, name: _Optional[str] = ..., source: _Optional[_Union[CredentialSource, _Mapping]] = ..., keys_secret: _Optional[str] = ..., forward: _Optional[bool] = ..., forward_claims: _Optional[_Iterable[_Union[ClaimHeader, _Mapping]]] = ...) -> None: ...

class Signatures(_message.Message):
    __slots__ = ("name", "clients_secret", "clock_skew", "signed_headers", "nonce_store")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CLIENTS_SECRET_FIELD_NUMBER: _ClassVar[int]
    CLOCK_SKEW_FIELD_NUMBER: _ClassVar[int]
    SIGNED_HEADERS_FIELD_NUMBER: _ClassVar[int]
    NONCE_STORE_FIELD_NUMBER: _ClassVar[int]
    name: str
    clients_secret: str
    clock_skew: _duration_pb2.Duration
    signed_headers: _containers.RepeatedScalarFieldContainer[str]
    nonce_store: RedisStore
    def __init__(self, name: _Optional[str] = ..., clients_secret: _Optional[str] = ..., clock_skew: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., signed_headers: _Optional[_Iterable[str]] = ..., nonce_store: _Optional[_Union[RedisStore, _Mapping]] = ...) -> None: ...

class IpRules(_message.Message):
    __slots__ = ("allow", "deny")
    ALLOW_FIELD_NUMBER: _ClassVar[int]
    DENY_FIELD_NUMBER: _ClassVar[int]
    allow: _containers.RepeatedScalarFieldContainer[str]
    deny: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, allow: _Optional[_Iterable[str]] = ..., deny: _Optional[_Iterable[str]] = ...) -> None: ...

class LimitKey(_message.Message):
    __slots__ = ("user", "api_key", "client_ip", "route", "header", "claim", "attribute")
    USER_FIELD_NUMBER: _ClassVar[int]
    API_KEY_FIELD_NUMBER: _ClassVar[int]
    CLIENT_IP_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    user: bool
    api_key: bool
    client_ip: bool
    route: bool
    header: str
    claim: str
    attribute: str
    def __init__(self, user: _Optional[bool] = ..., api_key: _Optional[bool] = ..., client_ip: _Optional[bool] = ..., route: _Optional[bool] = ..., header: _Optional[str] = ..., claim: _Optional[str] = ..., attribute: _Optional[str] = ...) -> None: ...

class Rate(_message.Message):
    __slots__ = ("count", "period")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    PERIOD_FIELD_NUMBER: _ClassVar[int]
    count: int
    period: _duration_pb2.Duration
    def __init__(self, count: _Optional[int] = ..., period: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RateLimit(_message.Message):
    __slots__ = ("name", "rate", "burst", "key", "cost", "shadow", "on_store_error", "by_attribute", "by_value", "before_authentication")
    class OnStoreError(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ON_STORE_ERROR_UNSPECIFIED: _ClassVar[RateLimit.OnStoreError]
        LOCAL: _ClassVar[RateLimit.OnStoreError]
        ALLOW: _ClassVar[RateLimit.OnStoreError]
        DENY: _ClassVar[RateLimit.OnStoreError]
    ON_STORE_ERROR_UNSPECIFIED: RateLimit.OnStoreError
    LOCAL: RateLimit.OnStoreError
    ALLOW: RateLimit.OnStoreError
    DENY: RateLimit.OnStoreError
    class ByValueEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Rate
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Rate, _Mapping]] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    BURST_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    ON_STORE_ERROR_FIELD_NUMBER: _ClassVar[int]
    BY_ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    BY_VALUE_FIELD_NUMBER: _ClassVar[int]
    BEFORE_AUTHENTICATION_FIELD_NUMBER: _ClassVar[int]
    name: str
    rate: Rate
    burst: int
    key: _containers.RepeatedCompositeFieldContainer[LimitKey]
    cost: int
    shadow: bool
    on_store_error: RateLimit.OnStoreError
    by_attribute: str
    by_value: _containers.MessageMap[str, Rate]
    before_authentication: bool
    def __init__(self, name: _Optional[str] = ..., rate: _Optional[_Union[Rate, _Mapping]] = ..., burst: _Optional[int] = ..., key: _Optional[_Iterable[_Union[LimitKey, _Mapping]]] = ..., cost: _Optional[int] = ..., shadow: _Optional[bool] = ..., on_store_error: _Optional[_Union[RateLimit.OnStoreError, str]] = ..., by_attribute: _Optional[str] = ..., by_value: _Optional[_Mapping[str, Rate]] = ..., before_authentication: _Optional[bool] = ...) -> None: ...
