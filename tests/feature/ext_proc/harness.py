"""The real process behind a real control plane, and streams to it as Envoy opens them; no Envoy."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc_pb2

from control_plane.resource_types import NodeKind
from control_plane.snapshot import Resource, Snapshot
from protos.gateway.policy.v1 import processing_pb2
from tests.feature.ext_authz.harness import DEADLINE_S, GATEWAY, Process

PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
FRESH = {"content-length": "4", "cache-control": "max-age=60", "cache-tag": "t"}
Call = grpc.aio.StreamStreamCall[bytes, bytes]


def policy(name: str = "proc-1") -> processing_pb2.ProcessingPolicy:
    message = processing_pb2.ProcessingPolicy(name=name, gateway="edge")
    message.cache.scope = processing_pb2.CachePolicy.PUBLIC
    message.cache.max_body_bytes = 1 << 20
    message.cache.ttl.seconds = 60
    return message


def snapshot(*policies: processing_pb2.ProcessingPolicy) -> Snapshot:
    return Snapshot.of([Resource.of(each.name, each, frozenset({NodeKind.EXT_PROC})) for each in policies])


@asynccontextmanager
async def ext_proc(xds_address: str, *arguments: str) -> AsyncIterator[Process]:
    root = Path(__file__).parents[3]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ext_proc", "--xds-address", xds_address, "--gateway", GATEWAY),
        *("--address", "127.0.0.1:0", "--admin-address", "127.0.0.1:0", "--notice", "0", "--log-format", "json"),
        *arguments,
        stderr=subprocess.PIPE,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    running = Process(process)
    try:
        yield running
    finally:
        await running.end()


class Stream:
    """One HTTP exchange of an Envoy."""

    def __init__(self, channel: grpc.aio.Channel, policy_name: str) -> None:
        metadata = (("x-gateway-policy", policy_name), ("x-gateway-route", "items"))
        self.call: Call = channel.stream_stream(PROCESS)(metadata=metadata, timeout=DEADLINE_S, wait_for_ready=True)

    async def asks(self, path: str = "/a", method: str = "GET") -> ext_proc_pb2.ProcessingResponse:
        message = ext_proc_pb2.ProcessingRequest()
        fields = {":method": method, ":scheme": "http", ":authority": "h", ":path": path}
        for name, value in fields.items():
            message.request_headers.headers.headers.add(key=name, raw_value=value.encode())
        return await self.says(message.SerializeToString())

    async def responds(self, headers: Mapping[str, str], *, end: bool = False) -> ext_proc_pb2.ProcessingResponse:
        message = ext_proc_pb2.ProcessingRequest()
        for name, value in {":status": "200", **headers}.items():
            message.response_headers.headers.headers.add(key=name, raw_value=value.encode())
        message.response_headers.end_of_stream = end
        attributes = message.attributes["envoy.filters.http.ext_proc"]
        attributes.fields["response.code_details"].string_value = "via_upstream"
        return await self.says(message.SerializeToString())

    async def sends(self, body: bytes) -> ext_proc_pb2.ProcessingResponse:
        chunk = ext_proc_pb2.HttpBody(body=body, end_of_stream=True)
        return await self.says(ext_proc_pb2.ProcessingRequest(response_body=chunk).SerializeToString())

    async def says(self, message: bytes) -> ext_proc_pb2.ProcessingResponse:
        await self.call.write(message)
        return await self.hears()

    async def hears(self) -> ext_proc_pb2.ProcessingResponse:
        message = await self.call.read()
        assert isinstance(message, bytes), "the stream has ended"
        return ext_proc_pb2.ProcessingResponse.FromString(message)

    async def is_ended(self) -> bool:
        """Whether the service has said its last word, in good order."""
        return await self.call.read() is _END and await self.call.code() is grpc.StatusCode.OK

    async def fetches(self, path: str = "/a") -> None:
        """A whole miss that is stored."""
        await self.asks(path)
        await self.responds(FRESH)
        await self.sends(b"body")


_END: object = grpc.aio.EOF
