"""One open xDS stream.

It has one reader, which feeds requests to subscriptions, and one writer, which asks the session for the next response
until there is none and then sleeps until something happened. Responses are bytes that all streams share.
"""

import asyncio

from grpc.aio import ServicerContext

from control_plane.metrics import Metrics
from control_plane.resource_types import short_name
from control_plane.xds.requests import Variant
from control_plane.xds.store import Client, Store
from control_plane.xds.subscription import Answer, Push
from gateway_runtime.telemetry import logger
from gateway_runtime.tracing import Parent

Context = ServicerContext[bytes, bytes]


class ShuttingDownError(Exception):
    """This replica ends; the client finds another one."""


class Stream:
    """One RPC."""

    def __init__(
        self,
        context: Context,
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
        self._causes: dict[str, Parent | None] = {}
        """The publication that the last response of each type followed from."""
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
                raise ShuttingDownError
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
        self._causes[push.type_url] = self._store.traces.cause(self._client.feed.name)
        metrics = self._metrics.of_type(kind)
        metrics.pushes.inc()
        metrics.pushed_bytes.inc(len(push.payload))
        self._log.info(
            "xds_push", type=kind, version=push.version, changed=len(push.changed), removed=len(push.removed)
        )

    def _note_answer(self, type_url: str, answer: Answer) -> None:
        kind = short_name(type_url)
        self._client.note_answer(type_url, answer)
        trace_id = self._store.traces.answered(self._client.node, type_url, answer, self._causes.get(type_url))
        metrics = self._metrics.of_type(kind)
        metrics.ack_seconds.observe(answer.latency_s, {"trace_id": trace_id} if trace_id else None)
        if answer.error is None:
            metrics.acks.inc()
        else:
            metrics.nacks.inc()
            self._log.error("xds_nack", type=kind, version=answer.version, reason=answer.error)
        self._store.on_service_progress(self._client)
