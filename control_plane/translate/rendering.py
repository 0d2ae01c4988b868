"""A Snapshot as people read it: resources by the words of gateway.yaml, secrets hidden."""

from collections.abc import Iterable, Mapping

from control_plane.snapshot import Resource, Snapshot
from control_plane.translate.patches import TYPES
from control_plane.translate.plain import Plain, message_named, to_plain


def rendered(
    snapshot: Snapshot, types: Iterable[str] = tuple(TYPES), *, show_secrets: bool = False
) -> Mapping[str, list[Plain]]:
    """The resources by type (`clusters`, `routes`, ...), each type sorted by name."""
    return {
        name: [
            rendered_resource(resource, show_secrets=show_secrets)
            for type_url in TYPES[name]
            for resource in snapshot.of_type(type_url).values()
        ]
        for name in types
    }


def rendered_resource(resource: Resource, *, show_secrets: bool = False) -> dict[str, Plain]:
    """One resource; what is secret in it is `[redacted]` unless asked for."""
    message = message_named(resource.type_url.rpartition("/")[2])
    message.MergeFromString(resource.body)
    return to_plain(message, show_secrets=show_secrets)
