"""Envoy's bootstraps of the bench, and the gateway.yaml that the measured gateways run."""

import base64
import json
from collections.abc import Mapping, Sequence
from hashlib import sha256

from tests.performance.empty_callouts import BODY_BYTES
from tests.performance.processes import HOST

JWT_SECRET = "a shared secret of the benchmark, 32 bytes or more"
API_KEY = "an API key of the benchmark"
JWT_ISSUER = "https://issuer.example"
JWT_AUDIENCE = "bench"

Json = Mapping[str, object]

_HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER: Json = {
    "name": "router",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
}
_HTTP2: Json = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
}


def upstream_bootstrap(port: int) -> str:
    """An Envoy that answers every request itself, with 200 and BODY_BYTES bytes."""
    route = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": "u" * BODY_BYTES}},
    }
    return _bootstrap([_listener("upstream", port, [_ROUTER], route)], [])


def plain_bootstrap(*, plain_port: int, jwt_port: int, upstream_port: int) -> str:
    """An Envoy with two listeners in front of the upstream: one bare, one with Envoy's own JWT filter."""
    route = {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}
    listeners = [
        _listener("plain", plain_port, [_ROUTER], route),
        _listener("jwt", jwt_port, [_jwt_authn(), _ROUTER], route),
    ]
    return _bootstrap(listeners, [_cluster("upstream", upstream_port)])


def ads_bootstrap(*, xds_port: int) -> str:
    """An Envoy that gets everything from a control plane."""
    ads = {"api_type": "DELTA_GRPC", "transport_api_version": "V3"}
    source = {"resource_api_version": "V3", "ads": {}}
    xds = {**_cluster("xds", xds_port), "typed_extension_protocol_options": _HTTP2}
    return json.dumps(
        {
            "node": {"id": "bench", "cluster": "bench"},
            "dynamic_resources": {
                "ads_config": {**ads, "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}]},
                "cds_config": source,
                "lds_config": source,
            },
            "static_resources": {"clusters": [xds]},
        }
    )


def gateway_yaml(*, port: int, upstream_port: int, authz_port: int, proc_port: int) -> str:
    """A gateway with one route for each cost: no callout, ext_authz by credential, ext_proc with a cache hit."""
    return f"""\
version: 1
name: bench
listeners: [{{name: public, address: {HOST}, port: {port}}}]
services:
  upstream: {{endpoints: [{{address: {HOST}, port: {upstream_port}}}]}}
auth:
  jwt:
    bench:
      issuer: {JWT_ISSUER}
      audiences: [{JWT_AUDIENCE}]
      algorithms: [HS256]
      secret: "{JWT_SECRET}"
      forward_claims: {{sub: x-user-id}}
  api_keys:
    bench: {{header: x-api-key, keys: [{{id: bench, sha256: {sha256(API_KEY.encode()).hexdigest()}}}]}}
rate_limits:
  per-user: {{rate: 1000000/second, key: [user]}}
  per-client: {{rate: 1000000/second, key: [client_ip]}}
callouts:
  ext_authz: {{endpoints: [{{address: {HOST}, port: {authz_port}}}], timeout: 5s}}
  ext_proc: {{endpoints: [{{address: {HOST}, port: {proc_port}}}], message_timeout: 5s, failure_mode: closed}}
routes:
  - {{name: open, match: {{path_prefix: /open}}, auth: none, service: upstream}}
  - name: authz
    match: {{path_prefix: /authz}}
    auth: {{any_of: [jwt.bench]}}
    rate_limits: [per-user]
    service: upstream
  - name: two-limits
    match: {{path_prefix: /two-limits}}
    auth: {{any_of: [jwt.bench]}}
    rate_limits: [per-client, per-user]
    service: upstream
  - name: api-key
    match: {{path_prefix: /api-key}}
    auth: {{any_of: [api_keys.bench]}}
    rate_limits: [per-user]
    service: upstream
  - {{name: cached, match: {{path_prefix: /cached}}, auth: none, cache: {{ttl: 1h}}, service: upstream}}
  - name: headers
    match: {{path_prefix: /headers}}
    auth: none
    transform: {{request: {{headers: {{set: {{x-injected: "1"}}, remove: [x-debug]}}}}}}
    service: upstream
access_log: {{path: /dev/null}}
"""


def gateway_yaml_with_jwt_authn(*, port: int, upstream_port: int) -> str:
    """The same gateway; Envoy's own JWT filter, where ext_authz stands, guards the route that needs no callout."""
    patch = {
        "type": "listeners",
        "name": "public",
        "op": "add",
        "path": f"/filter_chains/0/filters/1/typed_config/http_filters/{_BEFORE_EXT_AUTHZ}",
        "value": _jwt_authn("/open"),
    }
    own = gateway_yaml(port=port, upstream_port=upstream_port, authz_port=_NOBODY, proc_port=_NOBODY)
    return f"{own}envoy_patches: {json.dumps([patch])}\n"


_BEFORE_EXT_AUTHZ = 3
"""Behind the header mutation, the filter state and the limit of the body."""
_NOBODY = 1
"""A port that is not listened at: callouts that are not asked."""


def _bootstrap(listeners: Sequence[Json], clusters: Sequence[Json]) -> str:
    return json.dumps({"static_resources": {"listeners": listeners, "clusters": clusters}})


def _listener(name: str, port: int, filters: Sequence[Json], route: Json) -> Json:
    manager = {
        "@type": _HCM,
        "stat_prefix": name,
        "http_filters": filters,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }
    return {
        "name": name,
        "address": {"socket_address": {"address": HOST, "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def _cluster(name: str, port: int) -> Json:
    endpoint = {"endpoint": {"address": {"socket_address": {"address": HOST, "port_value": port}}}}
    return {
        "name": name,
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _jwt_authn(prefix: str = "/") -> Json:
    provider = {
        "issuer": JWT_ISSUER,
        "audiences": [JWT_AUDIENCE],
        "local_jwks": {"inline_string": json.dumps({"keys": [_symmetric_key()]})},
        "claim_to_headers": [{"header_name": "x-user-id", "claim_name": "sub"}],
    }
    return {
        "name": "jwt_authn",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"bench": provider},
            "rules": [{"match": {"prefix": prefix}, "requires": {"provider_name": "bench"}}],
        },
    }


def _symmetric_key() -> Json:
    encoded = base64.urlsafe_b64encode(JWT_SECRET.encode()).rstrip(b"=").decode()
    return {"kty": "oct", "alg": "HS256", "kid": "bench", "k": encoded}
