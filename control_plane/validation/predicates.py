"""One validate rule (protoc-gen-validate, `validate/validate.proto`) -> one function from a value to what is wrong.

Envoy refuses a whole resource for one field that breaks such a rule, so they are checked here before anything is sent.
A predicate returns "" when the value is fine.
"""

import re
from collections.abc import Callable, Iterable
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from urllib.parse import urlsplit

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from validate import validate_pb2

Predicate = Callable[[Any], str]
"""`Any`: a proto field's value, whose Python type follows from the field's kind."""

_HEADER_NAME = re.compile(r":?[0-9a-zA-Z!#$%&'*+\-.^_|~`]+")
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_RELAXED_HEADER = re.compile(r"[^\x00\x0a\x0d]*")
_HOSTNAME = re.compile(r"(?=.{1,253}\.?$)(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*\.?")


def predicates(rules: Message) -> list[Predicate]:
    """The predicates of one typed rule message (StringRules, UInt32Rules, ...), in the order of its fields."""
    found: list[Predicate] = []
    for field, value in rules.ListFields():
        build = _BUILDERS.get(field.name)
        if build is not None:
            found.append(build(value))
    known_regex = _known_regex(rules)
    if known_regex:
        found.append(known_regex)
    if getattr(rules, "ignore_empty", False):
        return [partial(_unless_empty, predicate) for predicate in found]
    return found


def defined_only(enum: EnumDescriptor) -> Predicate:
    """An enum's number has to be one of its names."""
    numbers = frozenset(value.number for value in enum.values)

    def check(value: int) -> str:
        return "" if value in numbers else f"has to be a defined {enum.name}, is {value}"

    return check


def _unless_empty(predicate: Predicate, value: Any) -> str:
    return predicate(value) if value else ""


def _seconds(value: Any) -> Any:
    """Durations compare by their length; everything else as it is."""
    return value.ToNanoseconds() / 1e9 if isinstance(value, Duration) else value


def _compare(text: str, holds: Callable[[Any, Any], bool], bound: Any) -> Predicate:
    limit = _seconds(bound)

    def check(value: Any) -> str:
        actual = _seconds(value)
        return "" if holds(actual, limit) else f"has to be {text} {limit}, is {actual}"

    return check


def _length(text: str, holds: Callable[[int, int], bool], bound: int) -> Predicate:
    def check(value: Any) -> str:
        return "" if holds(len(value), bound) else f"has to have {text} {bound} (has {len(value)})"

    return check


def _length_bytes(text: str, holds: Callable[[int, int], bool], bound: int) -> Predicate:
    by_characters = _length(text, holds, bound)

    def check(value: str) -> str:
        return by_characters(value.encode())

    return check


def _matches(pattern: "re.Pattern[str]", what: str) -> Predicate:
    def check(value: str) -> str:
        return "" if pattern.fullmatch(value) else f"has to be {what}, is {value!r}"

    return check


def _holds(what: str, holds: Callable[[Any], bool]) -> Predicate:
    def check(value: Any) -> str:
        return "" if holds(value) else f"has to {what}, is {value!r}"

    return check


def _one_of(values: Iterable[Any]) -> Predicate:
    allowed = frozenset(_seconds(value) for value in values)
    return _holds(f"be one of {sorted(allowed)}", lambda value: _seconds(value) in allowed)


def _none_of(values: Iterable[Any]) -> Predicate:
    refused = frozenset(_seconds(value) for value in values)
    return _holds(f"be none of {sorted(refused)}", lambda value: _seconds(value) not in refused)


def _is_ip(kinds: tuple[type, ...]) -> Callable[[str], bool]:
    def check(value: str) -> bool:
        try:
            return isinstance(ip_address(value), kinds)
        except ValueError:
            return False

    return check


def _is_uri(value: str) -> bool:
    return bool(urlsplit(value).scheme)


def _known_regex(rules: Message) -> Predicate | None:
    if not isinstance(rules, validate_pb2.StringRules) or not rules.HasField("well_known_regex"):
        return None
    name = rules.well_known_regex == validate_pb2.HTTP_HEADER_NAME
    what = "a header name" if name else "a header value"
    if rules.HasField("strict") and not rules.strict:
        return _matches(_RELAXED_HEADER, f"{what} without NUL, CR and LF")
    return _matches(_HEADER_NAME if name else _HEADER_VALUE, what)


_ANY_IP = (IPv4Address, IPv6Address)
_BUILDERS: dict[str, Callable[[Any], Predicate]] = {
    "const": lambda bound: _compare("exactly", lambda value, limit: value == limit, bound),
    "lt": lambda bound: _compare("less than", lambda value, limit: value < limit, bound),
    "lte": lambda bound: _compare("at most", lambda value, limit: value <= limit, bound),
    "gt": lambda bound: _compare("more than", lambda value, limit: value > limit, bound),
    "gte": lambda bound: _compare("at least", lambda value, limit: value >= limit, bound),
    "in": _one_of,
    "not_in": _none_of,
    "len": lambda bound: _length("a length of", lambda value, limit: value == limit, bound),
    "min_len": lambda bound: _length("a length of at least", lambda value, limit: value >= limit, bound),
    "max_len": lambda bound: _length("a length of at most", lambda value, limit: value <= limit, bound),
    "len_bytes": lambda bound: _length_bytes("a length in bytes of", lambda value, limit: value == limit, bound),
    "min_bytes": lambda bound: _length_bytes("at least so many bytes:", lambda value, limit: value >= limit, bound),
    "max_bytes": lambda bound: _length_bytes("at most so many bytes:", lambda value, limit: value <= limit, bound),
    "min_items": lambda bound: _length("so many items at least:", lambda value, limit: value >= limit, bound),
    "max_items": lambda bound: _length("so many items at most:", lambda value, limit: value <= limit, bound),
    "min_pairs": lambda bound: _length("so many entries at least:", lambda value, limit: value >= limit, bound),
    "max_pairs": lambda bound: _length("so many entries at most:", lambda value, limit: value <= limit, bound),
    "unique": lambda _: _holds("have no item twice", lambda value: len(set(value)) == len(value)),
    "pattern": lambda pattern: _holds(f"match {pattern}", lambda value: re.search(pattern, value) is not None),
    "prefix": lambda part: _holds(f"begin with {part!r}", lambda value: value.startswith(part)),
    "suffix": lambda part: _holds(f"end with {part!r}", lambda value: value.endswith(part)),
    "contains": lambda part: _holds(f"contain {part!r}", lambda value: part in value),
    "not_contains": lambda part: _holds(f"not contain {part!r}", lambda value: part not in value),
    "hostname": lambda _: _matches(_HOSTNAME, "a host name"),
    "ip": lambda _: _holds("be an IP address", _is_ip(_ANY_IP)),
    "ipv4": lambda _: _holds("be an IPv4 address", _is_ip((IPv4Address,))),
    "ipv6": lambda _: _holds("be an IPv6 address", _is_ip((IPv6Address,))),
    "uri": lambda _: _holds("be a URI", _is_uri),
    "address": lambda _: _holds(
        "be an IP address or a host name",
        lambda value: _is_ip(_ANY_IP)(value) or _HOSTNAME.fullmatch(value) is not None,
    ),
}
