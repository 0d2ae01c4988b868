"""The xDS services: aggregated (ADS) and one per type, each state-of-the-world and incremental.

A stream has one reader, which feeds requests to subscriptions, and one writer, which asks the session for the next
response until there is none and then sleeps until something happened. Responses are bytes that all streams share.
"""

import asyncio
from collections.abc import Callable, Sequence

import grpc
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

_STATUS = {
    BadRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    UnknownGatewayError: grpc.StatusCode.NOT_FOUND,
}


class _ShuttingDownError(Exception):
    """This replica ends; the client finds another one."""


class XdsServer:
    """Serves a store to every client that connects."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._closing = asyncio.Event()
        self._sessions: dict[tuple[str, str, str, str], list[Client]] = {}
        self._log = logger("xds")

    def handlers(self) -> Sequence[grpc.GenericRpcHandler]:
        """To be registered with a gRPC server."""
        by_service: dict[str, dict[str, grpc.RpcMethodHandler[bytes, bytes]]] = {}
        for service, method, variant, type_url in _METHODS:
            handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(
                self._handler(variant, type_url)
            )
            by_service.setdefault(service, {})[method] = handler
        return [grpc.method_handlers_generic_handler(service, methods) for service, methods in by_service.items()]

    def close(self) -> None:
        """End all streams: they would never end by themselves."""
        self._closing.set()
        for client in self._store.clients():
            client.wake()

    def _handler(self, variant: Callable[[], Variant], type_url: str | None) -> Callable[..., object]:
        async def serve(_requests: object, context: _Context) -> None:
            try:
                await self._serve(context, variant(), type_url)
            except (BadRequestError, UnknownGatewayError) as error:
                code = _STATUS[type(error)]
                self._metrics.refused_streams.labels(code.name).inc()
                self._log.warning("xds_stream_refused", peer=context.peer(), code=code.name, reason=str(error))
                await context.abort(code, str(error))
            except _ShuttingDownError:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the control plane is shutting down")

        return serve

    async def _serve(self, context: _Context, variant: Variant, type_url: str | None) -> None:
        first = await context.read()
        if not isinstance(first, bytes):
            return
        node = variant.node(first)
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

    async def _client(self, node: Node, peer: str, variant: Variant, type_url: str | None) -> Client:
        """A client of its own for an aggregated stream; streams of single types share one per connection."""
        feed = await self._store.feed_for(node)
        key = (peer, node.id, node.cluster, variant.name)
        name = variant.name if type_url is not None else f"{variant.name} ADS"
        if type_url is not None:
            for known in self._sessions.get(key, ()):
                if type_url not in known.session.subscriptions:
                    return known
        client = Client(node, feed, peer=peer, variant=name, timings=self._store.timings)
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
