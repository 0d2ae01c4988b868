from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Tracing(_message.Message):
    __slots__ = ("name", "otlp_endpoint")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OTLP_ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    name: str
    otlp_endpoint: str
    def __init__(self, name: _Optional[str] = ..., otlp_endpoint: _Optional[str] = ...) -> None: ...
