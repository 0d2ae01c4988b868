from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class CachePurge(_message.Message):
    __slots__ = ("name", "tag", "prefix", "key", "all")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    name: str
    tag: str
    prefix: str
    key: str
    all: bool
    def __init__(self, name: _Optional[str] = ..., tag: _Optional[str] = ..., prefix: _Optional[str] = ..., key: _Optional[str] = ..., all: _Optional[bool] = ...) -> None: ...
