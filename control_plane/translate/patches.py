"""envoy_patches: RFC 6902 operations on rendered resources, the escape hatch for what gateway.yaml cannot say.

Paths are those of `gatewayctl render`: proto field names, the content of an Any in place of it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from control_plane import resource_types
from control_plane.config.model.gateway import EnvoyPatch
from control_plane.snapshot import Resource
from control_plane.translate.plain import from_plain, message_named, to_plain
from policy import json_patch

TYPES: Mapping[str, tuple[str, ...]] = {
    "clusters": (resource_types.CLUSTER,),
    "endpoints": (resource_types.CLUSTER_LOAD_ASSIGNMENT,),
    "listeners": (resource_types.LISTENER,),
    "routes": (resource_types.ROUTE_CONFIGURATION,),
    "secrets": (resource_types.SECRET,),
    "policies": (resource_types.AUTHZ_POLICY, resource_types.PROCESSING_POLICY, resource_types.TRACING),
}
"""Type URLs by the word that gateway.yaml and `gatewayctl render --type` use."""


class PatchError(ValueError):
    """A patch that does not apply; says which, and why."""


def patched(patches: Sequence[EnvoyPatch], resources: Iterable[Resource]) -> Iterator[Resource]:
    """Apply the patches in their order.

    Raises:
        PatchError: the resource, the path or a `test` is not there, or the result is no message of its type.
    """
    if not patches:
        yield from resources
        return
    waiting = set(range(len(patches)))
    for resource in resources:
        mine = [i for i, p in enumerate(patches) if p.name == resource.name and resource.type_url in TYPES[p.type]]
        waiting.difference_update(mine)
        yield _patched(resource, [patches[i] for i in mine]) if mine else resource
    for index in sorted(waiting):
        raise PatchError(f"envoy_patches[{index}]: there is no {patches[index].type} resource {patches[index].name!r}")


def _patched(resource: Resource, patches: Sequence[EnvoyPatch]) -> Resource:
    full_name = resource.type_url.rpartition("/")[2]
    message = message_named(full_name)
    message.MergeFromString(resource.body)
    document: json_patch.Json = to_plain(message, show_secrets=True)
    for patch in patches:
        try:
            document = json_patch.patched(document, [_operation(patch)])
            if not isinstance(document, dict):
                raise ValueError("the result is no object")
            message = from_plain(document, message_named(full_name))
        except (ValueError, LookupError) as error:
            raise PatchError(
                f"envoy_patches: {patch.op} {patch.path} on {patch.type} {patch.name!r}: {error}"
            ) from error
    return Resource.of(resource.name, message, resource.kinds)


def _operation(patch: EnvoyPatch) -> json_patch.Operation:
    members: dict[str, json_patch.Json] = {"value": patch.value}
    if patch.from_ is not None:
        members["from"] = patch.from_
    return json_patch.operation(patch.op, patch.path, members)
