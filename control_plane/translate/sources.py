"""Where resources say that what they name comes from: the same ADS stream, or a stream of its own for each type.

Translation knows ADS only. For an Envoy whose bootstrap has no `ads_config`, whoever serves it writes streams of their
own into clusters and listeners (`with_own_streams`).
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any as AnyValue

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import backoff_pb2, base_pb2, config_source_pb2, grpc_service_pb2
from envoy.config.listener.v3 import listener_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from control_plane.resource_types import CLUSTER, LISTENER
from control_plane.snapshot import Resource
from control_plane.translate.messages import duration, packed

ApiType = config_source_pb2.ApiConfigSource.ApiType
XDS_CLUSTER = "xds"
"""The bootstrap's cluster of the control plane."""
_RECONNECT_BASE = timedelta(milliseconds=200)
_RECONNECT_MAX = timedelta(seconds=5)
_ANY = "google.protobuf.Any"
_MESSAGES: Mapping[str, type[cluster_pb2.Cluster] | type[listener_pb2.Listener]] = {
    CLUSTER: cluster_pb2.Cluster,
    LISTENER: listener_pb2.Listener,
}


def api_config_source(api_type: ApiType) -> config_source_pb2.ApiConfigSource:
    """A stream to the control plane of the bootstrap."""
    return config_source_pb2.ApiConfigSource(
        api_type=api_type,
        transport_api_version=config_source_pb2.V3,
        set_node_on_first_message_only=True,
        grpc_services=[
            grpc_service_pb2.GrpcService(
                envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(
                    cluster_name=XDS_CLUSTER, retry_policy=_reconnecting()
                )
            )
        ],
    )


def own_stream(api_type: ApiType) -> config_source_pb2.ConfigSource:
    """A stream for one type alone."""
    return config_source_pb2.ConfigSource(
        api_config_source=api_config_source(api_type), resource_api_version=config_source_pb2.V3
    )


def with_own_streams(resource: Resource, api_type: ApiType) -> Resource:
    """A cluster or listener whose endpoints, routes and secrets come over streams of their own; others as they are."""
    kind = _MESSAGES.get(resource.type_url)
    if kind is None:
        return resource
    message = kind.FromString(resource.body)
    if not _redirect(message, own_stream(api_type)):
        return resource
    return Resource.of(resource.name, message, resource.kinds)


def _redirect(message: Message, source: config_source_pb2.ConfigSource) -> bool:
    """Replace ADS in all that is below; whether there was any."""
    if isinstance(message, config_source_pb2.ConfigSource):
        if message.WhichOneof("config_source_specifier") != "ads":
            return False
        message.api_config_source.CopyFrom(source.api_config_source)
        return True
    if isinstance(message, Any):
        return _redirect_packed(message, source)
    changed = False
    for below in _below(message):
        changed |= _redirect(below, source)
    return changed


def _redirect_packed(holder: Any, source: config_source_pb2.ConfigSource) -> bool:
    try:
        descriptor = Default().FindMessageTypeByName(holder.type_url.rpartition("/")[2])
        message = GetMessageClass(descriptor)()
        message.ParseFromString(holder.value)
    except (KeyError, DecodeError):
        return False  # of a patch; Envoy is the one to judge it
    if not _redirect(message, source):
        return False
    holder.CopyFrom(packed(message))
    return True


def _below(message: Message) -> Iterator[Message]:
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            yield from _messages(value.values())
        elif field.is_repeated:
            yield from value
        else:
            yield value


def _messages(values: AnyValue) -> Iterator[Message]:
    return (value for value in values if isinstance(value, Message))


def _reconnecting() -> base_pb2.RetryPolicy:
    """Envoy's default back-off ends at 30 s, which a control plane that has just restarted need not wait for."""
    return base_pb2.RetryPolicy(
        retry_back_off=backoff_pb2.BackoffStrategy(
            base_interval=duration(_RECONNECT_BASE), max_interval=duration(_RECONNECT_MAX)
        )
    )
