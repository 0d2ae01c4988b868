"""envoy_patches: RFC 6902 operations on rendered resources, the escape hatch for what gateway.yaml cannot say.

Paths are those of `gatewayctl render`: proto field names, the content of an Any in place of it.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence

from control_plane import resource_types
from control_plane.config.model.gateway import EnvoyPatch
from control_plane.snapshot import Resource
from control_plane.translate.plain import Plain, from_plain, message_named, to_plain

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
    document: Plain = to_plain(message, show_secrets=True)
    for patch in patches:
        try:
            document = apply(document, patch.op, patch.path, patch.value, patch.from_)
            if not isinstance(document, dict):
                raise ValueError("the result is no object")
            message = from_plain(document, message_named(full_name))
        except (ValueError, LookupError) as error:
            raise PatchError(
                f"envoy_patches: {patch.op} {patch.path} on {patch.type} {patch.name!r}: {error}"
            ) from error
    return Resource.of(resource.name, message, resource.kinds)


def apply(document: Plain, op: str, path: str, value: Plain = None, source: str | None = None) -> Plain:
    """One RFC 6902 operation on a copy of the document.

    Args:
        document: a rendered resource.
        op: add, remove, replace, move, copy or test.
        path: a JSON pointer (RFC 6901).
        value: of add, replace and test.
        source: where move and copy take from (`from`).

    Raises:
        LookupError, ValueError: the path does not exist, or a `test` fails.
    """
    root: list[Plain] = [copy.deepcopy(document)]  # so that the whole document has a parent too
    tokens = ["0", *_tokens(path)]
    match op:
        case "add":
            _add(root, tokens, copy.deepcopy(value))
        case "remove":
            _remove(root, tokens)
        case "replace":
            _remove(root, tokens)
            _add(root, tokens, copy.deepcopy(value))
        case "move":
            _add(root, tokens, _remove(root, ["0", *_tokens(source or "")]))
        case "copy":
            _add(root, tokens, copy.deepcopy(_get(root, ["0", *_tokens(source or "")])))
        case "test":
            if _get(root, tokens) != value:
                raise ValueError(f"{path} is not {value!r}")
        case _:
            raise ValueError(f"{op!r} is no operation of RFC 6902")
    return root[0]


def _tokens(pointer: str) -> list[str]:
    """RFC 6901: `~1` is a slash, `~0` a tilde."""
    if pointer and not pointer.startswith("/"):
        raise ValueError(f"{pointer!r} is no JSON pointer (it begins with /)")
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]


def _get(document: Plain, tokens: Sequence[str]) -> Plain:
    for token in tokens:
        if isinstance(document, list):
            document = document[_index(token, len(document) - 1)]
        elif isinstance(document, dict) and token in document:
            document = document[token]
        else:
            raise LookupError(f"there is no {token!r}")
    return document


def _add(document: Plain, tokens: Sequence[str], value: Plain) -> None:
    parent, last = _get(document, tokens[:-1]), tokens[-1]
    if isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else _index(last, len(parent)), value)
    elif isinstance(parent, dict):
        parent[last] = value
    else:
        raise LookupError(f"{last!r} has no object or list around it")


def _remove(document: Plain, tokens: Sequence[str]) -> Plain:
    parent, last = _get(document, tokens[:-1]), tokens[-1]
    if isinstance(parent, list):
        return parent.pop(_index(last, len(parent) - 1))
    if isinstance(parent, dict) and last in parent:
        return parent.pop(last)
    raise LookupError(f"there is no {last!r}")


def _index(token: str, largest: int) -> int:
    if not token.isascii() or not token.isdigit() or (token.startswith("0") and token != "0"):
        raise LookupError(f"{token!r} is no index of a list")
    index = int(token)
    if index > largest:
        raise LookupError(f"there is no element {index}")
    return index
