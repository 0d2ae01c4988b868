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
    __slots__ = ("name", "gateway", "cache", "request", "response", "invalidates", "max_body_bytes", "pass_unreadable", "path_parameters", "openapi")
    NAME_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    INVALIDATES_FIELD_NUMBER: _ClassVar[int]
    MAX_BODY_BYTES_FIELD_NUMBER: _ClassVar[int]
    PASS_UNREADABLE_FIELD_NUMBER: _ClassVar[int]
    PATH_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    OPENAPI_FIELD_NUMBER: _ClassVar[int]
    name: str
    gateway: str
    cache: CachePolicy
    request: MessageTransform
    response: MessageTransform
    invalidates: bool
    max_body_bytes: int
    pass_unreadable: bool
    path_parameters: str
    openapi: _containers.RepeatedCompositeFieldContainer[OpenApiDocument]
    def __init__(self, name: _Optional[str] = ..., gateway: _Optional[str] = ..., cache: _Optional[_Union[CachePolicy, _Mapping]] = ..., request: _Optional[_Union[MessageTransform, _Mapping]] = ..., response: _Optional[_Union[MessageTransform, _Mapping]] = ..., invalidates: _Optional[bool] = ..., max_body_bytes: _Optional[int] = ..., pass_unreadable: _Optional[bool] = ..., path_parameters: _Optional[str] = ..., openapi: _Optional[_Iterable[_Union[OpenApiDocument, _Mapping]]] = ...) -> None: ...

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

class Rename(_message.Message):
    __slots__ = ("name", "to")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    name: str
    to: str
    def __init__(self, name: _Optional[str] = ..., to: _Optional[str] = ...) -> None: ...

class MessageTransform(_message.Message):
    __slots__ = ("remove_headers", "set_headers", "add_headers", "body", "rename_headers", "query", "path", "validate")
    REMOVE_HEADERS_FIELD_NUMBER: _ClassVar[int]
    SET_HEADERS_FIELD_NUMBER: _ClassVar[int]
    ADD_HEADERS_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    RENAME_HEADERS_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_FIELD_NUMBER: _ClassVar[int]
    remove_headers: _containers.RepeatedScalarFieldContainer[str]
    set_headers: _containers.RepeatedCompositeFieldContainer[Header]
    add_headers: _containers.RepeatedCompositeFieldContainer[Header]
    body: _containers.RepeatedCompositeFieldContainer[BodyOperation]
    rename_headers: _containers.RepeatedCompositeFieldContainer[Rename]
    query: QueryTransform
    path: str
    validate: Validation
    def __init__(self, remove_headers: _Optional[_Iterable[str]] = ..., set_headers: _Optional[_Iterable[_Union[Header, _Mapping]]] = ..., add_headers: _Optional[_Iterable[_Union[Header, _Mapping]]] = ..., body: _Optional[_Iterable[_Union[BodyOperation, _Mapping]]] = ..., rename_headers: _Optional[_Iterable[_Union[Rename, _Mapping]]] = ..., query: _Optional[_Union[QueryTransform, _Mapping]] = ..., path: _Optional[str] = ..., validate: _Optional[_Union[Validation, _Mapping]] = ...) -> None: ...

class QueryTransform(_message.Message):
    __slots__ = ("rename", "remove", "set", "add")
    RENAME_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    SET_FIELD_NUMBER: _ClassVar[int]
    ADD_FIELD_NUMBER: _ClassVar[int]
    rename: _containers.RepeatedCompositeFieldContainer[Rename]
    remove: _containers.RepeatedScalarFieldContainer[str]
    set: _containers.RepeatedCompositeFieldContainer[Header]
    add: _containers.RepeatedCompositeFieldContainer[Header]
    def __init__(self, rename: _Optional[_Iterable[_Union[Rename, _Mapping]]] = ..., remove: _Optional[_Iterable[str]] = ..., set: _Optional[_Iterable[_Union[Header, _Mapping]]] = ..., add: _Optional[_Iterable[_Union[Header, _Mapping]]] = ...) -> None: ...

class Validation(_message.Message):
    __slots__ = ("document", "base_path", "pass_undocumented")
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    BASE_PATH_FIELD_NUMBER: _ClassVar[int]
    PASS_UNDOCUMENTED_FIELD_NUMBER: _ClassVar[int]
    document: str
    base_path: str
    pass_undocumented: bool
    def __init__(self, document: _Optional[str] = ..., base_path: _Optional[str] = ..., pass_undocumented: _Optional[bool] = ...) -> None: ...

class OpenApiDocument(_message.Message):
    __slots__ = ("name", "content")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    name: str
    content: str
    def __init__(self, name: _Optional[str] = ..., content: _Optional[str] = ...) -> None: ...

