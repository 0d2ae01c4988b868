"""The access log: one JSON object a request, as the contract lists its members."""

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import substitution_format_string_pb2
from envoy.extensions.access_loggers.file.v3 import file_pb2
from envoy.extensions.access_loggers.stream.v3 import stream_pb2
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from control_plane.translate import names
from control_plane.translate.local_replies import cel_filter
from control_plane.translate.messages import packed
from control_plane.translate.scope import ListenerScope

_AUTHZ = f"%DYNAMIC_METADATA({names.EXT_AUTHZ_FILTER}:{{}})%"
FORMAT = {
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "request_id": "%REQ(x-request-id)%",
    "method": "%REQ(:method)%",
    "path": f"%FILTER_STATE({names.REQUEST_PATH_STATE}:PLAIN)%",
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


def access_log(scope: ListenerScope) -> accesslog_pb2.AccessLog:
    """The log of a listener, without the routes that want none."""
    json_format = Struct()
    json_format.update(FORMAT)
    log_format = substitution_format_string_pb2.SubstitutionFormatString(json_format=json_format)
    path = scope.gateway.access_log.path
    sink: Message
    if path == "/dev/stdout":
        # Not a file: where a process may not reopen its own output (containers as non-root) that fails.
        sink = stream_pb2.StdoutAccessLog(log_format=log_format)
        name = "envoy.access_loggers.stdout"
    else:
        sink = file_pb2.FileAccessLog(path=path, log_format=log_format)
        name = "envoy.access_loggers.file"
    message = accesslog_pb2.AccessLog(name=name, typed_config=packed(sink))
    silent = sorted({route.name for route in scope.routes if not route.access_log})
    if silent:
        listed = ", ".join(f"'{route}'" for route in silent)
        message.filter.CopyFrom(cel_filter(f"!(xds.route_name in [{listed}])"))
    return message
