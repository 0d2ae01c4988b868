"""Envoy's access log service over gRPC: bytes in, counted at once, nothing kept."""

from collections.abc import AsyncIterator, Iterable
from urllib.parse import unquote

import grpc
from envoy.service.accesslog.v3 import als_pb2
from google.protobuf.message import DecodeError

from control_plane.analytics.metrics import Metrics
from control_plane.analytics.worker import Sender, Worker
from gateway_runtime.telemetry import logger

SERVICE = "envoy.service.accesslog.v3.AccessLogService"
Message = als_pb2.StreamAccessLogsMessage
_ANSWER = als_pb2.StreamAccessLogsResponse().SerializeToString()


class Receiver:
    """An Envoy holds a stream for each of its worker threads; the first message says who it is."""

    def __init__(self, worker: Worker, metrics: Metrics) -> None:
        self._worker = worker
        self._metrics = metrics
        self._log = logger("analytics")

    def handlers(self) -> Iterable[grpc.GenericRpcHandler]:
        stream: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_unary_rpc_method_handler(self._stream)
        yield grpc.method_handlers_generic_handler(SERVICE, {"StreamAccessLogs": stream})

    async def _stream(self, messages: AsyncIterator[bytes], context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        self._metrics.streams.inc()
        try:
            await self._take(messages, peer_host(context.peer()))
        finally:
            self._metrics.streams.dec()
        return _ANSWER

    async def _take(self, messages: AsyncIterator[bytes], host: str) -> None:
        sender = Sender("", "", host)
        async for body in messages:
            try:
                message = Message.FromString(body)
            except DecodeError:
                self._metrics.refused.inc()
                continue
            if message.HasField("identifier"):
                node = message.identifier.node
                sender = Sender(node.id, node.cluster, host)
                self._log.debug("stream_opened", node=node.id, gateway=node.cluster)
            if message.HasField("http_logs"):
                self._worker.received(sender, message.http_logs.log_entry)
            else:
                self._metrics.refused.inc()


def peer_host(peer: str) -> str:
    """Of gRPC's `ipv4:127.0.0.1:5000` or `ipv6:%5B::1%5D:5000`; "" for a Unix socket."""
    kind, _, rest = unquote(peer).partition(":")
    return rest.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else ""
