"""Faults of listeners, services, auth, limits, stores, callouts: one case a rule."""

import pytest

from tests.unit.control_plane.config.documents import SECRET, document, faults, loaded

JWT = f'issuer: "https://i.test", algorithms: [HS256], secret: {SECRET}'
ENDPOINTS = "endpoints: [{address: 127.0.0.1, port: 8101}]"
DIGEST = "cd" * 32

LISTENERS = {
    "name_twice": (
        "{name: a, port: 10000}, {name: a, port: 10001, redirect: {scheme: https}}",
        "[1].name: 'a' is given twice (first in line 3)",
    ),
    "port_twice": (
        "{name: a, port: 10000}, {name: b, port: 10000, address: 127.0.0.1, redirect: {scheme: https}}",
        "[1].port: port 10000 is taken by the listener 'a'",
    ),
    "own_port": (
        "{name: a, port: 18000}",
        "[0].port: listener 'a': port 18000 is the gateway's own (the control plane's xDS; any other port)",
    ),
    "no_port": ("{name: a}", "[0].port: is missing (1 to 65535)"),
    "hostname": (
        "{name: a, port: 10000, address: localhost}",
        "[0].address: 'localhost' is not an IP address (0.0.0.0 is every interface, 127.0.0.1 this machine)",
    ),
    "client_ip": (
        "{name: a, port: 10000, client_ip: {trusted_hops: 1, proxy_protocol: true}}",
        "[0].client_ip.proxy_protocol: cannot stand beside trusted_hops "
        "(exactly one of trusted_hops, trusted_proxies, proxy_protocol)",
    ),
    "half_a_certificate": (
        "{name: a, port: 10000, tls: {certificate_file: a.crt}}",
        "[0].tls: lacks a half (certificate_file and private_key_file, or kubernetes_secret)",
    ),
    "client_ca_without_tls": (
        "{name: a, port: 10000, client_ca_file: ca.crt}",
        "[0].client_ca_file: asks for client certificates on a listener without TLS (add tls)",
    ),
    "kubernetes_secret": (
        "{name: a, port: 10000, tls: [{kubernetes_secret: tls}]}",
        "[0].tls[0].kubernetes_secret: 'tls' is not a Secret (namespace/name)",
    ),
    "headers_too_large": (
        "{name: a, port: 10000, limits: {request_headers: 9MiB}}",
        "[0].limits.request_headers: is out of range (1KiB to 8MiB)",
    ),
    "two_ports": ("{name: a, port: [1, 2]}", "[0].port: has to be a single value"),
}

SERVICES = {
    "no_kind": ("{protocol: http2}", "lacks its kind (exactly one of kubernetes, dns, endpoints, local)"),
    "two_kinds": (
        f"{{{ENDPOINTS}, dns: {{host: a, port: 1}}}}",
        "endpoints: cannot stand beside dns (exactly one of kubernetes, dns, endpoints, local)",
    ),
    "local_at_the_edge": (
        "{local: 8080}",
        "local: stands in sidecars only (mode: sidecar, or endpoints)",
    ),
    "hostname": (
        "{endpoints: [{address: users.internal, port: 8101}]}",
        "endpoints[0].address: 'users.internal' is not an IP address (for a host name: dns: {host: ..., port: ...})",
    ),
    "own_port": (
        "{endpoints: [{address: 127.0.0.1, port: 9001}]}",
        "endpoints[0].port: service 'users': port 9001 is the gateway's own (ext_authz; any other port)",
    ),
    "endpoint_twice": (
        "{endpoints: [{address: 10.0.0.1, port: 80}, {address: 10.0.0.1, port: 80}]}",
        "endpoints[1]: 10.0.0.1:80 is given twice (first in line 4)",
    ),
    "weights": (
        "{endpoints: [{address: 10.0.0.1, port: 80, weight: 0}]}",
        "endpoints: has only endpoints of weight 0 (at least one of 1 or more)",
    ),
    "algorithm": (
        f"{{{ENDPOINTS}, load_balancing: least_requests}}",
        "load_balancing: 'least_requests' is not allowed "
        "(round_robin, least_request, random, ring_hash, maglev; did you mean least_request?)",
    ),
    "ring_hash_without_key": (
        f"{{{ENDPOINTS}, load_balancing: ring_hash}}",
        "load_balancing: ring_hash needs a key ({ring_hash: {key: [cookie:session]}})",
    ),
    "hash_key": (
        f"{{{ENDPOINTS}, load_balancing: {{maglev: {{key: [session]}}}}}}",
        "load_balancing.maglev.key[0]: 'session' is not allowed (cookie:NAME, header:NAME, user, client_ip)",
    ),
    "health_path": (
        f"{{{ENDPOINTS}, health_check: {{path: health}}}}",
        "health_check.path: 'health' does not begin with / (/health)",
    ),
    "kubernetes_name": (
        "{kubernetes: {namespace: Meetinity, service: users, port: http}}",
        "kubernetes.namespace: 'Meetinity' is not a Kubernetes name (lower case letters, digits and -, at most 63)",
    ),
    "half_a_client_certificate": (
        f"{{{ENDPOINTS}, tls: {{private_key_file: a.key}}}}",
        "tls: lacks a half of the client certificate (certificate_file and private_key_file)",
    ),
}

