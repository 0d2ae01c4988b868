"""What a resource names: routes name clusters, listeners name routes and secrets, clusters their endpoints.

Envoy takes a route whose cluster does not exist and answers 503 from then on, and waits 15 seconds for an RDS, EDS or
SDS name that never comes; so a name that nothing has is found here, before anything is sent.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from control_plane.resource_types import (
    AUTHZ_POLICY,
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    PROCESSING_POLICY,
    ROUTE_CONFIGURATION,
    SECRET,
)
from control_plane.snapshot import Resource, Snapshot

_ROUTE = "envoy.config.route.v3."
_NAMES: Mapping[tuple[str, str], str] = {
    (_ROUTE + "RouteAction", "cluster"): CLUSTER,
    (_ROUTE + "WeightedCluster.ClusterWeight", "name"): CLUSTER,
    (_ROUTE + "RouteAction.RequestMirrorPolicy", "cluster"): CLUSTER,
    ("envoy.config.core.v3.GrpcService.EnvoyGrpc", "cluster_name"): CLUSTER,
    ("envoy.config.core.v3.HttpUri", "cluster"): CLUSTER,
    ("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "cluster"): CLUSTER,
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.Rds",
        "route_config_name",
    ): ROUTE_CONFIGURATION,
    ("envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig", "name"): SECRET,
    ("meetinity.gateway.policy.v1.JwtProvider", "jwks_secret"): SECRET,
    ("meetinity.gateway.policy.v1.JwtProvider", "shared_secret"): SECRET,
    ("meetinity.gateway.policy.v1.ApiKeys", "keys_secret"): SECRET,
    ("meetinity.gateway.policy.v1.Signatures", "clients_secret"): SECRET,
}
"""(message, field that holds a name) -> the type that has to have a resource of that name."""

_ANY = "google.protobuf.Any"


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """One name in one resource."""

    type_url: str
    name: str


@dataclass(frozen=True, slots=True, order=True)
class Dangling:
    """A resource names something that the snapshot does not have."""

    type_url: str
    name: str
    missing: Reference

    def __str__(self) -> str:
        kind, missing = (url.rpartition(".")[2] for url in (self.type_url, self.missing.type_url))
        return f"{kind} {self.name} names the {missing} {self.missing.name!r}, which does not exist"


class References:
    """What each resource names, read once per version of it."""

    def __init__(self) -> None:
        self._relevant: dict[str, frozenset[int]] = {}
        self._known: dict[tuple[str, str, str], frozenset[Reference]] = {}

    def of(self, resource: Resource) -> frozenset[Reference]:
        """Every name that the resource mentions, by the type it has to be found in."""
        key = (resource.type_url, resource.name, resource.version)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = frozenset(_unpacked(resource.type_url, resource.body, self))
        return found

    def dangling(self, snapshot: Snapshot) -> list[Dangling]:
        """Names without a resource, sorted; forgets the resources that are no longer in the snapshot."""
        resources = [resource for named in snapshot.resources.values() for resource in named.values()]
        found = [
            Dangling(resource.type_url, resource.name, reference)
            for resource in resources
            for reference in self.of(resource)
            if reference.name not in snapshot.of_type(reference.type_url)
        ]
        kept = {(resource.type_url, resource.name, resource.version) for resource in resources}
        self._known = {key: references for key, references in self._known.items() if key in kept}
        return sorted(found)

    def walk(self, message: Message) -> Iterator[Reference]:
        """The names in a message and in all below it."""
        full_name = message.DESCRIPTOR.full_name
        relevant = self._relevant.get(full_name)
        if relevant is None:
            relevant = self._relevant[full_name] = _relevant_fields(Default().FindMessageTypeByName(full_name))
        if isinstance(message, cluster_pb2.Cluster) and message.type == cluster_pb2.Cluster.EDS:
            yield Reference(CLUSTER_LOAD_ASSIGNMENT, message.eds_cluster_config.service_name or message.name)
        for field, value in message.ListFields():
            if field.number in relevant:
                yield from self._field(full_name, field.name, value)

    def _field(self, message: str, field: str, value: Any) -> Iterator[Reference]:
        target = _NAMES.get((message, field))
        if target is not None:
            yield Reference(target, value)
        elif (message, field) == ("envoy.extensions.filters.http.ext_authz.v3.CheckSettings", "context_extensions"):
            yield from (Reference(AUTHZ_POLICY, name) for key, name in value.items() if key == "policy")
        elif (message, field) == (
            "envoy.extensions.filters.http.ext_proc.v3.ExtProcOverrides",
            "grpc_initial_metadata",
        ):
            yield from (Reference(PROCESSING_POLICY, each.value) for each in value if each.key == "x-gateway-policy")
        elif isinstance(value, Message):
            yield from self._message(value)
        elif hasattr(value, "values"):
            for each in value.values():
                yield from self._message(each)
        else:
            for each in value:
                yield from self._message(each)

    def _message(self, message: Any) -> Iterator[Reference]:
        if message.DESCRIPTOR.full_name == _ANY:
            yield from _unpacked(message.type_url, message.value, self)
        else:
            yield from self.walk(message)


def _unpacked(type_url: str, body: bytes, references: References) -> Iterator[Reference]:
    """The names in a packed message; none in one that cannot be read, which the field rules report."""
    try:
        message = GetMessageClass(Default().FindMessageTypeByName(type_url.rpartition("/")[2]))()
        message.ParseFromString(body)
    except (KeyError, DecodeError):
        return
    yield from references.walk(message)


def _relevant_fields(descriptor: Descriptor) -> frozenset[int]:
    """Numbers of the fields in or below which a name can stand."""
    return frozenset(
        field.number
        for field in descriptor.fields
        if (descriptor.full_name, field.name) in _NAMES
        or (field.message_type is not None and _can_name(field.message_type, set()))
        or field.name in ("context_extensions", "grpc_initial_metadata")
    )


def _can_name(descriptor: Descriptor, seen: set[str]) -> bool:
    if descriptor.full_name == _ANY:
        return True
    if descriptor.full_name in seen:
        return False
    seen.add(descriptor.full_name)
    return any(
        (descriptor.full_name, field.name) in _NAMES
        or field.name in ("context_extensions", "grpc_initial_metadata")
        or (field.message_type is not None and _can_name(field.message_type, seen))
        for field in descriptor.fields
    )
