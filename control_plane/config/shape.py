"""A tree of text -> the model, with every fault of form told in our own words.

pydantic finds what does not fit; its locations (tags of unions, names that exist in the model only) and its messages
never reach the user. After faults the tree is cut down to what is sound, so that the rules (`rules/`) can look at the
rest of the file in the same run.
"""

import difflib
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import UnionType
from typing import Annotated, Optional, Union, get_args, get_origin

from pydantic import Tag, ValidationError
from pydantic_core import ErrorDetails

from control_plane.config.core_schema import core_value
from control_plane.config.faults import Fault, Path
from control_plane.config.model.base import OFF, ON, Section
from control_plane.config.model.gateway import Gateway
from control_plane.config.model.routes import Route
from control_plane.config.tree import Entry, Items, Keys, Located, Node, Text, Tree, locate, plain, without

_ROUNDS = 32
"""Every round cuts at least one level off; the model has fewer."""

_PLACEHOLDERS: Mapping[str, str] = {"version": "1", "name": "gateway"}
"""What the rest is checked with when the file lacks them."""

_EXPECTED: Mapping[str, str] = {
    "version": "version: 1",
    "name": "a name",
    "port": "1 to 65535",
    "algorithms": "always explicit: RS256, ES256, ...; HS256 with a secret",
    "rate": "10/minute",
    "key": "[client_ip], [user], ...; [] is one bucket for all",
    "sha256": "the digest that `gatewayctl key new` prints",
    "since": "a date: 2026-09-01",
}
"""What to write for a key that is missing."""


@dataclass(frozen=True, slots=True)
class Shaped:
    """What of the tree fits the model."""

    gateway: Gateway | None
    """The sound part; None only if not even that could be found."""
    tree: Keys
    """The tree that `gateway` was read from: their paths are the same."""
    faults: tuple[Fault, ...]


class Sections:
    """Routes and services of the last tree without faults, by the node that they were read from."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Node, Section]] = {}

    def read(self, root: Keys) -> Gateway:
        """The model; a route or service whose node is the same as in the last call is the same object again.

        Raises:
            ValidationError: the tree does not fit.
        """
        rest = {key: entry for key, entry in root.entries.items() if key not in ("routes", "services")}
        data = _data(replace(root, entries=rest))
        assert isinstance(data, dict)
        for key in root.entries.keys() - rest.keys():
            data[key] = self._with_known(key, root.entries[key].value)  # type: ignore[assignment]  # pydantic takes its own
        gateway = Gateway.model_validate(data)
        self._known = {id(node): (node, section) for node, section in _pairs(root, gateway)}
        return gateway

    def _with_known(self, key: str, node: Node) -> object:
        if key == "routes" and isinstance(node, Items):
            return [self._one(item) for item in node.items]
        if key == "services" and isinstance(node, Keys):
            named = ((key, entry.value) for key, entry in node.entries.items())
            # As in `plain`: an explicit null is as if absent.
            return {
                key: self._one(value)
                for key, value in named
                if not (isinstance(value, Text) and value.is_null and not value.is_empty)
            }
        return plain(node)

    def _one(self, node: Node) -> object:
        known = self._known.get(id(node))
        return known[1] if known is not None else _data_of_entry(node)


def _data_of_entry(node: Node) -> Tree:
    """Of one route or service."""
    root = Keys(node.at, {"routes": Entry(node.at, Items(node.at, (node,), (0,)))})
    data = _in(_data(root), "routes")
    assert isinstance(data, list)
    return data[0]


def _pairs(root: Keys, gateway: Gateway) -> Iterable[tuple[Node, Section]]:
    routes, services = (root.entries.get(key) for key in ("routes", "services"))
    if routes is not None and isinstance(routes.value, Items):
        yield from zip(routes.value.items, gateway.routes, strict=True)
    if services is not None and isinstance(services.value, Keys):
        entries = services.value.entries
        yield from ((entries[name].value, service) for name, service in gateway.services.items())


def shape(root: Keys, sections: Sections | None = None) -> Shaped:
    """Read the model from the tree and report everything in it that does not fit.

    Args:
        sections: what was read of an earlier version of the same file.
    """
    tree, faults = root, tuple[Fault, ...]()
    if sections is not None:
        with suppress(ValidationError):
            return Shaped(sections.read(root), root, ())
    for round_ in range(_ROUNDS):
        try:
            return Shaped(Gateway.model_validate(_data(tree)), tree, faults)
        except ValidationError as error:
            mismatches = [_Mismatch.of(tree, details) for details in error.errors(include_url=False)]
        if round_ == 0:
            told = [mismatch for mismatch in mismatches if not mismatch.is_of_a_hole()]
            faults = tuple(dict.fromkeys(mismatch.fault() for mismatch in told))
        tree = _completed(without(tree, [path for mismatch in mismatches for path in mismatch.to_cut(tree)]))
    return Shaped(None, tree, faults)


def _data(tree: Keys) -> Tree:
    """Plain values for pydantic; where any JSON value may stand, what YAML's core schema makes of it."""
    data = plain(tree)
    for step, node in _places_of_json(data, tree):
        for key in ("value", "fields", "patch"):
            if key in node.entries and (key != "fields" or step.get("type") == "set"):
                step[key] = core_value(node.entries[key].value)  # type: ignore[assignment]  # any JSON value
    return data


