"""The floor: callout services that decide nothing: constant bytes, no parsing, on grpc.aio or on our own transport.

python -m tests.performance.empty_callouts ext_authz 127.0.0.1:9001 [--transport own]
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import external_auth_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2
from envoy.type.v3 import http_status_pb2

from gateway_runtime.grpc_server import GrpcServer, serve
from gateway_runtime.http2.connection import Call, Open
from gateway_runtime.http2.methods import Unary
from gateway_runtime.http2.server import Http2Server
from gateway_runtime.process import raise_on_signal, run

BODY_BYTES = 1024
"""Size of the body that the ext_proc handler and the cached upstream answer with."""


def allow() -> bytes:
    """A CheckResponse that lets every request pass and changes nothing."""
    response = external_auth_pb2.CheckResponse(ok_response=external_auth_pb2.OkHttpResponse())
    response.status.code = 0
    return response.SerializeToString()


def immediate_response() -> bytes:
    """A ProcessingResponse that ends the exchange with 200 and a body of BODY_BYTES."""
    content_type = base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key="content-type", raw_value=b"application/octet-stream")
    )
    answer = external_processor_pb2.ImmediateResponse(
        status=http_status_pb2.HttpStatus(code=http_status_pb2.OK), body=b"x" * BODY_BYTES
    )
    answer.headers.set_headers.append(content_type)
    return external_processor_pb2.ProcessingResponse(immediate_response=answer).SerializeToString()


def header_changes() -> bytes:
    """A ProcessingResponse that sets one request header, removes another, and lets the request pass."""
    answer = external_processor_pb2.ProcessingResponse()
    mutation = answer.request_headers.response.header_mutation
    mutation.remove_headers.append("x-debug")
    mutation.set_headers.add(header=base_pb2.HeaderValue(key="x-injected", raw_value=b"1"), keep_empty_value=True)
    return answer.SerializeToString()


_ANSWERS = {"body": immediate_response, "headers": header_changes}
"""What an empty ext_proc handler says to everything."""


def authorization_handler() -> grpc.GenericRpcHandler:
    answer = allow()

    async def check(_request: bytes, _context: object) -> bytes:
        return answer

    return grpc.method_handlers_generic_handler(
        "envoy.service.auth.v3.Authorization", {"Check": grpc.unary_unary_rpc_method_handler(check)}
    )


def processor_handler(answer: bytes) -> grpc.GenericRpcHandler:

    async def process(requests: AsyncIterator[bytes], _context: object) -> AsyncIterator[bytes]:
        async for _request in requests:
            yield answer
            return

    return grpc.method_handlers_generic_handler(
        "envoy.service.ext_proc.v3.ExternalProcessor", {"Process": grpc.stream_stream_rpc_method_handler(process)}
    )


class AnswerOnce:
    """Ends each stream with the same message."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def __call__(self, _call: Call) -> "AnswerOnce":
        return self

    def receive(self, call: Call, _message: bytes) -> None:
        call.reply(self._answer)

    def half_close(self, call: Call) -> None:
        call.finish()

    def cancel(self, _call: Call) -> None:
        pass


def own_methods(kind: str, answer: bytes) -> dict[str, Open]:
    allowed = allow()
    if kind == "ext_authz":
        return {"/envoy.service.auth.v3.Authorization/Check": Unary(lambda _message, _call: allowed)}
    return {"/envoy.service.ext_proc.v3.ExternalProcessor/Process": AnswerOnce(answer)}


async def serve_own(kind: str, address: str, answer: bytes) -> None:
    server = Http2Server(own_methods(kind, answer))
    server.bind(address, name="empty callout")
    await server.set_serving(True)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve(drain_s=0), name="http2")
        tasks.create_task(raise_on_signal(), name="signals")


async def serve_handler(handler: grpc.GenericRpcHandler, address: str) -> None:
    server = GrpcServer()
    server.server.add_generic_rpc_handlers((handler,))
    server.bind(address, name="empty callout")
    await server.set_serving(True)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(server, drain_s=0), name="grpc")
        tasks.create_task(raise_on_signal(), name="signals")


def main() -> int:
    parser = argparse.ArgumentParser(description="A callout service that decides nothing.")
    parser.add_argument("kind", choices=["ext_authz", "ext_proc"])
    parser.add_argument("address", help="HOST:PORT")
    parser.add_argument("--transport", choices=["grpcio", "own"], default="grpcio")
    parser.add_argument("--answer", choices=sorted(_ANSWERS), default="body", help="of an ext_proc handler")
    arguments = parser.parse_args()
    answer = _ANSWERS[arguments.answer]()
    if arguments.transport == "own":
        return run(lambda: serve_own(arguments.kind, arguments.address, answer))
    handler = authorization_handler() if arguments.kind == "ext_authz" else processor_handler(answer)
    return run(lambda: serve_handler(handler, arguments.address))


if __name__ == "__main__":
    sys.exit(main())
