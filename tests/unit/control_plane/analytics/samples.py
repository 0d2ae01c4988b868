"""Log entries as Envoy sends them, and what they count as."""

from collections.abc import Mapping

from envoy.data.accesslog.v3 import accesslog_pb2

from control_plane.analytics.entries import EXT_AUTHZ_FILTER, PATH_TAG, Counted, Deprecation, HttpEntry, Key

DEPRECATION = Deprecation("@1788220800", "Wed, 01 Sep 2027 00:00:00 GMT", "/api/v2/users")


def entry(
    path: str = "/api/v1/users?token=s3cr3t",
    *,
    route: str = "users",
    status: int = 200,
    duration_ms: int = 12,
    size: int = 100,
    proven: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> HttpEntry:
    message = accesslog_pb2.HTTPAccessLogEntry()
    common = message.common_properties
    common.route_name = route
    common.duration.FromMilliseconds(duration_ms)
    if proven is not None:
        common.metadata.filter_metadata[EXT_AUTHZ_FILTER].update(dict(proven))
    common.custom_tags[PATH_TAG] = path.partition("?")[0]
    message.request.path = f"/rewritten/v99{path}"
    message.response.response_code.value = status
    message.response.response_body_bytes = size
    message.response.response_headers.update(dict(headers or {}))
    return message


def one(
    consumer: str = "user:alice",
    *,
    route: str = "users",
    version: str = "v1",
    status: int = 200,
    duration_s: float = 0.01,
    size: int = 10,
    deprecation: Deprecation | None = None,
    gateway: str = "edge",
) -> Counted:
    return Counted(Key(gateway, consumer, route, version, status), duration_s, size, deprecation)
