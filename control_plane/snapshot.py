"""What is served to one gateway's nodes: resources with content-hash versions."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from google.protobuf.message import Message

from control_plane.overlaid import Overlaid, with_values
from control_plane.resource_types import DELIVERY_ORDER, NodeKind

ENVOYS = frozenset({NodeKind.ENVOY})


@dataclass(frozen=True, slots=True)
class Resource:
    """One xDS resource, serialised once; its bytes are shared by every stream."""

    type_url: str
    name: str
    body: bytes
    """The message, deterministically serialised (the `value` of its Any)."""
    version: str
    """Hash of the body: equal content has an equal version on every replica."""
    kinds: frozenset[NodeKind] = ENVOYS
    """Which kinds of node may receive it."""
    ttl_s: float = 0.0
    """A client forgets it when it has not heard of it for so long; 0: never."""

    @classmethod
    def of(cls, name: str, message: Message, kinds: frozenset[NodeKind] = ENVOYS) -> "Resource":
        """Serialise a message deterministically and version it by content.

        Nested Any have to be packed deterministically too (`any.Pack(message, deterministic=True)`).
        """
        body = message.SerializeToString(deterministic=True)
        return cls.of_body("type.googleapis.com/" + message.DESCRIPTOR.full_name, name, body, kinds)

    @classmethod
    def of_body(cls, type_url: str, name: str, body: bytes, kinds: frozenset[NodeKind] = ENVOYS) -> "Resource":
        """Of a message that is serialised (deterministically) already."""
        return cls(type_url, name, body, hashlib.sha256(body).hexdigest()[:16], kinds)

    def with_ttl(self, ttl_s: float) -> "Resource":
        """The same with a time to live, which is part of the version."""
        version = hashlib.sha256(f"{self.version} {ttl_s}".encode()).hexdigest()[:16]
        return replace(self, ttl_s=ttl_s, version=version)

    def __repr__(self) -> str:
        """Without the body: it may be a secret."""
        return f"Resource({self.type_url.rpartition('.')[2]} {self.name!r} {self.version})"


ResourceMap = Mapping[str, Resource]
"""Resources of one type by name, sorted by name."""

Changes = Mapping[str, frozenset[str]]
"""Names that were added, changed or removed, by type URL; types without a change are absent."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every resource of one gateway, by type URL (in delivery order) and name."""

    resources: Mapping[str, ResourceMap]

    @classmethod
    def of(cls, resources: Iterable[Resource]) -> "Snapshot":
        """Raises ValueError for two resources of one type and name."""
        by_type: dict[str, dict[str, Resource]] = {type_url: {} for type_url in DELIVERY_ORDER}
        for resource in sorted(resources, key=lambda resource: resource.name):
            known = by_type.setdefault(resource.type_url, {})
            if resource.name in known:
                raise ValueError(f"two resources of type {resource.type_url} are named {resource.name!r}")
            known[resource.name] = resource
        return cls(MappingProxyType({type_url: MappingProxyType(named) for type_url, named in by_type.items()}))

    def of_type(self, type_url: str) -> ResourceMap:
        return self.resources.get(type_url, {})

    def changes_since(self, older: "Snapshot") -> Changes:
        """What differs from an older snapshot; looks at every resource, once a publication."""
        changes = {}
        for type_url in {**self.resources, **older.resources}:
            before, after = older.of_type(type_url), self.of_type(type_url)
            if before is after:
                continue
            if changed := _differing(before, after):
                changes[type_url] = frozenset(changed)
        return changes

    def with_resource(self, resource: Resource) -> "Snapshot":
        """This snapshot with one resource added or replaced; every other type's mapping is shared."""
        named = with_changes(self.of_type(resource.type_url), {resource.name: resource})
        return Snapshot(MappingProxyType({**self.resources, resource.type_url: named}))


def with_changes(named: ResourceMap, changes: Mapping[str, Resource | None]) -> ResourceMap:
    """The mapping with these resources added or replaced; None: taken away. The same one if that changes nothing."""
    changed = {name: new for name, new in changes.items() if new is not None and not _same(named.get(name), new)}
    gone = {name for name, new in changes.items() if new is None and name in named}
    if not gone and all(name in named for name in changed):
        return with_values(named, changed) if changed else named
    merged = {name: resource for name, resource in named.items() if name not in gone}
    return MappingProxyType(dict(sorted({**merged, **changed}.items())))


def _differing(before: ResourceMap, after: ResourceMap) -> set[str]:
    (base, over), (other, other_over) = _layers(before), _layers(after)
    if base is other:
        return {name for name in {*over, *other_over} if not _same(before[name], after[name])}
    known = before.get
    changed = {name for name, resource in after.items() if known(name) is not resource}
    changed = {name for name in changed if not _same(known(name), after[name])}
    changed.update(name for name in before if name not in after)
    return changed


def _layers(named: ResourceMap) -> tuple[ResourceMap, ResourceMap]:
    return (named.base, named.over) if isinstance(named, Overlaid) else (named, {})


def _same(before: Resource | None, after: Resource) -> bool:
    if before is after:
        return True
    return before is not None and before.version == after.version and before.kinds == after.kinds