def _places_of_json(data: Tree, tree: Keys) -> Iterator[tuple[dict[str, Tree], Keys]]:
    """envoy_patches, and the steps of transforms with their operations: the same places in both forms."""
    yield from _mappings(_in(data, "envoy_patches"), _in_tree(tree, "envoy_patches"))
    policies = [(_in(data, "defaults"), _in_tree(tree, "defaults"))]
    policies += _mappings(_in(data, "routes"), _in_tree(tree, "routes"))
    for values, node in policies:
        for side in ("request", "response"):
            path = ("transform", side, "body")
            for step, step_node in _mappings(_in(values, *path), _in_tree(node, *path)):
                if step.get("type") in ("set", "merge_patch"):
                    yield step, step_node
                elif step.get("type") == "json_patch":
                    yield from _mappings(_in(step, "operations"), _in_tree(step_node, "operations"))


def _in(data: Optional[Tree], *path: str) -> Optional[Tree]:  # noqa: UP045 - Tree is a text
    for key in path:
        data = data.get(key) if isinstance(data, dict) else None
    return data


def _in_tree(node: Optional[Node], *path: str) -> Optional[Node]:  # noqa: UP045
    for key in path:
        node = node.entries[key].value if isinstance(node, Keys) and key in node.entries else None
    return node


def _mappings(data: Optional[Tree], node: Optional[Node]) -> list[tuple[dict[str, Tree], Keys]]:  # noqa: UP045
    """The mappings of a list."""
    if not isinstance(data, list) or not isinstance(node, Items):
        return []
    pairs = zip(data, node.items, strict=True)
    return [(value, item) for value, item in pairs if isinstance(value, dict) and isinstance(item, Keys)]


def _completed(tree: Keys) -> Keys:
    added = {key: Entry(tree.at, Text(tree.at, text)) for key, text in _PLACEHOLDERS.items() if key not in tree.entries}
    return replace(tree, entries={**tree.entries, **added}, cut=tree.cut | added.keys())


@dataclass(frozen=True, slots=True)
class _Mismatch:
    """One of pydantic's errors, found again in the tree."""

    details: ErrorDetails
    place: Located
    tree_path: Path
    """The part of the path that exists, in the indices of the tree."""

    @classmethod
    def of(cls, tree: Keys, details: ErrorDetails) -> "_Mismatch":
        path = _path_in_file(tree, details["loc"])
        place = locate(tree, path)
        return cls(details, place, path[: len(path) - len(place.rest)])

    def to_cut(self, tree: Keys) -> Iterable[Path]:
        """What to go on without; a misspelt key leaves a mark where the right one is missing."""
        yield self.tree_path
        if self.details["type"] == "extra_forbidden" and (meant := _meant_key(self.details["loc"])):
            path = (*self.tree_path[:-1], meant)
            if locate(tree, path).rest:
                yield path

    def is_of_a_hole(self) -> bool:
        """Whether it complains of what is absent only because it was faulty itself."""
        node, kind = self.place.node, self.details["type"]
        if kind == "missing":
            return isinstance(node, Keys) and self.details["loc"][-1] in node.cut
        return kind == "too_short" and isinstance(node, Items) and bool(node.items)

    def fault(self) -> Fault:
        place, kind = self.place, self.details["type"]
        if kind == "missing":
            key = str(self.details["loc"][-1])
            expected = f" ({_EXPECTED[key]})" if key in _EXPECTED else ""
            path = (*place.path, key) if place.rest else place.path
            return Fault.at(place.key_at, path, f"is missing{expected}")
        if kind == "extra_forbidden":
            return Fault.at(place.key_at, place.path, _unknown_key(self.details["loc"]))
        if isinstance(place.node, Text) and place.node.is_null:
            message = "has no value (give it one, or leave the key out)"
            if not place.node.is_empty:
                message = f"is YAML's null, not text (quote it: {place.node.text!r})"
            return Fault.at(place.key_at, place.path, message)
        return Fault.at(place.shown_at, place.path, _message(self.details, place.node))


