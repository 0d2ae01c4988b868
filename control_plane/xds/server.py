"""The xDS services: aggregated (ADS) and one per type, each state-of-the-world and incremental.

A stream has one reader, which feeds requests to subscriptions, and one writer, which asks the session for the next
response until there is none and then sleeps until something happened. Responses are bytes that all streams share.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import grpc
from envoy.config.core.v3 import config_source_pb2
from grpc.aio import ServicerContext

from control_plane.metrics import Metrics
from control_plane.resource_types import (
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    LISTENER,
    ROUTE_CONFIGURATION,
    SECRET,
    short_name,
)
from control_plane.translate.sources import with_own_streams
from control_plane.xds.access import STATUS, Access, Grant, NotAllowedError, Presented, UnauthenticatedError
from control_plane.xds.csds import client_status
from control_plane.xds.pacing import TokenBucket
from control_plane.xds.requests import BadRequestError, DeltaVariant, SotwVariant, Variant
from control_plane.xds.session import Node
from control_plane.xds.store import Client, Store, UnknownGatewayError
from control_plane.xds.subscription import Answer, Push
from gateway_runtime.telemetry import logger

_Context = ServicerContext[bytes, bytes]

_AGGREGATED = "envoy.service.discovery.v3.AggregatedDiscoveryService"
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
_REFUSED = tuple(_STATUS)


class _ShuttingDownError(Exception):
    """This replica ends; the client finds another one."""


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
        async def serve(_requests: object, context: _Context) -> None:
            await self._guarded(context, self._serve(context, variant(), type_url))

        return serve

    async def _guarded(self, context: _Context, work: Coroutine[None, None, R]) -> R:
        """What a client did wrong, or that this replica ends, becomes the status of its call."""
        try:
            return await work
        except _REFUSED as error:
            code = _STATUS[type(error)]
            self._metrics.refused_streams.labels(code.name).inc()
            self._log.warning("xds_stream_refused", peer=context.peer(), code=code.name, reason=str(error))
            await context.abort(code, str(error))
        except _ShuttingDownError:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the control plane is shutting down")

    async def _fetch_status(self, request: bytes, context: _Context) -> bytes:
        return await self._guarded(context, self._status(request, context))

    async def _stream_status(self, _requests: object, context: _Context) -> None:
        while isinstance(request := await context.read(), bytes):
            await context.write(await self._guarded(context, self._status(request, context)))

    async def _status(self, request: bytes, context: _Context) -> bytes:
        """Clients of the gateways that the caller's credential is good for."""
        grant = await self._access.grant(_presented(context))
        if STATUS not in grant.kinds:
            raise NotAllowedError(f"{grant.identity} may not see the status of clients")
        clients = [one for one in self._store.clients() if grant.covers(one.node.cluster)]
        return client_status(request, clients)

    async def _serve(self, context: _Context, variant: Variant, type_url: str | None) -> None:
        grant = await self._access.grant(_presented(context))
        first = await context.read()
        if not isinstance(first, bytes):
            return
        node = variant.node(first)
        await self._check(node, grant, context.peer())
        client = await self._client(node, context.peer(), variant, type_url)
        stream = _Stream(context, client, variant, type_url, self._store, self._metrics, self._closing)
        streams = self._metrics.streams.labels(node.kind.value, variant.name)
        streams.inc()
        self._log.info(
            "xds_stream_opened", node=node.id, cluster=node.cluster, kind=node.kind.value, variant=variant.name
        )
        try:
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
                raise _ShuttingDownError

    async def _client(self, node: Node, peer: str, variant: Variant, type_url: str | None) -> Client:
        """A client of its own for an aggregated stream; streams of single types share one per connection.

        A new one waits for its turn.
        """
        feed = await self._store.feed_for(node)
        key = (peer, node.id, node.cluster, variant.name)
        name = variant.name if type_url is not None else f"{variant.name} ADS"
        if type_url is not None:
            for known in self._sessions.get(key, ()):
                if type_url not in known.session.subscriptions:
                    return known
        rendition = self._own_streams[variant.name] if type_url is not None else None
        client = Client(node, feed, peer=peer, variant=name, timings=self._store.timings, rendition=rendition)
        if type_url is not None:
            self._sessions.setdefault(key, []).append(client)
        return client

    def _leave(self, client: Client) -> None:
        if client.is_connected:
            return
        for key, clients in list(self._sessions.items()):
            if client in clients:
                clients.remove(client)
                if not clients:
                    del self._sessions[key]