class BodyOperation(_message.Message):
    __slots__ = ("redact", "set", "remove", "rename", "json_patch", "merge_patch", "convert", "graphql")
    REDACT_FIELD_NUMBER: _ClassVar[int]
    SET_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    RENAME_FIELD_NUMBER: _ClassVar[int]
    JSON_PATCH_FIELD_NUMBER: _ClassVar[int]
    MERGE_PATCH_FIELD_NUMBER: _ClassVar[int]
    CONVERT_FIELD_NUMBER: _ClassVar[int]
    GRAPHQL_FIELD_NUMBER: _ClassVar[int]
    redact: Redact
    set: SetFields
    remove: RemoveFields
    rename: RenameFields
    json_patch: JsonPatch
    merge_patch: MergePatch
    convert: Convert
    graphql: GraphQl
    def __init__(self, redact: _Optional[_Union[Redact, _Mapping]] = ..., set: _Optional[_Union[SetFields, _Mapping]] = ..., remove: _Optional[_Union[RemoveFields, _Mapping]] = ..., rename: _Optional[_Union[RenameFields, _Mapping]] = ..., json_patch: _Optional[_Union[JsonPatch, _Mapping]] = ..., merge_patch: _Optional[_Union[MergePatch, _Mapping]] = ..., convert: _Optional[_Union[Convert, _Mapping]] = ..., graphql: _Optional[_Union[GraphQl, _Mapping]] = ...) -> None: ...

class Redact(_message.Message):
    __slots__ = ("fields",)
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    fields: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, fields: _Optional[_Iterable[str]] = ...) -> None: ...

class RemoveFields(_message.Message):
    __slots__ = ("fields",)
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    fields: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, fields: _Optional[_Iterable[str]] = ...) -> None: ...

class RenameFields(_message.Message):
    __slots__ = ("fields",)
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    fields: _containers.RepeatedCompositeFieldContainer[Rename]
    def __init__(self, fields: _Optional[_Iterable[_Union[Rename, _Mapping]]] = ...) -> None: ...

class SetFields(_message.Message):
    __slots__ = ("fields",)
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    fields: _containers.RepeatedCompositeFieldContainer[SetField]
    def __init__(self, fields: _Optional[_Iterable[_Union[SetField, _Mapping]]] = ...) -> None: ...

class SetField(_message.Message):
    __slots__ = ("path", "value")
    PATH_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    path: str
    value: str
    def __init__(self, path: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class JsonPatch(_message.Message):
    __slots__ = ("operations",)
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    operations: str
    def __init__(self, operations: _Optional[str] = ...) -> None: ...

class MergePatch(_message.Message):
    __slots__ = ("patch",)
    PATCH_FIELD_NUMBER: _ClassVar[int]
    patch: str
    def __init__(self, patch: _Optional[str] = ...) -> None: ...

class Convert(_message.Message):
    __slots__ = ("to", "xml_root", "csv_formulas")
    class Format(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        FORMAT_UNSPECIFIED: _ClassVar[Convert.Format]
        JSON: _ClassVar[Convert.Format]
        XML: _ClassVar[Convert.Format]
        CSV: _ClassVar[Convert.Format]
    FORMAT_UNSPECIFIED: Convert.Format
    JSON: Convert.Format
    XML: Convert.Format
    CSV: Convert.Format
    TO_FIELD_NUMBER: _ClassVar[int]
    XML_ROOT_FIELD_NUMBER: _ClassVar[int]
    CSV_FORMULAS_FIELD_NUMBER: _ClassVar[int]
    to: _containers.RepeatedScalarFieldContainer[Convert.Format]
    xml_root: str
    csv_formulas: bool
    def __init__(self, to: _Optional[_Iterable[_Union[Convert.Format, str]]] = ..., xml_root: _Optional[str] = ..., csv_formulas: _Optional[bool] = ...) -> None: ...

class GraphQl(_message.Message):
    __slots__ = ("envelope", "query", "operation", "variables", "field")
    class Envelope(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ENVELOPE_UNSPECIFIED: _ClassVar[GraphQl.Envelope]
        WRAP: _ClassVar[GraphQl.Envelope]
        UNWRAP: _ClassVar[GraphQl.Envelope]
    ENVELOPE_UNSPECIFIED: GraphQl.Envelope
    WRAP: GraphQl.Envelope
    UNWRAP: GraphQl.Envelope
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    VARIABLES_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    envelope: GraphQl.Envelope
    query: str
    operation: str
    variables: _containers.RepeatedCompositeFieldContainer[Header]
    field: str
    def __init__(self, envelope: _Optional[_Union[GraphQl.Envelope, str]] = ..., query: _Optional[str] = ..., operation: _Optional[str] = ..., variables: _Optional[_Iterable[_Union[Header, _Mapping]]] = ..., field: _Optional[str] = ...) -> None: ...
