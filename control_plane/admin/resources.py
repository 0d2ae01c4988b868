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


def difference(old: Versions, new: Versions) -> dict[str, dict[str, list[str]]]:
    """Names that were added, changed and removed, by type."""
    found: dict[str, dict[str, list[str]]] = {"added": {}, "changed": {}, "removed": {}}
    for kind in sorted(old.keys() | new.keys()):
        before, after = old.get(kind, {}), new.get(kind, {})
        sets = {
            "added": after.keys() - before.keys(),
            "changed": {name for name in after.keys() & before.keys() if after[name] != before[name]},
            "removed": before.keys() - after.keys(),
        }
        for change, names in sets.items():
            if names:
                found[change][kind] = sorted(names)
    return found
