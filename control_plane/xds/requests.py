"""Requests of both variants of the protocol, parsed and checked, and which subscription they go to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from control_plane.resource_types import DELIVERY_ORDER, EXTRA, UNSERVED, NodeKind
from control_plane.xds.delta import DeltaSubscription
from control_plane.xds.session import Node
from control_plane.xds.sotw import SotwSubscription
from control_plane.xds.subscription import Answer, Subscription

_WRAPPERS = "xds.config.resource-in-sotw"
MOST_NODE_BYTES = 1024
"""Of an id, a cluster, a version: each stands in log lines, in addresses of the status page, and is kept."""
"""A client feature that Envoy names."""
_TYPES = frozenset(DELIVERY_ORDER) | EXTRA | UNSERVED


class BadRequestError(Exception):
    """The client does not speak the protocol; its stream ends with INVALID_ARGUMENT."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request of either variant."""

    type_url: str
    nonce: str
    error: str | None
    """The reason of a NACK; None in all other requests."""
    version: str = ""
    """State of the world: of what the client has."""
    names: tuple[str, ...] = ()
    """State of the world: all that the client wants."""
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = field(default_factory=dict)


class Variant(Protocol):
    """A variant of the protocol, as a stream needs it."""

    name: str

    def node(self, message: bytes) -> Node:
        """Who sends the first request of a stream."""

    def parse(self, message: bytes, only_type: str | None) -> Request:
        """Raises BadRequestError for what is no request, or one of a type that does not exist."""

    def subscription(self, type_url: str, answer_s: float) -> Subscription: ...

    def apply(self, request: Request, subscription: Subscription, now: float) -> Answer | None: ...


class SotwVariant:
    """State of the world."""

    name = "sotw"

    def node(self, message: bytes) -> Node:
        return _node(_parsed(discovery_pb2.DiscoveryRequest(), message).node)

    def parse(self, message: bytes, only_type: str | None) -> Request:
        request = _parsed(discovery_pb2.DiscoveryRequest(), message)
        return Request(
            type_url=_type_url(request.type_url, only_type),
            nonce=request.response_nonce,
            error=request.error_detail.message if request.HasField("error_detail") else None,
            version=request.version_info,
            names=tuple(request.resource_names),
        )

    def subscription(self, type_url: str, answer_s: float) -> Subscription:
        return SotwSubscription(type_url, answer_s=answer_s)

    def apply(self, request: Request, subscription: Subscription, now: float) -> Answer | None:
        assert isinstance(subscription, SotwSubscription)
        return subscription.request(
            version=request.version, nonce=request.nonce, names=request.names, error=request.error, now=now
        )


class DeltaVariant:
    """Incremental."""

    name = "delta"

    def node(self, message: bytes) -> Node:
        return _node(_parsed(discovery_pb2.DeltaDiscoveryRequest(), message).node)

    def parse(self, message: bytes, only_type: str | None) -> Request:
        request = _parsed(discovery_pb2.DeltaDiscoveryRequest(), message)
        return Request(
            type_url=_type_url(request.type_url, only_type),
            nonce=request.response_nonce,
            error=request.error_detail.message if request.HasField("error_detail") else None,
            subscribe=tuple(request.resource_names_subscribe),
            unsubscribe=tuple(request.resource_names_unsubscribe),
            initial_versions=dict(request.initial_resource_versions),
        )

    def subscription(self, type_url: str, answer_s: float) -> Subscription:
        return DeltaSubscription(type_url, answer_s=answer_s)

    def apply(self, request: Request, subscription: Subscription, now: float) -> Answer | None:
        assert isinstance(subscription, DeltaSubscription)
        return subscription.request(
            nonce=request.nonce,
            subscribe=request.subscribe,
            unsubscribe=request.unsubscribe,
            initial_versions=request.initial_versions,
            error=request.error,
            now=now,
        )


_M = TypeVar("_M", discovery_pb2.DiscoveryRequest, discovery_pb2.DeltaDiscoveryRequest)


def _parsed(request: _M, message: bytes) -> _M:
    try:
        request.ParseFromString(message)
    except DecodeError as error:
        raise BadRequestError(f"this is no {type(request).__name__}") from error
    return request


def _node(node: base_pb2.Node) -> Node:
    if not node.id and not node.cluster:
        raise BadRequestError("the first request of a stream must carry the node, with id and cluster")
    for name in ("id", "cluster", "user_agent_version"):
        if len(getattr(node, name).encode()) > MOST_NODE_BYTES:
            raise BadRequestError(f"node.{name} is longer than {MOST_NODE_BYTES:,} bytes")
    version = node.user_agent_build_version.version
    number = f"{version.major_number}.{version.minor_number}.{version.patch}"
    return Node(
        id=node.id,
        cluster=node.cluster,
        kind=NodeKind.of(node.user_agent_name),
        version=node.user_agent_version or (number if node.HasField("user_agent_build_version") else ""),
        takes_wrappers=_WRAPPERS in node.client_features,
    )


def _type_url(asked: str, only_type: str | None) -> str:
    if only_type is not None:
        if asked not in ("", only_type):
            raise BadRequestError(f"this service serves {only_type}, not {asked!r}")
        return only_type
    if not asked:
        raise BadRequestError("an aggregated request must carry a type_url")
    if asked not in _TYPES:
        raise BadRequestError(f"type_url {asked!r} is unknown; there is: {', '.join(DELIVERY_ORDER)}")
    return asked
