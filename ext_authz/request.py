"""CheckRequest -> what a decision looks at. Parsed once by upb; a field that no rule asks for is never touched."""

from collections.abc import Mapping
from urllib.parse import unquote_plus

from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import attribute_context_pb2, external_auth_pb2

CLIENT_IP_HEADER = "x-gateway-client-ip"
"""Overwritten by Envoy with the trusted client address; the only thing that tells it."""


class Request:
    """One HTTP request as Envoy describes it."""

    __slots__ = ("_http", "encoding", "headers", "path", "policy", "route")

    def __init__(self, policy: str, route: str, http: attribute_context_pb2.AttributeContext.HttpRequest) -> None:
        self.policy = policy
        """Name of the policy, "" if the route names none."""
        self.route = route
        raw = http.HasField("header_map")
        self.headers: Mapping[str, str] = _joined(http.header_map) if raw else http.headers
        """By lower-case name. A header that came several times is joined by commas, whatever form Envoy sends."""
        self.encoding = "latin-1" if raw else "utf-8"
        """That turns a value of `headers` into the bytes that were sent."""
        self.path: str = http.path
        """As the client sent it after Envoy's normalisation, with the query."""
        self._http = http

    @property
    def method(self) -> str:
        return self._http.method

    @property
    def id(self) -> str:
        """x-request-id; HttpRequest.id is a number of Envoy's own."""
        return self.headers.get("x-request-id", "")

    @property
    def client_ip(self) -> str:
        """As Envoy tells it, "" if it does not."""
        return self.headers.get(CLIENT_IP_HEADER, "")

    @property
    def is_grpc(self) -> bool:
        return self.headers.get("content-type", "").lower().startswith("application/grpc")

    def cookies(self, name: str) -> list[str]:
        """Every value of that cookie, in order."""
        return [value for key, value in _cookie_pairs(self.headers.get("cookie", "")) if key == name]

    def cookies_without(self, names: frozenset[str]) -> str:
        """The Cookie header's value without these cookies."""
        pairs = _cookie_pairs(self.headers.get("cookie", ""))
        return "; ".join(f"{key}={value}" for key, value in pairs if key not in names)

    def query_values(self, name: str) -> list[str]:
        """Every value of that query parameter, percent-decoded, in order."""
        query = self.path.partition("?")[2]
        if name not in query and "%" not in query and "+" not in query:
            return []
        pairs = (pair.partition("=") for pair in query.split("&"))
        return [unquote_plus(value) for key, _, value in pairs if unquote_plus(key) == name]


def _cookie_pairs(header: str) -> list[tuple[str, str]]:
    pairs = (pair.partition("=") for pair in header.split(";"))
    return [(key.strip(), value.strip()) for key, equals, value in pairs if equals]


def parse(message: bytes) -> Request:
    """Raises google.protobuf.message.DecodeError for bytes that are no CheckRequest."""
    attributes = external_auth_pb2.CheckRequest.FromString(message).attributes
    extensions = attributes.context_extensions
    return Request(extensions.get("policy", ""), extensions.get("route", ""), attributes.request.http)


def _joined(header_map: base_pb2.HeaderMap) -> dict[str, str]:
    """The raw form (encode_raw_headers) in that of the map: latin-1 keeps every byte and never fails."""
    headers: dict[str, str] = {}
    for header in header_map.headers:
        name = header.key
        value = header.raw_value.decode("latin-1") or header.value
        if name in headers:
            separator = "; " if name == "cookie" else ","
            value = f"{headers[name]}{separator}{value}"
        headers[name] = value
    return headers
