"""Policies and the names of what they refer to."""

from control_plane import resource_types
from control_plane.resource_types import NodeKind
from control_plane.snapshot import Snapshot
from control_plane.translate import translate
from control_plane.translate.names import digest
from protos.gateway.policy.v1 import authz_pb2
from tests.unit.control_plane.translate.gateways import gateway

ONE_ROUTE = """
auth: {{jwt: {{main: {{issuer: "https://i.example", algorithms: [HS256], secret: "{secret}"}}}}}}
routes: [{{name: {route}, match: {{path: /a}}, service: users, auth: {{any_of: [jwt.main]}}}}]
"""
SECRET = "an example secret of 32 bytes or more"


def _snapshot(secret: str = SECRET, route: str = "a") -> Snapshot:
    return translate(gateway(ONE_ROUTE.format(secret=secret, route=route)), {}, {})


def _policy(snapshot: Snapshot) -> authz_pb2.AuthzPolicy:
    (resource,) = snapshot.of_type(resource_types.AUTHZ_POLICY).values()
    return authz_pb2.AuthzPolicy.FromString(resource.body)


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