PROVIDERS = {
    "no_algorithms": (
        f"{{issuer: i, secret: {SECRET}}}",
        "algorithms: is missing (always explicit: RS256, ES256, ...; HS256 with a secret)",
    ),
    "unknown_algorithm": (
        f"{{issuer: i, algorithms: [HS265], secret: {SECRET}}}",
        "algorithms[0]: 'HS265' is not allowed (RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, "
        "HS256, HS384, HS512; did you mean HS256?)",
    ),
    "no_keys": (
        "{issuer: i, algorithms: [RS256]}",
        "lacks its kind (exactly one of jwks_url, oidc_discovery, jwks_file, secret)",
    ),
    "two_sources": (
        f'{{{JWT}, jwks_url: "https://a.test/k"}}',
        "secret: cannot stand beside jwks_url (exactly one of jwks_url, oidc_discovery, jwks_file, secret)",
    ),
    "short_secret": ("{issuer: i, algorithms: [HS256], secret: short}", "secret: has 5 bytes (at least 32)"),
    "public_algorithm_with_secret": (
        f"{{issuer: i, algorithms: [HS256, RS256], secret: {SECRET}}}",
        "algorithms[1]: RS256 needs a public key, not a secret (HS256, HS384, HS512)",
    ),
    "hmac_with_public_keys": (
        "{issuer: i, algorithms: [RS256, HS256], jwks_url: 'https://a.test/k'}",
        "algorithms[1]: HS256 needs a secret (RS256, ES256, ... with public keys)",
    ),
    "jwks_url": (
        "{issuer: i, algorithms: [RS256], jwks_url: a.test}",
        "jwks_url: 'a.test' is not a URL (https://host/path)",
    ),
    "token_source": (
        f"{{{JWT}, token: [{{header: a, cookie: b}}]}}",
        "token[0].cookie: cannot stand beside header (exactly one of header, cookie, query)",
    ),
    "cookie_name": (
        f"{{{JWT}, token: [{{cookie: 'a b'}}]}}",
        "token[0].cookie: 'a b' is not a cookie name (letters, digits, - _ .)",
    ),
    "forwarded_to_own_header": (
        f"{{{JWT}, forward_claims: {{sub: x-envoy-user}}}}",
        "forward_claims.sub: 'x-envoy-user' is the gateway's own (any header but x-envoy-* and x-gateway-*)",
    ),
    "forwarded_twice": (
        f"{{{JWT}, forward_claims: {{sub: x-user, email: X-User}}}}",
        "forward_claims.email: goes to the same header as sub (a header of its own)",
    ),
    "revocation_without_redis": (
        f"{{{JWT}, revocation: {{redis_key: r}}}}",
        "revocation: needs Redis (stores: {redis: {url: redis://...}})",
    ),
    "boolean": (f"{{{JWT}, forward: yes}}", "forward: 'yes' is not a boolean (true or false)"),
}

