"""Envoy's field rules, compiled from the descriptors once per message type.

`FieldRules().violations(message)` walks only the fields that are set, builds a path only when something is wrong, and
looks into packed Any. One object serves a process; it keeps what it has compiled.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from validate import validate_pb2

from control_plane.config.rules.forms import regex_fault
from control_plane.validation.predicates import Predicate, defined_only, predicates

_ANY = "google.protobuf.Any"
_REGEX = "envoy.type.matcher.v3.RegexMatcher"
_WRAPPERS = frozenset(
    f"google.protobuf.{kind}Value"
    for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong with one field; `path` is relative to the message that was checked: `route.timeout`."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"

    def below(self, parent: str) -> "Violation":
        separator = "." if self.path and not self.path.startswith("[") else ""
        return Violation(f"{parent}{separator}{self.path}", self.reason)


Violations = list[Violation]
Check = Callable[[Any], Violations]
"""A message or a field's value in, what is wrong with it out; [] in the usual case. `Any`: its type follows from the
descriptor."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    """The rules of one message type."""

    when_set: dict[int, tuple[str, Check]]
    """By field number: the field's name and the check of its value."""
    always: tuple[Check, ...]
    """Checks of the whole message: what has to be set."""


def _regex(message: Any) -> Violations:
    """No annotation says it: Envoy compiles every expression, and refuses what is none or too large."""
    fault = regex_fault(message.regex)
    return [Violation("regex", fault)] if fault else []


class FieldRules:
    """The compiled rules of every message type met so far."""

    def __init__(self) -> None:
        self._compiled: dict[str, _Compiled] = {}

    def violations(self, message: Message) -> Violations:
        """Everything that breaks a rule; [] if Envoy's own check would pass."""
        compiled = self._compiled.get(message.DESCRIPTOR.full_name)
        if compiled is None:
            compiled = self._compile(Default().FindMessageTypeByName(message.DESCRIPTOR.full_name))
        found: Violations = []
        for check in compiled.always:
            found += check(message)
        when_set = compiled.when_set
        for field, value in message.ListFields():
            if field.number in when_set:
                name, check = when_set[field.number]
                wrong = check(value)
                if wrong:
                    found += [violation.below(name) for violation in wrong]
        return found

    def _compile(self, descriptor: Descriptor) -> _Compiled:
        checks = {field.number: (field.name, check) for field in descriptor.fields if (check := self._field(field))}
        own = (_regex,) if descriptor.full_name == _REGEX else ()
        compiled = _Compiled(checks, (*_always(descriptor, checks), *own))
        self._compiled[descriptor.full_name] = compiled
        return compiled

    def _field(self, field: FieldDescriptor) -> Check | None:
        rules = _rules_of(field)
        if rules.message.skip:
            return None
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            return self._map(field.message_type, rules.map)
        if field.is_repeated:
            return _together(_values(predicates(rules.repeated)), _each(self._value(field, rules.repeated.items)))
        return self._value(field, rules)

    def _map(self, entry: Descriptor, rules: validate_pb2.MapRules) -> Check | None:
        keys = self._value(entry.fields_by_name["key"], rules.keys)
        values = self._value(entry.fields_by_name["value"], rules.values)
        return _together(_values(predicates(rules)), _each_key(keys), _each_value(values))

    def _value(self, field: FieldDescriptor, rules: validate_pb2.FieldRules) -> Check | None:
        """The check of one value of a field, whatever holds it; None if no rule can be below it."""
        own = _own_predicates(field, rules)
        if field.message_type is None:
            return _values(own)
        if field.message_type.full_name == _ANY:
            return self._packed
        if field.message_type.full_name in _WRAPPERS:
            return _wrapped(_values(own))
        nested = self.violations if _has_rules(field.message_type, set()) else None
        return _together(_values(own), nested)

    def _packed(self, packed: Any) -> Violations:
        """What an Any holds is checked as its own type; Envoy refuses a type that it does not know."""
        if not packed.type_url:
            return []
        name = packed.type_url.rpartition("/")[2]
        try:
            descriptor = Default().FindMessageTypeByName(name)
        except KeyError:
            return [Violation("", f"is of the unknown type {name}")]
        message = GetMessageClass(descriptor)()
        try:
            message.ParseFromString(packed.value)
        except DecodeError:
            return [Violation("", f"is not a {name}")]
        return self.violations(message)


