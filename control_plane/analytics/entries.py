"""One entry of Envoy's access log -> what is counted of it. Nothing else of a request is kept.

The consumer is who ext_authz has proven to call, as in the JSON access log: `user:` and the JWT's subject, else `key:`
and the id of the API key (or of the client that signs), else `anonymous`. The API version is the first or second
segment of the path as the client sent it if that looks like one (`/v2/users`, `/api/v1beta1/users`), else none.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from envoy.data.accesslog.v3 import accesslog_pb2

HttpEntry = accesslog_pb2.HTTPAccessLogEntry
EXT_AUTHZ_FILTER = "envoy.filters.http.ext_authz"
PATH_TAG = "path"
"""As translate.names says, which this process does not load for two names."""
ANONYMOUS = "anonymous"
OTHER = "(other)"
"""Consumers that are not told apart, since there are too many. A name holds a colon, so it is nobody's."""
MAX_NAME = 128
"""Characters; of a subject that is longer its beginning counts."""
_VERSION = re.compile(r"/(?:[^/]{1,64}/)?(v[0-9]{1,2}(?:(?:alpha|beta)[0-9]?)?)(?=/|$)")


_CONSUMERS = (("user:", "user"), ("key:", "api_key"))
"""What a name begins with, and the field of ext_authz's metadata that holds it."""


class Key(NamedTuple):
    """What requests are counted by."""

    gateway: str
    consumer: str
    route: str
    """"" for a request that no route took."""
    version: str
    """"" for a path without one."""
    status: int
    """0 if the client went away before there was one."""


@dataclass(frozen=True, slots=True)
class Deprecation:
    """What a deprecated route says of itself, as its headers have it."""

    since: str
    """A `Deprecation` header (RFC 9745)."""
    sunset: str
    """A `Sunset` header (RFC 8594), or ""."""
    successor: str
    """The target of a `Link` header, or ""."""


class Counted(NamedTuple):
    """What one entry adds."""

    key: Key
    duration_s: float
    bytes: int
    """Of the answer's body."""
    deprecation: Deprecation | None


def counted(gateway: str, entry: HttpEntry) -> Counted:
    """What counts of an entry from an Envoy of a gateway."""
    common, response = entry.common_properties, entry.response
    route, took = common.route_name, common.duration
    version = api_version(common.custom_tags.get(PATH_TAG, "")) if route else ""
    key = Key(gateway, consumer(common), route, version, response.response_code.value)
    headers = response.response_headers
    deprecation = _deprecation(dict(headers)) if headers else None
    return Counted(key, took.seconds + took.nanos * 1e-9, response.response_body_bytes, deprecation)


def consumer(common: accesslog_pb2.AccessLogCommon) -> str:
    """Who called."""
    metadata = common.metadata.filter_metadata
    if EXT_AUTHZ_FILTER in metadata:
        proven = metadata[EXT_AUTHZ_FILTER].fields
        for kind, field in _CONSUMERS:
            if field in proven and (name := proven[field].string_value):
                return kind + _name(name)
    return ANONYMOUS


def api_version(path: str) -> str:
    """Of a path without query."""
    if "/v" not in path:
        return ""
    found = _VERSION.match(path)
    return found[1] if found is not None else ""


def _name(text: str) -> str:
    """PostgreSQL takes no NUL."""
    return text[:MAX_NAME].replace("\x00", "\ufffd")


def _deprecation(headers: Mapping[str, str]) -> Deprecation | None:
    since = headers.get("deprecation", "")
    if not since:
        return None
    link = re.match(r"<([^>]{0,500})>", headers.get("link", ""))
    return Deprecation(_name(since), _name(headers.get("sunset", "")), _name(link[1]) if link is not None else "")
