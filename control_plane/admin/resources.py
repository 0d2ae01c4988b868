"""What a snapshot holds, by type and name, with versions: enough to compare, and nothing secret."""

from control_plane.resource_types import short_name
from control_plane.snapshot import Snapshot

Versions = dict[str, dict[str, str]]
"""Version by name, by the short name of the type; types without a resource are absent."""


def resources(snapshot: Snapshot) -> Versions:
    return {
        short_name(type_url): {name: resource.version for name, resource in named.items()}
        for type_url, named in snapshot.resources.items()
        if named
    }
