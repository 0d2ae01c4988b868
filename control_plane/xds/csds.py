"""Client Status Discovery Service: what each connected client has been sent, has taken and refuses.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/status/v3/csds.proto; grpcdebug reads it, for one.
The content of secrets is left out.
"""

from collections.abc import Iterator

from envoy.admin.v3 import config_dump_shared_pb2
from envoy.config.core.v3 import base_pb2
from envoy.service.status.v3 import csds_pb2
from envoy.type.matcher.v3 import node_pb2, string_pb2
from google.protobuf.message import DecodeError

from control_plane.resource_types import SECRET
from control_plane.snapshot import Resource
from control_plane.xds.requests import BadRequestError
from control_plane.xds.store import Client
from control_plane.xds.subscription import UNKNOWN, Subscription

_Status = config_dump_shared_pb2.ClientResourceStatus


def client_status(request: bytes, clients: list[Client]) -> bytes:
    """A ClientStatusResponse for those clients that the request asks for.

    Raises:
        BadRequestError: it is no ClientStatusRequest, or matches nodes by what is not supported.
    """
    asked = csds_pb2.ClientStatusRequest()
    try:
        asked.ParseFromString(request)
    except DecodeError as error:
        raise BadRequestError("this is no ClientStatusRequest") from error
    response = csds_pb2.ClientStatusResponse()
    for client in clients:
        if not asked.node_matchers or any(_matches(matcher, client) for matcher in asked.node_matchers):
            response.config.append(_config(client, with_contents=not asked.exclude_resource_contents))
    return response.SerializeToString()


def _matches(matcher: node_pb2.NodeMatcher, client: Client) -> bool:
    if matcher.node_metadatas:
        raise BadRequestError("node_metadatas is not supported: match by node_id")
    return not matcher.HasField("node_id") or _equals(matcher.node_id, client.node.id)


def _equals(matcher: string_pb2.StringMatcher, text: str) -> bool:
    kind = matcher.WhichOneof("match_pattern")
    if kind not in ("exact", "prefix", "suffix", "contains"):
        raise BadRequestError(f"node_id by {kind or 'nothing'} is not supported: exact, prefix, suffix or contains")
    wanted: str = getattr(matcher, kind)
    if matcher.ignore_case:
        wanted, text = wanted.casefold(), text.casefold()
    match kind:
        case "exact":
            return text == wanted
        case "prefix":
            return text.startswith(wanted)
        case "suffix":
            return text.endswith(wanted)
        case _:
            return wanted in text


def _config(client: Client, *, with_contents: bool) -> csds_pb2.ClientConfig:
    node = client.node
    config = csds_pb2.ClientConfig(
        node=base_pb2.Node(id=node.id, cluster=node.cluster, user_agent_name=node.kind.value),
        client_scope=f"{client.peer} {client.variant}",
    )
    if node.version:
        config.node.user_agent_version = node.version
    for type_url, subscription in sorted(client.session.subscriptions.items()):
        served = client.session.snapshot.of_type(type_url)
        for name in sorted({*subscription.known_names(), *subscription.quarantine.parked}):
            config.generic_xds_configs.append(
                _resource(client, subscription, name, served.get(name), with_contents=with_contents)
            )
        config.generic_xds_configs.extend(_awaited(subscription))
    return config


def _awaited(subscription: Subscription) -> Iterator[csds_pb2.ClientConfig.GenericXdsConfig]:
    """Names that the client asks for and that do not exist."""
    known = {*subscription.known_names(), *subscription.quarantine.parked}
    for name in sorted(set(subscription.interest.names) - known):
        yield csds_pb2.ClientConfig.GenericXdsConfig(
            type_url=subscription.type_url, name=name, client_status=_Status.DOES_NOT_EXIST
        )


def _resource(
    client: Client, subscription: Subscription, name: str, served: Resource | None, *, with_contents: bool
) -> csds_pb2.ClientConfig.GenericXdsConfig:
    one = csds_pb2.ClientConfig.GenericXdsConfig(type_url=subscription.type_url, name=name)
    known = subscription.version_known(name)
    refused = subscription.quarantine.parked.get(name)
    outstanding = subscription.outstanding
    if known is not None and known != UNKNOWN:
        one.version_info = known
    if refused is not None:
        one.client_status, one.config_status = _Status.NACKED, csds_pb2.ERROR
        one.error_state.version_info = refused
        if subscription.nack is not None:
            one.error_state.details = subscription.nack.message
            one.error_state.last_update_attempt.FromMilliseconds(
                int(client.nack_times.get(subscription.type_url, 0.0) * 1000)
            )
    elif (outstanding is not None and name in outstanding.changed) or known == UNKNOWN:
        one.client_status, one.config_status = _Status.REQUESTED, csds_pb2.STALE
    else:
        one.client_status = _Status.ACKED
        is_newest = served is not None and served.version == known
        one.config_status = csds_pb2.SYNCED if is_newest else csds_pb2.STALE
    if with_contents and subscription.type_url != SECRET and served is not None and served.version == known:
        one.xds_config.type_url = served.type_url
        one.xds_config.value = served.body
    return one
