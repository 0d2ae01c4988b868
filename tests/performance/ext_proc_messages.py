"""What Envoy says to ext_proc and what constant servers answer, serialised once."""

from collections.abc import Mapping

from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.ext_proc.v3 import processing_mode_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2
from envoy.type.v3 import http_status_pb2

from protos.gateway.policy.v1 import processing_pb2

METHOD = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
POLICY = "proc-bench"
METADATA = (("x-gateway-policy", POLICY), ("x-gateway-route", "items"))
PASSING = b"/passing"
"""Begins the paths of requests that a constant server lets pass."""
HIT_BYTES = 1024
MISS_BYTES = 100 * 1024

_RESPONSE = {
    "content-type": "application/json; charset=utf-8",
    "etag": '"0123456789abcdef"',
    "x-powered-by": "the service",
}


def policy(*, shared: bool) -> processing_pb2.ProcessingPolicy:
    """A public cache."""
    message = processing_pb2.ProcessingPolicy(name=POLICY, gateway="bench")
    message.cache.scope = processing_pb2.CachePolicy.PUBLIC
    message.cache.max_body_bytes = 1 << 20
    message.cache.ttl.seconds = 3600
    if shared:
        message.cache.store.url_secret = "redis"
        message.cache.store.prefix = "bench:"
    return message


def request(path: str) -> bytes:
    """As a browser's, through Envoy."""
    headers = {
        ":method": "GET",
        ":scheme": "https",
        ":authority": "api.example.com",
        ":path": path,
        "accept": "application/json, text/plain, */*",
        "accept-encoding": "gzip, deflate, br, zstd",
        "accept-language": "en-GB,en;q=0.9,da;q=0.8",
        "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "x-forwarded-proto": "https",
        "x-request-id": "6ad4a4b5-b5c6-4ad4-8f3d-6c5d2a8d6b1e",
    }
    message = external_processor_pb2.ProcessingRequest()
    message.request_headers.headers.CopyFrom(_header_map(headers))
    message.request_headers.end_of_stream = True
    return message.SerializeToString()


def response(cache_control: str, size: int) -> bytes:
    message = external_processor_pb2.ProcessingRequest()
    headers = {":status": "200", **_RESPONSE, "cache-control": cache_control, "content-length": str(size)}
    message.response_headers.headers.CopyFrom(_header_map(headers))
    attributes = message.attributes["envoy.filters.http.ext_proc"]
    attributes.fields["response.code_details"].string_value = "via_upstream"
    return message.SerializeToString()


def body(size: int) -> bytes:
    chunk = external_processor_pb2.HttpBody(body=b'{"a": "some text"}' * (size // 18 + 1), end_of_stream=True)
    chunk.body = chunk.body[:size]
    return external_processor_pb2.ProcessingRequest(response_body=chunk).SerializeToString()


def _header_map(headers: Mapping[str, str]) -> base_pb2.HeaderMap:
    values = [base_pb2.HeaderValue(key=name, raw_value=value.encode()) for name, value in headers.items()]
    return base_pb2.HeaderMap(headers=values)


def _hit() -> bytes:
    answer = external_processor_pb2.ImmediateResponse(
        status=http_status_pb2.HttpStatus(code=http_status_pb2.OK), body=b"x" * HIT_BYTES
    )
    cached = {
        "date": "Sun, 29 Nov 2026 10:00:00 GMT",
        "cache-control": "max-age=3600",
        "age": "1",
        "cache-status": "bench; hit; ttl=3599",
    }
    for name, value in {**_RESPONSE, **cached}.items():
        answer.headers.set_headers.add(header=base_pb2.HeaderValue(key=name, raw_value=value.encode()))
    return external_processor_pb2.ProcessingResponse(immediate_response=answer).SerializeToString()


def _watch() -> bytes:
    message = external_processor_pb2.ProcessingResponse(request_headers=external_processor_pb2.HeadersResponse())
    message.mode_override.response_header_mode = processing_mode_pb2.ProcessingMode.SEND
    return message.SerializeToString()


HIT = _hit()
WATCH = _watch()
CONTINUE = external_processor_pb2.ProcessingResponse(
    response_headers=external_processor_pb2.HeadersResponse()
).SerializeToString()
