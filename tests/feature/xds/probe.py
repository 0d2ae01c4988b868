"""A client of an xDS server that does what a test tells it: subscribe, acknowledge, refuse, fall silent, come back."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Generic, TypeVar

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import Message
from google.rpc import status_pb2

from gateway_runtime.transport import PLAIN, Dialling

ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"

_Response = TypeVar("_Response", discovery_pb2.DiscoveryResponse, discovery_pb2.DeltaDiscoveryResponse)

LIMIT_S = 10.0
"""What should come comes within it; only failing tests wait so long."""


class _Probe(Generic[_Response]):
    """One stream."""

    def __init__(self, call: "grpc.aio.StreamStreamCall[Message, _Response]", node: base_pb2.Node) -> None:
        self.call: grpc.aio.StreamStreamCall[Message, _Response] = call
        self.last: dict[str, _Response] = {}
        self._node = node
        self._responses: AsyncIterator[_Response] = aiter(call)

    async def receive(self) -> _Response:
        """The next response."""
        async with asyncio.timeout(LIMIT_S):
            response: _Response = await anext(self._responses)
        self.last[response.type_url] = response
        return response

    async def status(self) -> tuple[grpc.StatusCode, str]:
        """How the server has ended the stream."""
        async with asyncio.timeout(LIMIT_S):
            return await self.call.code(), await self.call.details() or ""

    def _sender(self) -> base_pb2.Node | None:
        """The node, in the first request only."""
        node, self._node = self._node, base_pb2.Node()
        return node if node.ByteSize() else None


class SotwProbe(_Probe[discovery_pb2.DiscoveryResponse]):
    """State of the world."""

    async def subscribe(self, type_url: str, *names: str, version: str = "", nonce: str | None = None) -> None:
        last = self.last.get(type_url)
        await self._send(type_url, names, version or (last.version_info if last else ""), nonce)

    async def ack(self, type_url: str, *names: str) -> None:
        await self._send(type_url, names, self.last[type_url].version_info, None)

    async def nack(self, type_url: str, *names: str, reason: str = "bad") -> None:
        await self._send(type_url, names, "", None, reason)

    async def _send(
        self, type_url: str, names: Collection[str], version: str, nonce: str | None, error: str | None = None
    ) -> None:
        last = self.last.get(type_url)
        used = nonce if nonce is not None else (last.nonce if last else "")
        request = discovery_pb2.DiscoveryRequest(
            type_url=type_url,
            resource_names=names,
            version_info=version,
            response_nonce=used,
            node=self._sender(),
            error_detail=status_pb2.Status(code=3, message=error) if error is not None else None,
        )
        await self.call.write(request)


class DeltaProbe(_Probe[discovery_pb2.DeltaDiscoveryResponse]):
    """Incremental."""

    async def subscribe(
        self,
        type_url: str,
        *names: str,
        unsubscribe: Collection[str] = (),
        initial: Mapping[str, str] | None = None,
    ) -> None:
        request = discovery_pb2.DeltaDiscoveryRequest(
            type_url=type_url,
            resource_names_subscribe=names,
            resource_names_unsubscribe=unsubscribe,
            initial_resource_versions=initial or {},
            node=self._sender(),
        )
        await self.call.write(request)

    async def ack(self, type_url: str) -> None:
        nonce = self.last[type_url].nonce
        await self.call.write(discovery_pb2.DeltaDiscoveryRequest(type_url=type_url, response_nonce=nonce))

    async def nack(self, type_url: str, reason: str = "bad") -> None:
        request = discovery_pb2.DeltaDiscoveryRequest(
            type_url=type_url,
            response_nonce=self.last[type_url].nonce,
            error_detail=status_pb2.Status(code=3, message=reason),
        )
        await self.call.write(request)


def node(id: str = "probe", cluster: str = "meetinity", user_agent_name: str = "envoy") -> base_pb2.Node:
    return base_pb2.Node(id=id, cluster=cluster, user_agent_name=user_agent_name)


@asynccontextmanager
async def channel(address: str) -> AsyncIterator[grpc.aio.Channel]:
    """A connection of its own: probes on one channel are streams of one client."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(address, options=options) as opened:
        yield opened


def sotw(
    opened: grpc.aio.Channel, sender: base_pb2.Node | None = None, method: str = ADS + "StreamAggregatedResources"
) -> SotwProbe:
    call = opened.stream_stream(
        method,
        request_serializer=discovery_pb2.DiscoveryRequest.SerializeToString,
        response_deserializer=discovery_pb2.DiscoveryResponse.FromString,
    )()
    return SotwProbe(call, sender if sender is not None else node())


def delta(
    opened: grpc.aio.Channel, sender: base_pb2.Node | None = None, method: str = ADS + "DeltaAggregatedResources"
) -> DeltaProbe:
    call = opened.stream_stream(
        method,
        request_serializer=discovery_pb2.DeltaDiscoveryRequest.SerializeToString,
        response_deserializer=discovery_pb2.DeltaDiscoveryResponse.FromString,
    )()
    return DeltaProbe(call, sender if sender is not None else node())


async def code_of(address: str, method: str, request: bytes, dialling: Dialling = PLAIN) -> grpc.StatusCode:
    """How a stream of one request ends that the server may refuse before it has read it.

    With grpcio's synchronous client: that of grpc.aio says INTERNAL, whatever the server said, when the end of the
    stream overtakes a message on its way out (`set_internal_error` of grpc/aio/_call.py).
    """

    def ended() -> grpc.StatusCode:
        with _synchronous(address, dialling) as opened:
            multi: grpc.StreamStreamMultiCallable[bytes, bytes] = opened.stream_stream(method)
            call = multi(iter([request]), metadata=dialling.metadata(), timeout=LIMIT_S)
            with suppress(grpc.RpcError):
                deque(call, maxlen=0)
            code: grpc.StatusCode = call.code()
            return code

    return await asyncio.to_thread(ended)


def _synchronous(address: str, dialling: Dialling) -> grpc.Channel:
    options = [("grpc.use_local_subchannel_pool", 1)]
    if dialling.tls is None:
        return grpc.insecure_channel(address, options=options)
    material = dialling.tls.read()
    credentials = grpc.ssl_channel_credentials(material.ca, material.key, material.certificate)
    return grpc.secure_channel(address, credentials, options=options)