def _path_in_file(tree: Keys, location: Sequence[str | int]) -> Path:
    """Drop the steps of a location that exist in the model only: tags of unions, names behind a shorthand."""
    path: Path = ()
    for step in location:
        place = locate(tree, (*path, step))
        node = place.node
        if not place.rest:
            path = (*path, step)
        elif _is_tag(step) or step in ("[key]", "rates", "exact", "from_"):
            continue
        elif step in ("hash", "policy") and isinstance(node, Keys) and len(node.entries) == 1:
            path = (*path, *node.entries)
        elif isinstance(node, Text) or step in ("hash", "policy"):
            continue
        else:
            path = (*path, step)
    return path


def _is_tag(step: str | int) -> bool:
    """Tags of unions; they stand in pydantic's locations and in no file."""
    return isinstance(step, str) and step.startswith("<") and step.endswith(">")


def _message(details: ErrorDetails, node: Node) -> str:
    kind, context = details["type"], details.get("ctx", {})
    match kind:
        case "value_error":
            return str(context["error"])
        case "literal_error":
            written = (
                node.text if isinstance(node, Text) else next(iter(node.entries), "") if isinstance(node, Keys) else ""
            )
            return not_allowed(written, re.findall(r"'([^']*)'", context["expected"]))
        case "greater_than_equal":
            return f"{_written(node)} is too small (at least {context['ge']})"
        case "less_than_equal":
            return f"{_written(node)} is too large (at most {context['le']})"
        case "too_short":
            return "is empty (at least one entry)"
        case "string_pattern_mismatch":
            return "is not a SHA-256 digest (64 hexadecimal digits)"
        case "model_type" | "model_attributes_type" | "dict_type":
            return _mapping_wanted(details["loc"])
        case "tuple_type" | "list_type":
            return "has to be a list ([...])" + (" or none" if details["loc"][-1] == ON else "")
        case "string_type":
            return "has to be a single value, not a " + ("list" if isinstance(node, Items) else "mapping")
    return str(details["msg"])


def _written(node: Node) -> str:
    return node.text if isinstance(node, Text) else "this"


def _mapping_wanted(location: Sequence[str | int]) -> str:
    section = _section_at(location)
    keys = f" with {', '.join(_key_names(section))}" if section is not None else " (name: value)"
    return f"has to be a mapping{keys}" + (", or none" if location[-1] == ON else "")


def _unknown_key(location: Sequence[str | int]) -> str:
    if location[0] == "defaults" and len(location) == 2 and location[1] in Route.model_fields:
        return "is a key of a route, not of defaults"
    if meant := _meant_key(location):
        return f"unknown key (did you mean {meant}?)"
    section = _section_at(location[:-1])
    return f"unknown key (allowed: {', '.join(_key_names(section) if section is not None else [])})"


def _meant_key(location: Sequence[str | int]) -> str | None:
    """The known key of the section that an unknown one resembles."""
    section = _section_at(location[:-1])
    allowed = _key_names(section) if section is not None else []
    return next(iter(difflib.get_close_matches(str(location[-1]), allowed, 1, 0.6)), None)


def _key_names(section: type[Section]) -> list[str]:
    names = [field.alias or name for name, field in section.model_fields.items()]
    if "policy" in names and "hash" in names:
        return ["ring_hash", "maglev"]
    return names


def _section_at(location: Sequence[str | int]) -> type[Section] | None:
    """The section of the model that a location leads to."""
    annotation: object = Gateway
    for step in location:
        if not _is_tag(step):
            annotation = _inside(annotation, step)
        elif step not in (ON, OFF):
            annotation = _tagged(annotation, str(step))
    sections = [option for option in _options(annotation) if inspect.isclass(option) and issubclass(option, Section)]
    return sections[0] if sections else None


def _inside(annotation: object, step: str | int) -> object:
    for option in _options(annotation):
        if inspect.isclass(option) and issubclass(option, Section):
            for name, field in option.model_fields.items():
                if step in (name, field.alias):
                    return field.annotation
        elif get_origin(option) in (tuple, dict):
            return get_args(option)[0 if get_origin(option) is tuple else 1]
    return None


def _tagged(annotation: object, tag: str) -> object:
    """The member of a union with this tag."""
    while get_origin(annotation) is Annotated:
        if any(isinstance(each, Tag) and each.tag == tag for each in annotation.__metadata__):  # type: ignore[attr-defined]
            return annotation
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        return next((found for each in get_args(annotation) if (found := _tagged(each, tag)) is not None), None)
    return None


def _options(annotation: object) -> Iterable[object]:
    """The members of a union, however it is wrapped."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _options(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for member in get_args(annotation):
            yield from _options(member)
    else:
        yield annotation


def not_allowed(written: str, allowed: Sequence[str]) -> str:
    """The message for a value that is not one of a list."""
    close = difflib.get_close_matches(written, allowed, 1, 0.6)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{written!r} is not allowed ({', '.join(allowed)}{hint})"
