"""Policies and the names of what they refer to."""

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from control_plane import resource_types
from control_plane.resource_types import NodeKind
from control_plane.snapshot import Snapshot
from control_plane.translate import translate
from control_plane.translate.names import digest
from control_plane.translate.secrets import CALLOUTS, EXT_AUTHZ_ONLY
from protos.gateway.policy.v1 import authz_pb2, processing_pb2
from tests.unit.control_plane.translate.gateways import gateway

ONE_ROUTE = """
auth: {{jwt: {{main: {{issuer: "https://i.example", algorithms: [HS256], secret: "{secret}"}}}}}}
routes: [{{name: {route}, match: {{path: /a}}, service: users, auth: {{any_of: [jwt.main]}}}}]
"""
SECRET = "an example secret of 32 bytes or more"


def _snapshot(secret: str = SECRET, route: str = "a") -> Snapshot:
    return translate(gateway(ONE_ROUTE.format(secret=secret, route=route)), {}, {})


def _policy(snapshot: Snapshot) -> authz_pb2.AuthzPolicy:
    """Of the only route; the limits of the whole gateway are another one."""
    bodies = [resource.body for resource in snapshot.of_type(resource_types.AUTHZ_POLICY).values()]
    (policy,) = (each for each in map(authz_pb2.AuthzPolicy.FromString, bodies) if not each.rate_limit_domain)
    return policy


def test_a_policy_is_named_after_its_content() -> None:
    """Equal rules have one name whatever the route is called; a new secret is a new policy."""
    policy = _policy(_snapshot())

    assert policy.name == _policy(_snapshot(route="b")).name
    assert policy.name != _policy(_snapshot(secret=SECRET.upper())).name
    nameless = authz_pb2.AuthzPolicy.FromString(policy.SerializeToString())
    nameless.name = ""
    assert f"authz-{digest(nameless.SerializeToString(deterministic=True))}" == policy.name


def test_secrets_go_only_to_who_needs_them() -> None:
    """Policies and their secrets are for the callouts; no Envoy gets a signing key, and no policy holds one."""
    snapshot = _snapshot()
    (secret,) = snapshot.of_type(resource_types.SECRET).values()
    (policy,) = snapshot.of_type(resource_types.AUTHZ_POLICY).values()

    assert {NodeKind.EXT_AUTHZ} == secret.kinds == policy.kinds
    assert SECRET.encode() in secret.body
    for resources in snapshot.resources.values():
        for resource in resources.values():
            assert resource is secret or SECRET.encode() not in resource.body


def test_limits_without_identity_are_charged_first() -> None:
    """Only keys that need no credential count before authentication; an absent burst is left to the rate."""
    snapshot = translate(
        gateway(
            """
auth: {jwt: {main: {issuer: "https://i.example", algorithms: [RS256], jwks_url: "https://i.example/jwks"}}}
rate_limits:
  early: {rate: 10/minute, key: [client_ip, route, "header:x-tenant"]}
  all: {rate: 10/minute, key: []}
  late: {rate: 10/minute, key: [client_ip, user], burst: 3}
  tiers: {rate: 10/minute, key: [client_ip], by: {attribute: tier, gold: 20/minute}}
routes:
  - {name: a, match: {path: /a}, service: users, auth: {any_of: [jwt.main]}, rate_limits: [early, all, late, tiers]}
"""
        ),
        {},
        {},
    )
    limits = _policy(snapshot).rate_limits

    assert {"early": True, "all": True, "late": False, "tiers": False} == {
        limit.name: limit.before_authentication for limit in limits
    }
    assert [0, 0, 3, 0] == [limit.burst for limit in limits]


def test_digests_keep_parts_apart() -> None:
    """Moving a byte from one part to the next is another digest."""
    assert digest(b"ab", b"c") != digest(b"a", b"bc")
    assert digest(b"ab") != digest(b"ab", b"")


def test_limits_in_redis_name_the_secret_of_its_address() -> None:
    """The address travels as a Secret named with a digest; routes without limits know nothing of it."""
    text = """
auth: {jwt: {main: {issuer: "https://i.example", algorithms: [RS256], jwks_url: "https://i.example/jwks"}}}
rate_limits: {few: {rate: 10/minute, key: [client_ip]}}
stores: {rate_limits: redis, redis: {url: "redis://:a%20word@redis.example"}}
routes:
  - {name: a, match: {path: /a}, service: users, auth: none, rate_limits: [few]}
  - {name: b, match: {path: /b}, service: users, auth: {any_of: [jwt.main]}}
"""
    snapshot = translate(gateway(text), {}, {})
    policies = [
        authz_pb2.AuthzPolicy.FromString(resource.body)
        for resource in snapshot.of_type(resource_types.AUTHZ_POLICY).values()
    ]
    stores = {policy.rate_limit_store.url_secret for policy in policies if policy.rate_limits}
    (name,) = stores
    secret = secret_pb2.Secret.FromString(snapshot.of_type(resource_types.SECRET)[name].body)

    assert [False] == [policy.HasField("rate_limit_store") for policy in policies if not policy.rate_limits]
    assert b"redis://:a%20word@redis.example" == secret.generic_secret.secret.inline_bytes
    assert "word" not in name
    assert {EXT_AUTHZ_ONLY} == {snapshot.of_type(resource_types.SECRET)[name].kinds}


def test_all_limits_of_a_gateway_are_one_policy() -> None:
    """RateLimitService serves them under the gateway's name, those of no route included."""
    snapshot = translate(gateway("rate_limits: {few: {rate: 10/minute, key: [client_ip]}}\nroutes: []\n"), {}, {})
    (resource,) = snapshot.of_type(resource_types.AUTHZ_POLICY).values()
    policy = authz_pb2.AuthzPolicy.FromString(resource.body)

    assert ["few"] == [limit.name for limit in policy.rate_limits]
    assert (True, policy.name) == (bool(policy.rate_limit_domain), resource.name)


def test_a_shared_cache_has_its_address_as_a_secret() -> None:
    """Only ext_authz has it while the cache is in memory; the policy names it, without a password in sight."""
    text = """
stores: {cache: STORE, redis: {url: "redis://:a%20word@redis.example"}}
routes: [{name: a, match: {path: /a}, service: users, auth: none, cache: {}}]
"""
    shared, memory = (translate(gateway(text.replace("STORE", store)), {}, {}) for store in ("redis", "memory"))
    stores = []
    for snapshot in (shared, memory):
        (resource,) = snapshot.of_type(resource_types.PROCESSING_POLICY).values()
        stores.append(processing_pb2.ProcessingPolicy.FromString(resource.body).cache.store)
    kinds = [
        secret.kinds for snapshot in (shared, memory) for secret in snapshot.of_type(resource_types.SECRET).values()
    ]

    assert [CALLOUTS, EXT_AUTHZ_ONLY] == kinds
    assert list(shared.of_type(resource_types.SECRET)) == [stores[0].url_secret]
    assert (True, "") == (stores[0].prefix.endswith(":cache:"), stores[1].url_secret)
