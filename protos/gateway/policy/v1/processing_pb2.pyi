import datetime

from protos.gateway.policy.v1 import authz_pb2 as _authz_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ProcessingPolicy(_message.Message):
    __slots__ = ("name", "gateway", "cache", "request", "response", "invalidates")
    NAME_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    INVALIDATES_FIELD_NUMBER: _ClassVar[int]
    name: str
    gateway: str
    cache: CachePolicy
    request: MessageTransform
    response: MessageTransform
    invalidates: bool
    def __init__(self, name: _Optional[str] = ..., gateway: _Optional[str] = ..., cache: _Optional[_Union[CachePolicy, _Mapping]] = ..., request: _Optional[_Union[MessageTransform, _Mapping]] = ..., response: _Optional[_Union[MessageTransform, _Mapping]] = ..., invalidates: _Optional[bool] = ...) -> None: ...

class CachePolicy(_message.Message):
    __slots__ = ("ttl", "vary", "scope", "max_body_bytes", "stale_while_revalidate", "stale_if_error", "overrides", "store", "query")
    class Scope(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SCOPE_UNSPECIFIED: _ClassVar[CachePolicy.Scope]
        PUBLIC: _ClassVar[CachePolicy.Scope]
        USER: _ClassVar[CachePolicy.Scope]
    SCOPE_UNSPECIFIED: CachePolicy.Scope
    PUBLIC: CachePolicy.Scope
    USER: CachePolicy.Scope
    class Override(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OVERRIDE_UNSPECIFIED: _ClassVar[CachePolicy.Override]
        NO_STORE: _ClassVar[CachePolicy.Override]
        PRIVATE: _ClassVar[CachePolicy.Override]
        SET_COOKIE: _ClassVar[CachePolicy.Override]
    OVERRIDE_UNSPECIFIED: CachePolicy.Override
    NO_STORE: CachePolicy.Override
    PRIVATE: CachePolicy.Override
    SET_COOKIE: CachePolicy.Override
    TTL_FIELD_NUMBER: _ClassVar[int]
    VARY_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    MAX_BODY_BYTES_FIELD_NUMBER: _ClassVar[int]
    STALE_WHILE_REVALIDATE_FIELD_NUMBER: _ClassVar[int]
    STALE_IF_ERROR_FIELD_NUMBER: _ClassVar[int]
    OVERRIDES_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    ttl: _duration_pb2.Duration
    vary: _containers.RepeatedScalarFieldContainer[str]
    scope: CachePolicy.Scope
    max_body_bytes: int
    stale_while_revalidate: _duration_pb2.Duration
    stale_if_error: _duration_pb2.Duration
    overrides: _containers.RepeatedScalarFieldContainer[CachePolicy.Override]
    store: _authz_pb2.RedisStore
    query: QueryParameters
    def __init__(self, ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., vary: _Optional[_Iterable[str]] = ..., scope: _Optional[_Union[CachePolicy.Scope, str]] = ..., max_body_bytes: _Optional[int] = ..., stale_while_revalidate: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., stale_if_error: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., overrides: _Optional[_Iterable[_Union[CachePolicy.Override, str]]] = ..., store: _Optional[_Union[_authz_pb2.RedisStore, _Mapping]] = ..., query: _Optional[_Union[QueryParameters, _Mapping]] = ...) -> None: ...

class QueryParameters(_message.Message):
    __slots__ = ("kind", "names")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[QueryParameters.Kind]
        ALLOW: _ClassVar[QueryParameters.Kind]
        IGNORE: _ClassVar[QueryParameters.Kind]
    KIND_UNSPECIFIED: QueryParameters.Kind
    ALLOW: QueryParameters.Kind
    IGNORE: QueryParameters.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    kind: QueryParameters.Kind
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, kind: _Optional[_Union[QueryParameters.Kind, str]] = ..., names: _Optional[_Iterable[str]] = ...) -> None: ...

class Header(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class MessageTransform(_message.Message):
    __slots__ = ("remove_headers", "set_headers", "add_headers", "body")
    REMOVE_HEADERS_FIELD_NUMBER: _ClassVar[int]
    SET_HEADERS_FIELD_NUMBER: _ClassVar[int]
    ADD_HEADERS_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    remove_headers: _containers.RepeatedScalarFieldContainer[str]
    set_headers: _containers.RepeatedCompositeFieldContainer[Header]
    add_headers: _containers.RepeatedCompositeFieldContainer[Header]
    body: _containers.RepeatedCompositeFieldContainer[BodyOperation]
    def __init__(self, remove_headers: _Optional[_Iterable[str]] = ..., set_headers: _Optional[_Iterable[_Union[Header, _Mapping]]] = ..., add_headers: _Optional[_Iterable[_Union[Header, _Mapping]]] = ..., body: _Optional[_Iterable[_Union[BodyOperation, _Mapping]]] = ...) -> None: ...

class BodyOperation(_message.Message):
    __slots__ = ("redact",)
    REDACT_FIELD_NUMBER: _ClassVar[int]
    redact: Redact
    def __init__(self, redact: _Optional[_Union[Redact, _Mapping]] = ...) -> None: ...

class Redact(_message.Message):
    __slots__ = ("fields",)
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    fields: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, fields: _Optional[_Iterable[str]] = ...) -> None: ...
