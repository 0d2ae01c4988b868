"""Names that several resources share: clusters, filters, headers, metadata namespaces, secrets.

What a name means to another process (ext_authz, ext_proc, the access log) is said here and nowhere else.
"""

import hashlib

EXT_AUTHZ_CLUSTER = "callout:ext_authz"
EXT_PROC_CLUSTER = "callout:ext_proc"
OTLP_CLUSTER = "tracing:otlp"
ANALYTICS_CLUSTER = "analytics:access_log"
ENVOYS_CLUSTER = "gateway:envoys"
"""Service names cannot hold a colon, so these clusters never clash with one."""

HEADER_MUTATION_FILTER = "envoy.filters.http.header_mutation"
REQUEST_PATH_FILTER = "envoy.filters.http.set_filter_state.path"
CORS_FILTER = "envoy.filters.http.cors"
BODY_LENGTH_FILTER = "envoy.filters.http.rbac.body_length"
EXT_AUTHZ_FILTER = "envoy.filters.http.ext_authz"
"""Also the namespace of the dynamic metadata that ext_authz answers with."""
EXT_AUTHZ_OTHER_MODE_FILTER = "envoy.filters.http.ext_authz.other_failure_mode"
BUFFER_FILTER = "envoy.filters.http.buffer"
IDENTITY_FILTER = "envoy.filters.http.set_filter_state.identity"
EXT_PROC_FILTER = "envoy.filters.http.ext_proc"
ROUTER_FILTER = "envoy.filters.http.router"

EXT_PROC_METADATA = "meetinity.ext_proc"
"""Namespace of the dynamic metadata that ext_proc answers with."""

CLIENT_IP_HEADER = "x-gateway-client-ip"
"""The client's address as the connection manager determined it; set by us, never a client's, never sent upstream."""
POLICY_METADATA = "x-gateway-policy"
ROUTE_METADATA = "x-gateway-route"
"""gRPC metadata of an ext_proc stream: the ProcessingPolicy and the route."""
POLICY_EXTENSION = "policy"
ROUTE_EXTENSION = "route"
"""Context extensions of an ext_authz check: the AuthzPolicy and the route."""

REQUEST_PATH_STATE = "meetinity.request_path"
"""Filter state: the path as the client sent it, normalised, without query; rewrites come later."""
PATH_TAG = "path"
"""Custom tag of an entry of the gRPC access log: the same path."""
IDENTITY_STATE = "meetinity.identity"
"""Filter state: the proven identity, hashed by services whose key is `user`."""

BODY_TOO_LARGE_RULE = "body-too-large"

OWN_RESPONSE_HEADERS = (
    "age",
    "cache-status",
    "deprecation",
    "link",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "sunset",
    "www-authenticate",
    "x-request-id",
)
"""What the gateway itself may set on an answer; browsers are always told that scripts may read them."""


def digest(*parts: bytes) -> str:
    """64 bits of SHA-256 over length-prefixed parts, as 16 hex digits: two different lists never share bytes."""
    state = hashlib.sha256()
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.hexdigest()[:16]


def secret_name(kind: str, *parts: bytes) -> str:
    """The name of an SDS Secret: what it is for and a digest of its content, so new content is a new Secret."""
    return f"{kind}:{digest(*parts)}"
