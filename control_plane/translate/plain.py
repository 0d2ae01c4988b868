"""Protobuf messages as plain JSON values and back, without loss.

protobuf's own json_format cannot: it drops unknown fields (those newer than xds-protos, which translate/ merges as
bytes), and packs nested Any in no fixed order. What is rendered, patched and kept in golden files goes through here.
Field names are those of the .proto files, as in Envoy's documentation.
"""

import base64
import importlib
import pkgutil
import re
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf import descriptor_pool, json_format, message_factory, unknown_fields
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message

from policy.wire import varint

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]
M = TypeVar("M", bound=Message)
T = TypeVar("T")
Field = typing.Any
"""A FieldDescriptor: the runtime's class has no type of its own (types-protobuf knows the pure Python one)."""
TYPE_BYTES = 12
"""google.protobuf.FieldDescriptorProto.TYPE_BYTES."""

REDACTED = "[redacted]"
_TLS = "envoy.extensions.transport_sockets.tls.v3."
_SECRET_FIELDS = frozenset(
    {
        (_TLS + "TlsCertificate", "private_key"),
        (_TLS + "TlsCertificate", "password"),
        (_TLS + "TlsSessionTicketKeys", "keys"),
        (_TLS + "GenericSecret", "secret"),
        (_TLS + "GenericSecret", "secrets"),
    }
)
_VARINT, _BYTES = 0, 2


@dataclass(frozen=True, slots=True)
class NewerField:
    """A field that the Envoy binary knows and xds-protos does not."""

    message: str
    name: str
    number: int
    repeated: str | None = None
    """The type of its messages; None: a boolean."""

    def encoded(self, value: bool | Iterable[Message]) -> bytes:
        """The field as bytes, for MergeFromString into a message of the older definition."""
        if isinstance(value, bool):
            return varint(self.number << 3 | _VARINT) + varint(value)
        bodies = [message.SerializeToString(deterministic=True) for message in value]
        return b"".join(varint(self.number << 3 | _BYTES) + varint(len(body)) + body for body in bodies)


_COMPRESSOR = "envoy.extensions.filters.http.compressor.v3.Compressor."
WEAKEN_ETAG_ON_COMPRESS = NewerField(_COMPRESSOR + "ResponseDirectionConfig", "weaken_etag_on_compress", 6)
CONTENT_TYPE_MATCHER = NewerField(
    _COMPRESSOR + "CommonDirectionConfig", "content_type_matcher", 4, "envoy.type.matcher.v3.StringMatcher"
)
ALLOW_CONTENT_LENGTH_HEADER = NewerField(
    "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor", "allow_content_length_header", 26
)
_NEWER_FIELDS = (WEAKEN_ETAG_ON_COMPRESS, CONTENT_TYPE_MATCHER, ALLOW_CONTENT_LENGTH_HEADER)


def to_plain(message: Message, *, show_secrets: bool = False) -> dict[str, Plain]:
    """A message as JSON values: fields in the order of their numbers, map entries by key, Any unpacked in place."""
    if isinstance(message, Any):
        return _any_to_plain(message, show_secrets)
    plain: dict[str, Plain] = {}
    for field, value in message.ListFields():
        if (message.DESCRIPTOR.full_name, field.name) in _SECRET_FIELDS and not show_secrets:
            plain[field.name] = REDACTED
        elif _is_map(field):
            plain[field.name] = {
                str(key): _value_to_plain(_map_value(field), value[key], show_secrets) for key in sorted(value)
            }
        elif field.is_repeated:
            plain[field.name] = [_value_to_plain(field, item, show_secrets) for item in value]
        else:
            plain[field.name] = _value_to_plain(field, value, show_secrets)
    plain.update(_newer_fields(message))
    return plain


def from_plain(plain: Mapping[str, Plain], message: M) -> M:
    """Fill a message from JSON values; the inverse of to_plain with show_secrets.

    Raises:
        ValueError: an unknown field, or a value that does not fit.
    """
    if isinstance(message, Any):
        _fill_any(plain, message)
        return message
    newer = {field.name: field for field in _NEWER_FIELDS if field.message == message.DESCRIPTOR.full_name}
    for name, value in plain.items():
        field = message.DESCRIPTOR.fields_by_name.get(name)
        if name in newer:
            message.MergeFromString(newer[name].encoded(_newer_value(newer[name], value)))
        elif field is None:
            raise ValueError(f"{message.DESCRIPTOR.full_name} has no field {name!r}")
        else:
            _fill_field(message, field, value)
    return message


def message_named(full_name: str) -> Message:
    """An empty message of a type of Envoy's API, or of one that some imported module defines.

    Raises:
        ValueError: there is no such type.
    """
    descriptor = _descriptor(full_name) or _descriptor_of_api(full_name)
    if descriptor is None:
        raise ValueError(f"there is no message type {full_name!r}")
    message: Message = message_factory.GetMessageClass(descriptor)()
    return message


def _descriptor(full_name: str) -> typing.Any:
    try:
        return descriptor_pool.Default().FindMessageTypeByName(full_name)
    except KeyError:
        return None


