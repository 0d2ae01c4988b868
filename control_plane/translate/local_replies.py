"""Envoy's own replies as application/problem+json (RFC 9457).

Every mapper is bound to the reasons (`response.code_details`) for which Envoy itself answers: one without such a
filter would also rewrite denials of ext_authz, cache hits and direct responses. A gRPC caller gets the detail as
grpc-message beside the grpc-status that Envoy derives from the status code.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import base_pb2, substitution_format_string_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.access_loggers.filters.cel.v3 import cel_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.type.matcher.v3 import string_pb2
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import UInt32Value

from control_plane.translate.messages import formatted_header, header, packed
from control_plane.translate.names import BODY_TOO_LARGE_RULE

URN = "urn:meetinity:"
CONTENT_TYPE = "application/problem+json"
_DEADLINE_EXCEEDED, _RESOURCE_EXHAUSTED = 4, 8
_TITLES = {
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    408: "Request Timeout",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
"""The reason phrases of RFC 9110, which http.HTTPStatus words differently from one Python to the next."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of reply of Envoy itself."""

    name: str
    status: int
    detail: str
    reasons: tuple[str, ...] = ()
    """Values of response.code_details (envoy/source/common/stream_info/utility.h and the codecs)."""
    reason_prefixes: tuple[str, ...] = ()
    condition: str = ""
    """More that has to hold, in CEL."""
    is_before_request_id: bool = False
    """Refused before Envoy gives requests their ids; the reply gets one of its own."""
    grpc_status: int | None = None
    """Where Envoy's own mapping of the status code says less than there is to say (grpc.github.io: status codes)."""

    @property
    def title(self) -> str:
        return _TITLES[self.status]

    @property
    def expression(self) -> str:
        details = "response.code_details"
        tests = [f"{details} in [{', '.join(map(_quoted, self.reasons))}]"] if self.reasons else []
        tests += [f"{details}.startsWith({_quoted(prefix)})" for prefix in self.reason_prefixes]
        reason = " || ".join(tests)
        return f"({reason}) && {self.condition}" if self.condition else reason


NOT_ENVOYS = ("direct_response", "ext_authz_denied", "ext_proc_cache")
"""Why Envoy answers in the place of a service without a fault: the reply of a route, of ext_authz, of the cache."""

PROBLEMS = (
    Problem("no-route", 404, "no route matches the request", ("route_not_found",)),
    Problem(
        "request-timeout",
        408,
        "the request did not arrive in time",
        ("request_overall_timeout", "request_header_timeout", "request_headers_timeout"),
    ),
    Problem(
        "request-timeout",
        408,
        "the request did not arrive in time",
        ("stream_idle_timeout",),
        (),
        "response.code == 408",
    ),
    Problem(
        "body-too-large",
        413,
        "the request's body is larger than this route allows",
        ("request_payload_too_large",),
        (f"rbac_access_denied_matched_policy[{BODY_TOO_LARGE_RULE}]",),
        grpc_status=_RESOURCE_EXHAUSTED,
    ),
    Problem(
        "headers-too-large",
        431,
        "the request's headers are larger or more than allowed",
        (
            "http1.headers_too_large",
            "http1.too_many_headers",
            "http2.too_many_headers",
            "http2.headers_too_large",
            "request_headers_too_large",
        ),
        is_before_request_id=True,
    ),
    Problem(
        "no-endpoints",
        503,
        "the service has no endpoint that can answer",
        ("no_healthy_upstream", "cluster_not_found"),
        ("no_healthy_upstream{",),
    ),
    Problem(
        "overloaded",
        503,
        "the gateway or the service is at its limit",
        ("overload", "overload_error_reset", "maintenance_mode", "upstream_reset_before_response_started{overflow}"),
    ),
    Problem(
        "upstream-reset",
        502,
        "the service could not be reached or closed the connection",
        (),
        ("upstream_reset_before_response_started", "upstream_remote_reset", "upstream_protocol_error"),
    ),
    Problem(
        "upstream-timeout",
        504,
        "the service did not answer in time",
        (
            "response_timeout",
            "upstream_response_timeout",
            "upstream_per_try_timeout",
            "upstream_per_try_idle_timeout",
            "upstream_max_stream_duration_reached",
            "max_duration_timeout",
            "stream_idle_timeout",
        ),
        grpc_status=_DEADLINE_EXCEEDED,
    ),
    Problem("auth-unavailable", 503, "the request could not be checked", ("ext_authz_error",)),
    Problem("processing-unavailable", 503, "the request could not be processed", (), ("ext_proc_error",)),
    Problem("forbidden", 403, "this route accepts no upgrades", ("upgrade_failed",)),
    Problem(
        "bad-request",
        400,
        "the request is malformed or its path is not allowed",
        (
            "path_normalization_failed",
            "missing_host_header",
            "missing_path_rejected",
            "absolute_path_rejected",
            "invalid_path",
            "original_ip_detection_failed",
        ),
        ("http1.", "http2.", "unexpected_underscore"),
        "response.code == 400",
        is_before_request_id=True,
    ),
)
"""The first one that fits counts."""


