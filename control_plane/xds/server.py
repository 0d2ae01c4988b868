"""The xDS services: aggregated (ADS) and one per type, each state-of-the-world and incremental; and CSDS.

Who may connect and when is decided here, for all methods alike; `stream.py` is what happens then.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TypeVar

import grpc
from envoy.config.core.v3 import config_source_pb2

from control_plane.metrics import Metrics
from control_plane.resource_types import (
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    EXTENSION_CONFIG,
    LISTENER,
    ROUTE_CONFIGURATION,
    RUNTIME,
    SECRET,
    VIRTUAL_HOST,
    NodeKind,
)
from control_plane.snapshot import Resource
from control_plane.translate.proxyless import for_grpc
from control_plane.translate.sources import with_own_streams
from control_plane.xds.access import STATUS, Access, Grant, NotAllowedError, Presented, UnauthenticatedError
from control_plane.xds.csds import client_status
from control_plane.xds.pacing import TokenBucket
from control_plane.xds.requests import BadRequestError, DeltaVariant, SotwVariant, Variant
from control_plane.xds.session import Node, Rendition
from control_plane.xds.store import Client, Store, UnknownGatewayError
from control_plane.xds.stream import Context, ShuttingDownError, Stream
from gateway_runtime.telemetry import logger

R = TypeVar("R")

_AGGREGATED = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_EXTENSIONS = "envoy.service.extension.v3.ExtensionConfigDiscoveryService"
_METHODS = (
    (_AGGREGATED, "StreamAggregatedResources", SotwVariant, None),
    (_AGGREGATED, "DeltaAggregatedResources", DeltaVariant, None),
    ("envoy.service.cluster.v3.ClusterDiscoveryService", "StreamClusters", SotwVariant, CLUSTER),
    ("envoy.service.cluster.v3.ClusterDiscoveryService", "DeltaClusters", DeltaVariant, CLUSTER),
    ("envoy.service.endpoint.v3.EndpointDiscoveryService", "StreamEndpoints", SotwVariant, CLUSTER_LOAD_ASSIGNMENT),
    ("envoy.service.endpoint.v3.EndpointDiscoveryService", "DeltaEndpoints", DeltaVariant, CLUSTER_LOAD_ASSIGNMENT),
    ("envoy.service.listener.v3.ListenerDiscoveryService", "StreamListeners", SotwVariant, LISTENER),
    ("envoy.service.listener.v3.ListenerDiscoveryService", "DeltaListeners", DeltaVariant, LISTENER),
    ("envoy.service.route.v3.RouteDiscoveryService", "StreamRoutes", SotwVariant, ROUTE_CONFIGURATION),
    ("envoy.service.route.v3.RouteDiscoveryService", "DeltaRoutes", DeltaVariant, ROUTE_CONFIGURATION),
    ("envoy.service.secret.v3.SecretDiscoveryService", "StreamSecrets", SotwVariant, SECRET),
    ("envoy.service.secret.v3.SecretDiscoveryService", "DeltaSecrets", DeltaVariant, SECRET),
    (_EXTENSIONS, "StreamExtensionConfigs", SotwVariant, EXTENSION_CONFIG),
    (_EXTENSIONS, "DeltaExtensionConfigs", DeltaVariant, EXTENSION_CONFIG),
    ("envoy.service.runtime.v3.RuntimeDiscoveryService", "StreamRuntime", SotwVariant, RUNTIME),
    ("envoy.service.runtime.v3.RuntimeDiscoveryService", "DeltaRuntime", DeltaVariant, RUNTIME),
    ("envoy.service.route.v3.VirtualHostDiscoveryService", "DeltaVirtualHosts", DeltaVariant, VIRTUAL_HOST),
)

_API_TYPES = {
    SotwVariant.name: config_source_pb2.ApiConfigSource.GRPC,
    DeltaVariant.name: config_source_pb2.ApiConfigSource.DELTA_GRPC,
}
_RENDITIONS = 32_768

_CSDS = "envoy.service.status.v3.ClientStatusDiscoveryService"

_STATUS = {
    BadRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    UnknownGatewayError: grpc.StatusCode.NOT_FOUND,
    UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    NotAllowedError: grpc.StatusCode.PERMISSION_DENIED,
}


@dataclass(frozen=True, slots=True)
class Pacing:
    """How many new clients are let in; each gets everything at first."""

    first_pushes_per_s: float = 100.0
    burst: int = 100


class XdsServer:
    """Serves a store to every client that connects."""

    def __init__(
        self, store: Store, metrics: Metrics, access: Access | None = None, pacing: Pacing | None = None
    ) -> None:
        """
        Args:
            access: who may connect, and as what; None: anybody as anything.
        """
        self._store = store
        self._metrics = metrics
        self._access = access or Access()
        pacing = pacing or Pacing()
        self._entrance = TokenBucket(rate_per_s=pacing.first_pushes_per_s, burst=pacing.burst)
        self._closing = asyncio.Event()
        self._sessions: dict[tuple[str, str, str, str], list[Client]] = {}
        self._own_streams = {
            name: lru_cache(_RENDITIONS)(partial(with_own_streams, api_type=api_type))
            for name, api_type in _API_TYPES.items()
        }
        """By variant, what clients get that have a stream for each type; made once for all of them."""
        self._for_grpc = lru_cache(_RENDITIONS)(for_grpc)
        self._log = logger("xds")

    def handlers(self) -> Sequence[grpc.GenericRpcHandler]:
        """To be registered with a gRPC server."""
        by_service: dict[str, dict[str, grpc.RpcMethodHandler[bytes, bytes]]] = {}
        for service, method, variant, type_url in _METHODS:
            handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(
                self._handler(variant, type_url)
            )
            by_service.setdefault(service, {})[method] = handler
        by_service[_CSDS] = {
            "FetchClientStatus": grpc.unary_unary_rpc_method_handler(self._fetch_status),
            "StreamClientStatus": grpc.stream_stream_rpc_method_handler(self._stream_status),
        }
        return [grpc.method_handlers_generic_handler(service, methods) for service, methods in by_service.items()]

    def close(self) -> None:
        """End all streams: they would never end by themselves."""
        self._closing.set()
        for client in self._store.clients():
            client.wake()

    def _handler(self, variant: Callable[[], Variant], type_url: str | None) -> Callable[..., object]:
        async def serve(_requests: object, context: Context) -> None:
            await self._guarded(context, self._serve(context, variant(), type_url))

        return serve

    async def _guarded(self, context: Context, work: Coroutine[None, None, R]) -> R:
        """What a client did wrong, or that this replica ends, becomes the status of its call."""
        try:
            return await work
        except (BadRequestError, UnknownGatewayError, UnauthenticatedError, NotAllowedError) as error:
            code = _STATUS[type(error)]
            self._metrics.refused_streams.labels(code.name).inc()
            self._log.warning("xds_stream_refused", peer=context.peer(), code=code.name, reason=str(error))
            await context.abort(code, str(error))
        except ShuttingDownError:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the control plane is shutting down")

    async def _fetch_status(self, request: bytes, context: Context) -> bytes:
        return await self._guarded(context, self._status(request, context))

    async def _stream_status(self, _requests: object, context: Context) -> None:
        while isinstance(request := await context.read(), bytes):
            await context.write(await self._guarded(context, self._status(request, context)))

    async def _status(self, request: bytes, context: Context) -> bytes:
        """Clients of the gateways that the caller's credential is good for."""
        grant = await self._access.grant(presented(context))
        if STATUS not in grant.kinds:
            raise NotAllowedError(f"{grant.identity} may not see the status of clients")
        clients = [one for one in self._store.clients() if grant.covers(one.node.cluster)]
        return client_status(request, clients)

    async def _serve(self, context: Context, variant: Variant, type_url: str | None) -> None:
        grant = await self._access.grant(presented(context))
        first = await context.read()
        if not isinstance(first, bytes):
            return
        node = variant.node(first)
        await self._check(node, grant, context.peer())
        client, delay_s = await self._client(node, context.peer(), variant, type_url)
        stream = Stream(context, client, variant, type_url, self._store, self._metrics, self._closing)
        streams = self._metrics.streams.labels(node.kind.value, variant.name)
        streams.inc()
        self._log.info(
            "xds_stream_opened", node=node.id, cluster=node.cluster, kind=node.kind.value, variant=variant.name
        )
        try:
            await self._unless_closing(delay_s)
            await stream.run(first)
        finally:
            streams.dec()
            self._leave(client)
            self._log.info("xds_stream_closed", node=node.id, cluster=node.cluster, kind=node.kind.value)

    async def _check(self, node: Node, grant: Grant, peer: str) -> None:
        """Whether the node is somebody here, and may be who it says.

        Raises:
            NotAllowedError, UnknownGatewayError: after a while, if the same was refused before: Envoy comes back at
                once, for ever.
        """
        try:
            grant.check(node.cluster, node.kind.value)
            await self._store.feed_for(node)
        except (NotAllowedError, UnknownGatewayError) as error:
            now = self._store.clock()
            _, delay_s = self._store.refusals.note(
                node=node.id, cluster=node.cluster, peer=peer, reason=str(error), now=now
            )
            await self._unless_closing(delay_s)
            raise

    async def _unless_closing(self, delay_s: float) -> None:
        if delay_s <= 0:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._closing.wait()
                raise ShuttingDownError

    async def _client(self, node: Node, peer: str, variant: Variant, type_url: str | None) -> tuple[Client, float]:
        """A client of its own for an aggregated stream; streams of single types share one per connection.

        Returns:
            The client, and for how many seconds it waits for its turn to be served.
        """
        feed = await self._store.feed_for(node)
        key = (peer, node.id, node.cluster, variant.name)
        name = variant.name if type_url is not None else f"{variant.name} ADS"
        if type_url is not None:
            for known in self._sessions.get(key, ()):
                if type_url not in known.session.subscriptions:
                    return known, 0.0
        rendition = self._rendition(node, variant, type_url)
        client = Client(node, feed, peer=peer, variant=name, timings=self._store.timings, rendition=rendition)
        if type_url is not None:
            siblings = self._sessions.setdefault(key, [])
            siblings.append(client)
            client.join(siblings)
            if len(siblings) > 1:
                return client, 0.0  # it has been let in: each cluster's endpoints have a stream of their own
        delay_s = self._entrance.reserve(self._store.clock())
        if delay_s > 0:
            self._metrics.paced_streams.inc()
        return client, delay_s

    def _rendition(self, node: Node, variant: Variant, type_url: str | None) -> Rendition | None:
        if node.kind is NodeKind.GRPC:
            return self._for_grpc
        own = self._own_streams[variant.name] if type_url is not None else None
        if variant.name != SotwVariant.name or node.takes_wrappers:
            return own
        return lambda resource: _without_ttl(own(resource) if own is not None else resource)

    def _leave(self, client: Client) -> None:
        if client.is_connected:
            return
        for key, clients in list(self._sessions.items()):
            if client in clients:
                clients.remove(client)
                if not clients:
                    del self._sessions[key]


def _without_ttl(resource: Resource) -> Resource:
    return replace(resource, ttl_s=0.0) if resource.ttl_s else resource


def presented(context: Context) -> Presented:
    """The client certificate's names, as gRPC has verified them, and the bearer token."""
    proven = context.auth_context()
    names = [name.decode("utf-8", "replace") for key in ("peer_uri", "peer_dns") for name in proven.get(key, ())]
    token = ""
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and isinstance(value, str) and value.startswith("Bearer "):
            token = value.removeprefix("Bearer ")
    return Presented(names, token)
