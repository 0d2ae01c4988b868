"""Receives resources from the control plane: delta ADS over one stream that is opened again for ever.

What was received stays while the control plane is away; a new stream says which versions are known and gets only what
changed since.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Never

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import Message

from gateway_runtime.delta import DeltaClient, Rejected, ResourceSink
from gateway_runtime.telemetry import logger
from gateway_runtime.transport import PLAIN, Dialling, TransportFileError

__all__ = ["Rejected", "ResourceSink", "XdsClient"]

_METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
_CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # The back-off is ours: each attempt has a channel of its own, and so that it dials at once, a pool of its own.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
]
_BACKOFF_S = (0.1, 5.0)

_Call = grpc.aio.StreamStreamCall[Message, discovery_pb2.DeltaDiscoveryResponse]


class XdsClient:
    """Keeps sinks equal to what the control plane serves to this node."""

    def __init__(
        self,
        *,
        target: str,
        node_id: str,
        user_agent_name: str,
        cluster: str,
        sinks: Mapping[str, ResourceSink],
        on_ready: Callable[[], None],
        dialling: Dialling = PLAIN,
        jitter: Callable[[], float] = random.random,
        backoff_s: tuple[float, float] = _BACKOFF_S,
    ) -> None:
        """
        Args:
            target: of the control plane, as gRPC names it (`host:port`, `dns:///host:port`, `unix:/path`).
            node_id: unique among the nodes; shown in the control plane's status.
            user_agent_name: what kind of node this is; decides which resources it gets.
            cluster: name of the gateway, "" for all gateways of the control plane.
            sinks: by type URL; the first responses of a stream are applied in this order.
            on_ready: called once, after the first applied answer of every type.
            dialling: with which certificate or token.
            jitter: a number in [0, 1) that spreads reconnects.
            backoff_s: before the first reconnect, and at most; doubled in between.
        """
        self._target = target
        self._dialling = dialling
        node = base_pb2.Node(id=node_id, cluster=cluster, user_agent_name=user_agent_name)
        self.node = node
        self._state = DeltaClient(node, sinks)
        self._on_ready = on_ready
        self._jitter = jitter
        self._backoff_s = backoff_s
        self._channel: grpc.aio.Channel | None = None
        self._hurry = asyncio.Event()
        self._was_ready = False
        self._connected = False
        self._is_open = False
        """Whether there is a stream that takes requests; it may not have answered yet."""
        self._failures = 0
        self._waiting: dict[tuple[str, str], asyncio.Event] = {}
        self._outbox: deque[discovery_pb2.DeltaDiscoveryRequest] = deque()
        self._has_mail = asyncio.Event()
        self._log = logger("xds_client").bind(target=target)

    @property
    def is_connected(self) -> bool:
        """Whether the current stream has brought a response."""
        return self._connected

    async def run(self) -> Never:
        """Hold a stream open until cancelled; reconnect with jittered exponential back-off."""
        while True:
            reason = await self._attempt()
            self._note_disconnect(reason)
            first_s, longest_s = self._backoff_s
            delay_s = min(longest_s, first_s * 2 ** min(self._failures, 10))
            self._failures += 1
            await self._back_off(delay_s * (0.5 + self._jitter() / 2))

    async def _attempt(self) -> str:
        """Connect and work one stream; return why it broke."""
        self._hurry.clear()  # here, not before the pause: a name may be asked for while the last stream is still ending
        try:
            opened, metadata = self._dialling.channel(self._target, _CHANNEL_OPTIONS), self._dialling.metadata()
        except TransportFileError as error:
            return str(error)
        async with opened as channel:
            self._channel = channel
            open_stream = channel.stream_stream(
                _METHOD,
                request_serializer=discovery_pb2.DeltaDiscoveryRequest.SerializeToString,
                response_deserializer=discovery_pb2.DeltaDiscoveryResponse.FromString,
            )
            return await self._hold(open_stream(metadata=metadata))

    async def call(self, method: str, body: bytes, timeout_s: float = 5.0) -> bool:
        """Call another method of the control plane that the stream is connected to; whether that went well."""
        channel = self._channel
        if channel is None or not self._connected:
            return False
        unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        try:
            await unary(body, metadata=self._dialling.metadata(), timeout=timeout_s)
        except (grpc.aio.AioRpcError, grpc.aio.UsageError, TransportFileError, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and (task := asyncio.current_task()) and task.cancelling():
                raise
            self._log.debug("call_failed", method=method, reason=str(error))
            return False
        return True

    async def _back_off(self, delay_s: float) -> None:
        """Wait, but no longer once a resource is asked for.

        Whoever named it has heard of it from a control plane, so there is one to connect to, and a request waits.
        """
        if self._waiting:
            delay_s = min(delay_s, self._backoff_s[0])
        with suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._hurry.wait()

    async def request(self, type_url: str, name: str) -> None:
        """Return when the named resource is held; ask for it, once however many wait.

        It does not give up: the resource may be created later, and the caller bounds the waiting with
        `asyncio.timeout`.
        """
        if self._state.holds(type_url, name):
            return
        key = (type_url, name)
        arrived = self._waiting.get(key)
        if arrived is None:
            arrived = self._waiting[key] = asyncio.Event()
            if self._is_open:
                self._send(self._state.subscribe(type_url, name))
            else:
                self._hurry.set()
        await arrived.wait()

    async def _hold(self, call: _Call) -> str:
        """Work one stream until it breaks; return why it did."""
        self._outbox.clear()
        for request in self._state.open(self._waiting):
            self._send(request)
        self._is_open = True
        writer = asyncio.create_task(self._write(call), name="xds_client_writer")
        try:
            async for response in call:
                self._connected = True
                self._failures = 0
                self._receive(response)
            return f"closed by the control plane: {(await call.code()).name}"
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
        finally:
            self._connected = self._is_open = False
            call.cancel()
            writer.cancel()
            await asyncio.wait([writer])

    async def _write(self, call: _Call) -> None:
        """The only writer of a stream; a broken stream is the reader's to report."""
        try:
            while True:
                await self._has_mail.wait()
                self._has_mail.clear()
                while self._outbox:
                    await call.write(self._outbox.popleft())
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return

    def _send(self, request: discovery_pb2.DeltaDiscoveryRequest) -> None:
        self._outbox.append(request)
        self._has_mail.set()

    def _receive(self, response: discovery_pb2.DeltaDiscoveryResponse) -> None:
        for settled, answer in self._state.receive(response):
            self._send(answer)
            kind = settled.type_url.rpartition(".")[2]
            if answer.HasField("error_detail"):
                self._log.error("xds_response_rejected", type=kind, reason=answer.error_detail.message)
                continue
            self._log.debug(
                "xds_response_applied",
                type=kind,
                changed=len(settled.resources),
                removed=len(settled.removed_resources),
            )
            for resource in settled.resources:
                arrived = self._waiting.pop((settled.type_url, resource.name), None)
                if arrived is not None:
                    arrived.set()
        if self._state.is_complete and not self._was_ready:
            self._was_ready = True
            self._on_ready()

    def _note_disconnect(self, reason: str) -> None:
        """One line when it starts; the retries that follow are debug."""
        level = self._log.warning if self._failures == 0 else self._log.debug
        level("xds_disconnected", reason=reason, keeps_serving=self._was_ready)