def _rules_of(field: FieldDescriptor) -> validate_pb2.FieldRules:
    # the stubs give extensions the type of their descriptor, which the stubs of protobuf do not take as an index
    found: validate_pb2.FieldRules = field.GetOptions().Extensions[validate_pb2.rules]  # type: ignore[index]
    return found


def _is_required_field(rules: validate_pb2.FieldRules) -> bool:
    return rules.message.required or rules.duration.required or rules.timestamp.required or rules.any.required


def _is_required(oneof: OneofDescriptor) -> bool:
    return bool(oneof.GetOptions().Extensions[validate_pb2.required])  # type: ignore[index]


def _always(descriptor: Descriptor, checks: dict[int, tuple[str, Check]]) -> Iterator[Check]:
    """What has to be set: required messages and oneofs, and plain fields whose default value breaks a rule."""
    for field in descriptor.fields:
        # a member of a oneof is only asked for when it is the one that is set
        if _is_required_field(_rules_of(field)) and field.containing_oneof is None:
            yield _required(field.name)
        if field.number in checks and not field.has_presence:
            wrong = checks[field.number][1](() if field.is_repeated else field.default_value)
            if wrong:
                yield _not_default(field.name, [violation.below(field.name) for violation in wrong])
    for oneof in descriptor.oneofs:
        if _is_required(oneof):
            yield _required_oneof(oneof.name, "|".join(field.name for field in oneof.fields))


def _has_rules(descriptor: Descriptor, seen: set[str]) -> bool:
    if descriptor.full_name == _ANY:
        return True
    if descriptor.full_name in seen:
        return False
    seen.add(descriptor.full_name)
    return (
        any(_is_required(oneof) for oneof in descriptor.oneofs)
        or any(_rules_of(field).ByteSize() for field in descriptor.fields)
        or any(_has_rules(field.message_type, seen) for field in descriptor.fields if field.message_type)
    )


def _own_predicates(field: FieldDescriptor, rules: validate_pb2.FieldRules) -> list[Predicate]:
    kind = rules.WhichOneof("type")
    found = predicates(getattr(rules, kind)) if kind else []
    if rules.enum.defined_only and field.enum_type is not None:
        found.append(defined_only(field.enum_type))
    return found


def _values(checks: list[Predicate]) -> Check | None:
    if not checks:
        return None
    return lambda value: [Violation("", reason) for check in checks if (reason := check(value))]


def _together(*checks: Check | None) -> Check | None:
    present = [check for check in checks if check is not None]
    if len(present) <= 1:
        return present[0] if present else None
    return lambda value: [violation for check in present for violation in check(value)]


def _wrapped(check: Check | None) -> Check | None:
    return None if check is None else lambda message: check(message.value)


def _each(check: Check | None) -> Check | None:
    if check is None:
        return None

    def each(items: Any) -> Violations:
        found: Violations = []
        for index, item in enumerate(items):
            wrong = check(item)
            if wrong:
                found += [violation.below(f"[{index}]") for violation in wrong]
        return found

    return each


def _each_key(check: Check | None) -> Check | None:
    if check is None:
        return None
    return lambda entries: [bad.below(f"[{key!r}]") for key in sorted(entries) for bad in check(key)]


def _each_value(check: Check | None) -> Check | None:
    if check is None:
        return None
    return lambda entries: [bad.below(f"[{key!r}]") for key in sorted(entries) for bad in check(entries[key])]


def _required(name: str) -> Check:
    return lambda message: [] if message.HasField(name) else [Violation(name, "has to be set")]


def _required_oneof(name: str, members: str) -> Check:
    return lambda message: [] if message.WhichOneof(name) else [Violation(name, f"one of {members} has to be set")]


def _not_default(name: str, wrong: Violations) -> Check:
    return lambda message: [] if getattr(message, name) else wrong
