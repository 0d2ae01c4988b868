"""The access log: one JSON object a request, as the contract lists its members."""

import json
from collections.abc import Iterator, Mapping, Sequence

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import substitution_format_string_pb2
from envoy.extensions.access_loggers.file.v3 import file_pb2
from envoy.extensions.access_loggers.stream.v3 import stream_pb2
from google.protobuf.struct_pb2 import Struct

from control_plane.translate import names
from control_plane.translate.analytics import grpc_access_log
from control_plane.translate.local_replies import cel_filter
from control_plane.translate.messages import packed
from control_plane.translate.scope import ListenerScope


def _first_of(*operators: tuple[str, str]) -> str:
    """The first operator that has a value; requests that are refused early have no id and no filter state."""
    listed = [{"command": command, "param": parameter} for command, parameter in operators]
    return f"%COALESCE({json.dumps({'operators': listed})})%"


_AUTHZ = f"%DYNAMIC_METADATA({names.EXT_AUTHZ_FILTER}:{{}})%"
FORMAT = {
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "request_id": _first_of(("REQ", "x-request-id"), ("RESP", "x-request-id")),
    "method": "%REQ(:method)%",
    "path": _first_of(("FILTER_STATE", f"{names.REQUEST_PATH_STATE}:PLAIN"), ("PATH", "NQ:PATH")),
    "route": "%ROUTE_NAME%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "duration_ms": "%DURATION%",
    "upstream": "%UPSTREAM_HOST%",
    "upstream_duration_ms": "%COMMON_DURATION(US_TX_BEG:US_RX_BEG:ms)%",
    "bytes": "%BYTES_SENT%",
    "client_ip": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "user": _AUTHZ.format("user"),
    "api_key": _AUTHZ.format("api_key"),
    "cache": f"%DYNAMIC_METADATA({names.EXT_PROC_METADATA}:cache)%",
    "rate_limit": _AUTHZ.format("rate_limit"),
    "trace_id": "%TRACE_ID%",
    "user_agent": "%REQ(user-agent)%",
}


def access_logs(scope: ListenerScope) -> Iterator[accesslog_pb2.AccessLog]:
    """The log of a listener, without the routes that want none; analytics gets the same requests.

    Two with one sink, of which each request is for one: Envoy's "-" for "no flags" would be no absent value.
    """
    flagged = accesslog_pb2.AccessLogFilter(response_flag_filter=accesslog_pb2.ResponseFlagFilter())
    yield _access_log(scope, FORMAT, flagged)
    yield _access_log(scope, {**FORMAT, "flags": None}, cel_filter("response.flags == 0"))
    yield from grpc_access_log(scope.gateway, scope.listener.name, _all_of(list(_route_filters(scope))))


def _access_log(
    scope: ListenerScope, members: Mapping[str, str | None], condition: accesslog_pb2.AccessLogFilter
) -> accesslog_pb2.AccessLog:
    json_format = Struct()
    json_format.update(members)
    log_format = substitution_format_string_pb2.SubstitutionFormatString(json_format=json_format)
    message = accesslog_pb2.AccessLog(filter=_all_of([condition, *_route_filters(scope)]))
    path = scope.gateway.access_log.path
    if path == "/dev/stdout":
        # Not a file: where a process may not reopen its own output (containers as non-root) that fails.
        message.name = "envoy.access_loggers.stdout"
        message.typed_config.CopyFrom(packed(stream_pb2.StdoutAccessLog(log_format=log_format)))
    else:
        message.name = "envoy.access_loggers.file"
        message.typed_config.CopyFrom(packed(file_pb2.FileAccessLog(path=path, log_format=log_format)))
    return message


def _all_of(filters: Sequence[accesslog_pb2.AccessLogFilter]) -> accesslog_pb2.AccessLogFilter | None:
    if len(filters) > 1:
        return accesslog_pb2.AccessLogFilter(and_filter=accesslog_pb2.AndFilter(filters=filters))
    return filters[0] if filters else None


def _route_filters(scope: ListenerScope) -> Iterator[accesslog_pb2.AccessLogFilter]:
    silent = sorted({route.name for route in scope.routes if not route.access_log})
    if silent:
        yield cel_filter(f"!has(xds.route_name) || !(xds.route_name in {json.dumps(silent)})")