LIMITS = {
    "key": (
        "{rate: 1/second, key: [ip]}",
        "key[0]: 'ip' is not allowed (user, api_key, client_ip, route, header:NAME, claim:NAME, attribute:NAME)",
    ),
    "no_key": ("{rate: 1/second}", "key: is missing ([client_ip], [user], ...; [] is one bucket for all)"),
    "cost": (
        "{rate: 5/second, key: [], cost: 6}",
        "cost: a cost of 6 never fits into a burst of 5 (cost at most burst)",
    ),
    "no_cost": ("{rate: 5/second, key: [], cost: 0}", "cost: 0 is too small (at least 1)"),
    "negative_cost": ("{rate: 5/second, key: [], cost: -1}", "cost: -1 is too small (at least 1)"),
    "negative_burst": ("{rate: 5/second, key: [], burst: -1}", "burst: -1 is too small (at least 1)"),
    "negative_rate": (
        "{rate: -5/second, key: []}",
        "rate: '-5/second' is not a rate (a number per second, minute, hour or day: 10/minute)",
    ),
    "endless_rate": (
        f"{{rate: {2**64}/second, key: []}}",
        f"rate: '{2**64}/second' is not a rate (a number per second, minute, hour or day: 10/minute)",
    ),
    "endless_burst": (f"{{rate: 5/second, key: [], burst: {2**64}}}", f"burst: '{2**64}' is not a whole number"),
    "endless_cost": (f"{{rate: 5/second, key: [], cost: {2**64}}}", f"cost: '{2**64}' is not a whole number"),
    "rate_by_attribute": (
        "{rate: 5/second, key: [api_key], by: {attribute: tier, gold: much}}",
        "by.gold: 'much' is not a rate (a number per second, minute, hour or day: 10/minute)",
    ),
    "no_attribute": (
        "{rate: 5/second, key: [api_key], by: {gold: 10/second}}",
        "by.attribute: is missing",
    ),
    "store_error": (
        "{rate: 5/second, key: [], on_store_error: lokal}",
        "on_store_error: 'lokal' is not allowed (local, allow, deny; did you mean local?)",
    ),
}


def _rest(prefix: str, found: list[str]) -> list[str]:
    """Without the prefix, and without the files that no test has."""
    found = [fault for fault in found if "cannot read" not in fault]
    return [fault.removeprefix(prefix).removeprefix(".").removeprefix(": ") for fault in found]


@pytest.mark.parametrize("name", LISTENERS)
def test_fault_of_a_listener(name: str) -> None:
    """Each mistake is one fault, at its key, that says what is allowed."""
    text, expected = LISTENERS[name]

    assert [expected] == _rest("listeners", faults(listeners=f"listeners: [{text}]"))


@pytest.mark.parametrize("name", SERVICES)
def test_fault_of_a_service(name: str) -> None:
    """Each mistake is one fault, at its key, that says what is allowed."""
    text, expected = SERVICES[name]

    assert [expected] == _rest("services.users", faults(services=f"services: {{users: {text}}}"))


@pytest.mark.parametrize("name", PROVIDERS)
def test_fault_of_a_provider(name: str) -> None:
    """Each mistake is one fault, at its key, that says what is allowed."""
    text, expected = PROVIDERS[name]

    assert [expected] == _rest("auth.jwt.main", faults(auth=f"auth: {{jwt: {{main: {text}}}}}"))