def local_reply_config() -> http_connection_manager_pb2.LocalReplyConfig:
    return http_connection_manager_pb2.LocalReplyConfig(
        mappers=[_untouched(), *(mapper for problem in PROBLEMS for mapper in _mappers(problem))]
    )


def _untouched() -> http_connection_manager_pb2.ResponseMapper:
    """Changes nothing: the first mapper that fits ends the search, and hits and denials fit none of the others.

    To evaluate all of these costs a cache hit about a sixth of Envoy's CPU time.
    """
    reasons = ", ".join(map(_quoted, NOT_ENVOYS))
    return http_connection_manager_pb2.ResponseMapper(filter=cel_filter(f"response.code_details in [{reasons}]"))


def _mappers(problem: Problem) -> Iterator[http_connection_manager_pb2.ResponseMapper]:
    grpc = accesslog_pb2.AccessLogFilter(
        and_filter=accesslog_pb2.AndFilter(filters=[_is_grpc(), cel_filter(problem.expression)])
    )
    grpc_status = [] if problem.grpc_status is None else [header("grpc-status", str(problem.grpc_status))]
    own_id = [formatted_header("x-request-id", "%UNIQUE_ID%")] if problem.is_before_request_id else []
    yield http_connection_manager_pb2.ResponseMapper(
        filter=grpc,
        headers_to_add=[*own_id, *grpc_status],
        status_code=UInt32Value(value=problem.status),
        body_format_override=substitution_format_string_pb2.SubstitutionFormatString(
            text_format_source=base_pb2.DataSource(inline_string=problem.detail)
        ),
    )
    yield http_connection_manager_pb2.ResponseMapper(
        filter=cel_filter(problem.expression),
        headers_to_add=own_id,
        status_code=UInt32Value(value=problem.status),
        body_format_override=substitution_format_string_pb2.SubstitutionFormatString(
            json_format=problem_json(problem), content_type=CONTENT_TYPE
        ),
    )


def problem_json(problem: Problem) -> Struct:
    """The body; Envoy fills in the request id and escapes it."""
    body = Struct()
    body.update(
        {
            "type": f"{URN}{problem.name}",
            "title": problem.title,
            "status": problem.status,
            "detail": problem.detail,
            "instance": "%RESP(x-request-id)%" if problem.is_before_request_id else "%REQ(x-request-id)%",
        }
    )
    return body


def cel_filter(expression: str) -> accesslog_pb2.AccessLogFilter:
    """A condition in CEL (https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/attributes)."""
    return accesslog_pb2.AccessLogFilter(
        extension_filter=accesslog_pb2.ExtensionFilter(
            name="envoy.access_loggers.extension_filters.cel",
            typed_config=packed(cel_pb2.ExpressionFilter(expression=expression)),
        )
    )


def _is_grpc() -> accesslog_pb2.AccessLogFilter:
    matcher = route_components_pb2.HeaderMatcher(
        name="content-type", string_match=string_pb2.StringMatcher(prefix="application/grpc")
    )
    return accesslog_pb2.AccessLogFilter(header_filter=accesslog_pb2.HeaderFilter(header=matcher))


def _quoted(text: str) -> str:
    return f"'{text}'"