class _Stream:
    """One RPC."""

    def __init__(
        self,
        context: _Context,
        client: Client,
        variant: Variant,
        only_type: str | None,
        store: Store,
        metrics: Metrics,
        closing: asyncio.Event,
    ) -> None:
        self._context = context
        self._client = client
        self._variant = variant
        self._only_type = only_type
        self._store = store
        self._metrics = metrics
        self._closing = closing
        self._types: set[str] = set()
        self._wakeup = asyncio.Event()
        self._log = logger("xds").bind(node=client.node.id, cluster=client.node.cluster)

    async def run(self, first: bytes) -> None:
        """Serve until the client closes its side, breaks off, or asks for nonsense."""
        self._client.attach(self._wakeup)
        try:
            async with asyncio.TaskGroup() as tasks:
                writer = tasks.create_task(self._write(), name="xds_writer")
                await self._read(first)
                writer.cancel()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            for type_url in self._types:
                self._client.session.unsubscribe(type_url)
            self._client.detach(self._wakeup)
            self._client.wake()

    async def _read(self, first: bytes) -> None:
        message: object = first
        while isinstance(message, bytes):
            self._receive(message)
            message = await self._context.read()

    def _receive(self, message: bytes) -> None:
        now = self._store.clock()
        request = self._variant.parse(message, self._only_type)
        session = self._client.session
        self._client.catch_up(now)
        subscription = session.subscriptions.get(request.type_url)
        if subscription is None or request.type_url not in self._types:
            subscription = self._variant.subscription(request.type_url, self._store.timings.answer_s)
            session.subscribe(subscription)
            self._types.add(request.type_url)
            session.keep_unknown(request.type_url, request.initial_versions, now)
        answer = self._variant.apply(request, subscription, now)
        if answer is not None:
            self._note_answer(request.type_url, answer)
        self._client.wake()

    async def _write(self) -> None:
        while True:
            self._wakeup.clear()
            if self._closing.is_set():
                raise _ShuttingDownError
            now = self._store.clock()
            self._client.catch_up(now)
            push = self._client.session.take(self._types, now)
            if push is not None:
                self._note_push(push)
                await self._context.write(push.payload)
                if len(self._client.session.subscriptions) > len(self._types):
                    self._client.wake()  # streams of other types may have waited for this
            else:
                await self._sleep(self._client.session.deadline())

    async def _sleep(self, until: float | None) -> None:
        """Until something happened or that time of the store's clock has come."""
        if until is None:
            await self._wakeup.wait()
            return
        try:
            async with asyncio.timeout(max(0.0, until - self._store.clock())):
                await self._wakeup.wait()
        except TimeoutError:
            return

    def _note_push(self, push: Push) -> None:
        kind = short_name(push.type_url)
        self._metrics.pushes.labels(kind).inc()
        self._metrics.pushed_bytes.labels(kind).inc(len(push.payload))
        self._log.debug(
            "xds_push", type=kind, version=push.version, changed=len(push.changed), removed=len(push.removed)
        )

    def _note_answer(self, type_url: str, answer: Answer) -> None:
        kind = short_name(type_url)
        self._client.note_answer(type_url, answer)
        self._metrics.ack_seconds.labels(kind).observe(answer.latency_s)
        if answer.error is None:
            self._metrics.acks.labels(kind).inc()
        else:
            self._metrics.nacks.labels(kind).inc()
            self._log.error("xds_nack", type=kind, version=answer.version, reason=answer.error)
        self._store.on_service_progress(self._client)
