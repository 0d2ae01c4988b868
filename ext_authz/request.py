"""CheckRequest -> what a decision looks at. Parsed once by upb; a field that no rule asks for is never touched."""

from collections.abc import Sequence
from urllib.parse import unquote_plus

from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import attribute_context_pb2, external_auth_pb2

CLIENT_IP_HEADER = "x-gateway-client-ip"
"""Overwritten by Envoy with the trusted client address; the only thing that tells it."""

PARTIAL_BODY_HEADER = "x-envoy-auth-partial-body"
"""Envoy's own, in the check alone; a client's is removed before."""


class Request:
    """One HTTP request as Envoy describes it."""

    __slots__ = ("_http", "_raw", "path", "policy", "route")

    def __init__(self, policy: str, route: str, http: attribute_context_pb2.AttributeContext.HttpRequest) -> None:
        self.policy = policy
        """Name of the policy, "" if the route names none."""
        self.route = route
        self.path: str = http.path
        """As the client sent it after Envoy's normalisation, with the query."""
        self._http = http
        self._raw = _raw(http.header_map) if http.HasField("header_map") else None

    def header(self, name: str) -> str | None:
        """By lower-case name. A header that came several times is joined by commas, whatever form Envoy sends."""
        if self._raw is None:
            return self._http.headers.get(name)
        value = self._raw.get(name)
        return None if value is None else value.decode("latin-1")  # keeps every byte and never fails

    def header_bytes(self, name: str) -> bytes | None:
        """The same as it was sent."""
        if self._raw is not None:
            return self._raw.get(name)
        value = self._http.headers.get(name)
        return None if value is None else value.encode()

    @property
    def method(self) -> str:
        return self._http.method

    @property
    def host(self) -> str:
        """The Host header, or :authority, with its port if it has one."""
        return self._http.host

    def header_lines(self, name: str) -> Sequence[bytes]:
        """The values of that header, one an entry; the form of the map cannot tell lines from commas."""
        if self._raw is None:
            value = self._http.headers.get(name)
            return [] if value is None else [value.encode()]
        return [line.raw_value for line in self._http.header_map.headers if line.key == name]

    def whole_body(self) -> bytes | None:
        """The request's body to the byte; None if Envoy sent less, or something else, than it will forward.

        `body` is text in which every octet that is no UTF-8 became `!`; bodies of upgrades are not sent at all.
        """
        http = self._http
        body = http.raw_body
        if http.body or http.size > len(body) or self.header(PARTIAL_BODY_HEADER) == "true":
            return None
        if self.header("content-length") not in (None, str(len(body))):
            return None
        if self.header("upgrade") is not None and self.header("transfer-encoding") is not None:
            return None
        return body

    @property
    def id(self) -> str:
        """x-request-id; HttpRequest.id is a number of Envoy's own."""
        return self.header("x-request-id") or ""

    @property
    def client_ip(self) -> str:
        """As Envoy tells it, "" if it does not."""
        return self.header(CLIENT_IP_HEADER) or ""

    @property
    def is_grpc(self) -> bool:
        return (self.header("content-type") or "").lower().startswith("application/grpc")

    def cookies(self, name: str) -> list[str]:
        """Every value of that cookie, in order."""
        return [value for key, value in self._cookie_pairs() if key == name]

    def cookies_without(self, names: frozenset[str]) -> bytes:
        """The Cookie header's value without these cookies."""
        rest = "; ".join(f"{key}={value}" for key, value in self._cookie_pairs() if key not in names)
        return rest.encode("utf-8" if self._raw is None else "latin-1")

    def _cookie_pairs(self) -> list[tuple[str, str]]:
        pairs = (pair.partition("=") for pair in (self.header("cookie") or "").split(";"))
        return [(key.strip(), value.strip()) for key, equals, value in pairs if equals]

    def query_values(self, name: str) -> list[str]:
        """Every value of that query parameter, percent-decoded, in order."""
        return [unquote_plus(value) for _, value in self._parameters(name)]

    def query_spellings(self, name: str) -> set[str]:
        """How that parameter's name stands in the query, where it does: `%74oken` is `token` too."""
        return {key for key, _ in self._parameters(name)}

    def _parameters(self, name: str) -> list[tuple[str, str]]:
        """Each as it was sent."""
        query = self.path.partition("?")[2]
        if name not in query and "%" not in query and "+" not in query:
            return []
        pairs = (pair.partition("=") for pair in query.split("&"))
        return [(key, value) for key, _, value in pairs if unquote_plus(key) == name]


def parse(message: bytes) -> Request:
    """Raises google.protobuf.message.DecodeError for bytes that are no CheckRequest."""
    attributes = external_auth_pb2.CheckRequest.FromString(message).attributes
    extensions = attributes.context_extensions
    return Request(extensions.get("policy", ""), extensions.get("route", ""), attributes.request.http)


def _raw(header_map: base_pb2.HeaderMap) -> dict[str, bytes]:
    """The form of encode_raw_headers by name, lines of one name joined as Envoy joins them in the map."""
    lines = header_map.headers
    headers = {line.key: line.raw_value for line in lines}
    return headers if len(headers) == len(lines) else _joined(header_map)


def _joined(header_map: base_pb2.HeaderMap) -> dict[str, bytes]:
    headers: dict[str, bytes] = {}
    for line in header_map.headers:
        if line.key in headers:
            separator = b"; " if line.key == "cookie" else b","
            headers[line.key] += separator + line.raw_value
        else:
            headers[line.key] = line.raw_value
    return headers
