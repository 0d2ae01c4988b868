"""Discovery responses as bytes: a resource is encoded once and its bytes are joined into every stream's response.

The result is what the protobuf classes would read (a test compares them); they are not used because they would copy and
encode each resource again for each stream.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2

from control_plane.snapshot import Resource
from policy.wire import delimited, tag

# Numbers of fields, of messages in envoy/service/discovery/v3/discovery.proto.
_VERSION_INFO = 1
_RESOURCES = 2
_TYPE_URL = 4
_NONCE = 5
_REMOVED_RESOURCES = 6
_RESOURCE_VERSION, _RESOURCE_ANY, _RESOURCE_NAME = 1, 2, 3
_ANY_TYPE_URL, _ANY_VALUE = 1, 2
_WRAPPER = "type.googleapis.com/envoy.service.discovery.v3.Resource"
_FEW = 8
"""Responses with at most so many resources are kept for the next streams; they are small."""


def discovery_response(type_url: str, version: str, nonce: str, resources: Iterable[Resource]) -> bytes:
    """A DiscoveryResponse."""
    parts = [_text(_VERSION_INFO, version)]
    for resource in resources:
        if resource.ttl_s:
            wrapper = _with_ttl(resource, version, alive=False)
            packed = any_pb2.Any(type_url=_WRAPPER, value=wrapper.SerializeToString(deterministic=True))
            body = packed.SerializeToString(deterministic=True)
            parts += (tag(_RESOURCES, len(body)), body)
            continue
        head = _any_head(resource)
        parts += (tag(_RESOURCES, len(head) + len(resource.body)), head, resource.body)
    parts += (_text(_TYPE_URL, type_url), _text(_NONCE, nonce))
    return b"".join(parts)


def delta_discovery_response(
    type_url: str,
    version: str,
    nonce: str,
    resources: Sequence[Resource],
    removed: Sequence[str],
    *,
    alive: bool = False,
) -> bytes:
    """A DeltaDiscoveryResponse.

    Args:
        alive: a heartbeat: the client has these resources in these versions, their content is left out.
    """
    build = _delta_content if len(resources) + len(removed) <= _FEW else _delta_content.__wrapped__
    return build(type_url, version, tuple(resources), tuple(removed), alive) + _text(_NONCE, nonce)


@lru_cache(maxsize=16)
def _delta_content(
    type_url: str, version: str, resources: tuple[Resource, ...], removed: tuple[str, ...], alive: bool
) -> bytes:
    """All but the nonce: a change goes to many streams at about the same time."""
    parts = [_text(_VERSION_INFO, version)]
    for resource in resources:
        if resource.ttl_s:
            body = _with_ttl(resource, resource.version, alive=alive).SerializeToString(deterministic=True)
            parts += (tag(_RESOURCES, len(body)), body)
            continue
        any_head = _any_head(resource)
        any_length = len(any_head) + len(resource.body)
        head = b"".join(
            (
                _text(_RESOURCE_NAME, resource.name),
                _text(_RESOURCE_VERSION, resource.version),
                tag(_RESOURCE_ANY, any_length),
                any_head,
            )
        )
        parts += (tag(_RESOURCES, len(head) + len(resource.body)), head, resource.body)
    parts.append(_text(_TYPE_URL, type_url))
    parts += (_text(_REMOVED_RESOURCES, name) for name in removed)
    return b"".join(parts)


def _with_ttl(resource: Resource, version: str, *, alive: bool) -> discovery_pb2.Resource:
    """They are few, so the classes make them."""
    wrapper = discovery_pb2.Resource(name=resource.name, version=version)
    wrapper.ttl.FromNanoseconds(round(resource.ttl_s * 1e9))
    if not alive:
        wrapper.resource.type_url, wrapper.resource.value = resource.type_url, resource.body
    return wrapper


def _any_head(resource: Resource) -> bytes:
    """All of the Any but its value's bytes, which follow."""
    return _type_url(resource.type_url) + tag(_ANY_VALUE, len(resource.body))


@lru_cache(maxsize=64)
def _type_url(type_url: str) -> bytes:
    return _text(_ANY_TYPE_URL, type_url)


def _text(number: int, text: str) -> bytes:
    return delimited(number, text.encode())