def _descriptor_of_api(full_name: str) -> typing.Any:
    """Of a type that nothing here uses; a patch may name any of Envoy's extensions."""
    found = _API_TYPE.fullmatch(full_name)
    if found is None:
        return None
    try:
        package = importlib.import_module(found[1])
    except ImportError:
        return None
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return _descriptor(full_name)


_API_TYPE = re.compile(r"((?:envoy|xds)(?:\.[a-z_][a-z0-9_]*)+)(?:\.[A-Z]\w*)+")
"""A package, which is a folder of modules, and the name of a message in it."""


def _is_well_known(message: Message) -> bool:
    """Types with a JSON form of their own: durations, wrappers, Struct; not Any, which may hold one of ours."""
    return message.DESCRIPTOR.full_name.startswith("google.protobuf.") and not isinstance(message, Any)


def _any_to_plain(message: Any, show_secrets: bool) -> dict[str, Plain]:
    inner = message_named(message.TypeName())
    inner.MergeFromString(message.value)
    if _is_well_known(inner):
        return {"@type": message.type_url, "value": _sorted(json_format.MessageToDict(inner))}
    return {"@type": message.type_url, **to_plain(inner, show_secrets=show_secrets)}


def _fill_any(plain: Mapping[str, Plain], message: Any) -> None:
    type_url = plain.get("@type")
    if not isinstance(type_url, str):
        raise ValueError("an Any needs a text @type")
    inner = message_named(type_url.rpartition("/")[2])
    if _is_well_known(inner):
        _parse_well_known(plain["value"], inner)
    else:
        from_plain({name: value for name, value in plain.items() if name != "@type"}, inner)
    message.Pack(inner, deterministic=True)


def _value_to_plain(field: Field, value: object, show_secrets: bool) -> Plain:
    if isinstance(value, Message):
        if _is_well_known(value):
            return _sorted(json_format.MessageToDict(value))
        return to_plain(value, show_secrets=show_secrets)
    if field.enum_type is not None:
        named = field.enum_type.values_by_number.get(value)
        return named.name if named is not None else value  # type: ignore[return-value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value  # type: ignore[return-value]


def _fill_field(message: Message, field: Field, value: Plain) -> None:
    target = getattr(message, field.name)
    try:
        if _is_map(field):
            _fill_map(target, _map_value(field), _of_type(value, dict))
        elif field.is_repeated:
            for item in _of_type(value, list):
                if field.message_type is not None:
                    _fill_message(target.add(), item)
                else:
                    target.append(_scalar(field, item))
        elif field.message_type is not None:
            target.SetInParent()
            _fill_message(target, value)
        else:
            setattr(message, field.name, _scalar(field, value))
    except (TypeError, json_format.ParseError) as error:
        raise ValueError(f"{field.full_name}: {error}") from error


def _fill_map(target: object, value_field: Field, entries: dict[str, Plain]) -> None:
    for key, value in entries.items():
        if value_field.message_type is not None:
            _fill_message(target[key], value)  # type: ignore[index]
        else:
            target[key] = _scalar(value_field, value)  # type: ignore[index]


def _fill_message(target: Message, value: Plain) -> None:
    if _is_well_known(target):
        _parse_well_known(value, target)
    else:
        from_plain(_of_type(value, dict), target)


def _parse_well_known(value: typing.Any, message: Message) -> None:
    """ParseDict takes whatever JSON value the type's own form is; its annotation names objects only."""
    json_format.ParseDict(value, message)


def _scalar(field: Field, value: Plain) -> object:
    if field.enum_type is not None and isinstance(value, str):
        named = field.enum_type.values_by_name.get(value)
        if named is None:
            raise ValueError(f"{field.full_name}: there is no {value!r}")
        return named.number
    if field.type == TYPE_BYTES and isinstance(value, str):
        return base64.b64decode(value)
    return value


def _of_type(value: Plain, wanted: type[T]) -> T:
    if not isinstance(value, wanted):
        raise TypeError(f"a {wanted.__name__} is wanted, not {value!r}")
    return value


def _sorted(value: Plain) -> Plain:
    """A Struct is a map, so its members have no order of their own."""
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return {key: _sorted(value[key]) for key in sorted(value)} if isinstance(value, dict) else value


def _is_map(field: Field) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _map_value(field: Field) -> Field:
    return field.message_type.fields_by_name["value"]


def _newer_value(field: NewerField, value: Plain) -> bool | list[Message]:
    if field.repeated is None:
        return bool(value)
    return [from_plain(_of_type(item, dict), message_named(field.repeated)) for item in _of_type(value, list)]


def _newer_fields(message: Message) -> dict[str, Plain]:
    wanted = [field for field in _NEWER_FIELDS if field.message == message.DESCRIPTOR.full_name]
    plain: dict[str, Plain] = {}
    for newer in wanted:
        found = [field.data for field in _unknown(message) if field.field_number == newer.number]
        if found and newer.repeated is None:
            plain[newer.name] = bool(found[-1])
        elif found:
            plain[newer.name] = [to_plain(_parsed(newer.repeated, body)) for body in found]
    return plain


def _parsed(full_name: str | None, body: bytes) -> Message:
    message = message_named(full_name or "")
    message.MergeFromString(body)
    return message


def _unknown(message: Message) -> typing.Any:
    """Its stub lacks iteration."""
    return unknown_fields.UnknownFieldSet(message)
