"""Small builders of the protobuf shapes that stand everywhere: Any, durations, extensions, config sources."""

from collections.abc import Iterable
from datetime import timedelta

from envoy.config.core.v3 import base_pb2, config_source_pb2, extension_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

Append = base_pb2.HeaderValueOption.HeaderAppendAction
OVERWRITE = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
APPEND = base_pb2.HeaderValueOption.APPEND_IF_EXISTS_OR_ADD


def packed(message: Message) -> Any:
    """Pack with map entries in a fixed order; without `deterministic` equal messages hash differently."""
    packed_message = Any()
    packed_message.Pack(message, deterministic=True)
    return packed_message


def extension(name: str, message: Message) -> extension_pb2.TypedExtensionConfig:
    """An Envoy extension by name with its configuration."""
    return extension_pb2.TypedExtensionConfig(name=name, typed_config=packed(message))


def duration(value: timedelta) -> Duration:
    """Envoy's form of a duration."""
    message = Duration()
    message.FromTimedelta(value)
    return message


def from_ads() -> config_source_pb2.ConfigSource:
    """What is named comes over the same ADS stream as what names it.

    initial_fetch_timeout stays at Envoy's 15 s: 0 would block later updates of the parent for ever.
    """
    return config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(), resource_api_version=config_source_pb2.V3
    )


def header(name: str, value: str, action: Append = OVERWRITE) -> base_pb2.HeaderValueOption:
    """A header with a literal value: `%` starts a command operator in Envoy, so it is doubled."""
    return formatted_header(name, value.replace("%", "%%"), action)


def formatted_header(name: str, format_string: str, action: Append = OVERWRITE) -> base_pb2.HeaderValueOption:
    """A header whose value is a substitution format string; an operator without a value adds nothing."""
    return base_pb2.HeaderValueOption(header=base_pb2.HeaderValue(key=name, value=format_string), append_action=action)


def regex(pattern: str) -> regex_pb2.RegexMatcher:
    """RE2 over the whole value."""
    return regex_pb2.RegexMatcher(regex=pattern)


def exact(value: str) -> string_pb2.StringMatcher:
    return string_pb2.StringMatcher(exact=value)


def exact_any_case(values: Iterable[str]) -> list[string_pb2.StringMatcher]:
    """Matchers of header names, which compare without case; sorted, since their order has no meaning."""
    return [string_pb2.StringMatcher(exact=value, ignore_case=True) for value in sorted(set(values))]