@pytest.mark.parametrize("name", LIMITS)
def test_fault_of_a_limit(name: str) -> None:
    """Each mistake is one fault, at its key, that says what is allowed."""
    text, expected = LIMITS[name]

    assert [expected] == _rest("rate_limits.l", faults(rate_limits=f"rate_limits: {{l: {text}}}"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{{query: k, keys: [{{id: a, sha256: {DIGEST}}}], header: h}}", "query: cannot stand beside header"),
        ("{header: h}", "lacks its kind (exactly one of keys, keys_file)"),
        (
            "{header: h, keys: [{id: a, sha256: secret}]}",
            "keys[0].sha256: is not a SHA-256 digest (64 hexadecimal digits)",
        ),
        (
            f"{{header: h, keys: [{{id: a, sha256: {DIGEST}}}, {{id: b, sha256: {DIGEST}}}]}}",
            "keys[1].sha256: is given twice",
        ),
    ],
)
def test_fault_of_api_keys(text: str, expected: str) -> None:
    """Each mistake is one fault; a digest that is none is never shown, for it may be the key itself."""
    auth = f"auth: {{api_keys: {{k: {text}}}}}"
    found = _rest("auth.api_keys.k", faults(auth=auth, routes=""))

    assert [True] == [fault.startswith(expected) for fault in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "stores: {cache: redis}",
            "stores.cache: redis needs an address (stores: {redis: {url: redis://host:6379}})",
        ),
        (
            "stores: {redis: {url: 'http://user:password@a'}}",
            "stores.redis.url: is not an address (redis://host:6379, rediss://, redis+sentinel://, redis+cluster://)",
        ),
        (
            "callouts: {ext_authz: {endpoints: [{address: 127.0.0.1}]}}",
            "callouts.ext_authz.endpoints[0]: lacks a part (address and port, or path)",
        ),
        ("callouts: {ext_proc: {endpoints: []}}", "callouts.ext_proc.endpoints: is empty (at least one)"),
        ("analytics: {endpoints: []}", "analytics.endpoints: is empty (at least one)"),
        (
            "analytics: {endpoints: [{address: usage.internal, port: 9003}]}",
            "analytics.endpoints[0].address: 'usage.internal' is not an IP address (or kubernetes: {...})",
        ),
        (
            "callouts: {ext_authz: {failure_mode: close}}",
            "callouts.ext_authz.failure_mode: 'close' is not allowed (open, closed; did you mean closed?)",
        ),
        ("envoys: {}", "envoys: lacks its kind (exactly one of kubernetes, endpoints)"),
        (
            "envoys: {endpoints: [{address: envoy.internal, port: 80}]}",
            "envoys.endpoints[0].address: 'envoy.internal' is not an IP address",
        ),
        (
            "envoys: {kubernetes: {namespace: gateway, service: B, port: http}}",
            "envoys.kubernetes.service: 'B' is not a Kubernetes name (lower case letters, digits and -, at most 63)",
        ),
        (
            "envoy_patches: [{type: listeners, name: public, op: move, path: /a}]",
            "envoy_patches[0].from: is missing (where to move from)",
        ),
        ("tracing: {sample_percent: 101}", "tracing.sample_percent: 101 is too large (at most 100)"),
        ("routs: []", "routs: unknown key (did you mean routes?)"),
    ],
)
def test_fault_of_another_section(text: str, expected: str) -> None:
    """Each mistake is one fault, at its key, that says what is allowed."""
    assert [expected] == faults(extra=text)


def test_version_and_name() -> None:
    """What a file needs at the top."""
    assert ["version: 2 is too large (at most 1)"] == faults(version="version: 2")
    assert ["version: is missing (version: 1)", "name: is missing (a name)"] == sorted(
        faults(version="", name=""), reverse=True
    )
    assert ["listeners: is missing (at least one: {name: public, port: 10000})"] == faults(listeners="", routes="")


def test_callout_in_kubernetes_alone() -> None:
    """The default endpoint of a callout steps back for a Kubernetes service."""
    text = "callouts: {ext_authz: {kubernetes: {namespace: a, service: ext-authz, port: grpc}}}"

    assert [] == faults(extra=text)


def test_sidecars() -> None:
    """One inbound listener, on port 15006 unless it says so; outbound ones on loopback; local services."""
    services = "services: {users: {local: 8080}}"
    outbound = "{name: out, port: 15001, address: 127.0.0.1, redirect: {scheme: https}}"
    sound = loaded(
        document(mode="mode: sidecar", listeners=f"listeners: [{{name: in}}, {outbound}]", services=services)
    )

    assert () == sound.faults
    assert sound.gateway is not None
    assert [15006, 15001] == [listener.port for listener in sound.gateway.listeners]
    assert [
        "listeners[1]: is a second inbound listener of a sidecar, beside 'in' (outbound ones: address: 127.0.0.1)"
    ] == faults(
        mode="mode: sidecar",
        listeners="listeners: [{name: in}, {name: b, port: 10001, redirect: {scheme: https}}]",
        services=services,
    )
