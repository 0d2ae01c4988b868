"""Where ext_authz finds what replicas share of credentials."""

from control_plane import resource_types
from control_plane.translate import translate
from protos.gateway.policy.v1 import authz_pb2
from tests.unit.control_plane.translate.gateways import gateway

CONFIG = """
stores: {redis: {url: "redis://user:password@redis.example:6379/0"}}
auth:
  jwt:
    main: {issuer: "https://i.example", algorithms: [HS256], secret: "an example secret of 32 bytes or more",
           revocation: {redis_key: revoked}}
  signatures: {hooks: {clients: [{id: a, secret: "an example secret of 32 bytes or more"}]}}
routes:
  - {name: a, match: {path: /a}, service: users, auth: {all_of: [jwt.main, signatures.hooks]}}
"""


def test_revocations_and_nonces_name_the_secret_with_the_address() -> None:
    """The set's key stands in the policy as configured, nonces under the gateway's name, the password in neither."""
    snapshot = translate(gateway(CONFIG), {}, {})
    bodies = [resource.body for resource in snapshot.of_type(resource_types.AUTHZ_POLICY).values()]
    (policy,) = (each for each in map(authz_pb2.AuthzPolicy.FromString, bodies) if each.HasField("authentication"))
    jwt, signatures = (policy.authentication.methods[0].jwt, policy.authentication.methods[1].signatures)

    assert ("revoked", "") == (jwt.revocation_redis_key, jwt.revocation_store.prefix)
    assert "test:nonce:" == signatures.nonce_store.prefix
    assert jwt.revocation_store.url_secret == signatures.nonce_store.url_secret
    assert jwt.revocation_store.url_secret in snapshot.of_type(resource_types.SECRET)
    assert not any(b"password" in body for body in bodies)
