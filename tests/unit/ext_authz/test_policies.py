"""Policies as xDS brings them: whole or not at all, immutable, kept a while after they are gone."""

import pytest
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from ext_authz.policies import GRACE_S, PolicyStore
from gateway_runtime.policy_sinks import PolicySink, SecretSink
from gateway_runtime.xds_client import Rejected
from policy.errors import PolicyError
from protos.gateway.policy.v1 import authz_pb2
from tests.unit.ext_authz.fixtures import SECRET, any_of, authz_policy, jwk, jwks, jwt_method, rate_limit, rsa_key


def body(name: str, **options: object) -> bytes:
    return authz_policy(name, **options).SerializeToString()  # type: ignore[arg-type]


def store() -> PolicyStore:
    policies = PolicyStore()
    policies.update_secrets({"hmac": SECRET}, ())
    return policies


def test_update_and_removal() -> None:
    """A removed policy answers for its grace, then it is gone."""
    policies = store()
    policies.update_policies({"a": body("a"), "b": body("b")}, (), 0.0)
    policies.update_policies({}, ["a", "unknown"], 10.0)
    policies.expire(10.0 + GRACE_S - 0.1)

    assert (policies.get("a") is not None, len(policies)) == (True, 1)

    policies.expire(10.0 + GRACE_S)

    assert (policies.get("a"), len(policies)) == (None, 1)


def test_back_within_its_grace() -> None:
    """A policy that comes back stays, and is not compiled again."""
    policies = store()
    policies.update_policies({"a": body("a")}, (), 0.0)
    first = policies.get("a")
    policies.update_policies({}, ["a"], 1.0)
    policies.update_policies({"a": body("a")}, (), 2.0)
    policies.expire(1000.0)

    assert policies.get("a") is first


def test_all_or_nothing() -> None:
    """One policy that does not compile refuses the whole update, with every reason."""
    policies = store()
    broken = {
        "bad": body("bad", ip=[(["10.0.0.0/99"], [])]),
        "worse": body("worse", authentication=any_of(jwt_method(secret="missing"))),
        "good": body("good"),
    }
    with pytest.raises(PolicyError) as caught:
        policies.update_policies(broken, (), 0.0)

    assert "bad: '10.0.0.0/99' is not a network" in str(caught.value)
    assert "worse: jwt.meetinity: the secret 'missing' is not there" in str(caught.value)
    assert policies.get("good") is None


def test_immutable() -> None:
    """Another content under a name in force is refused."""
    policies = store()
    policies.update_policies({"a": body("a")}, (), 0.0)
    with pytest.raises(PolicyError, match="another content"):
        policies.update_policies({"a": body("a", rate_limits=[rate_limit()])}, (), 0.0)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"\xff\xff", "no AuthzPolicy"),
        (body("other"), "calls itself 'other'"),
        (body("a", authentication=authz_pb2.Authentication()), "without a method"),
        (body("a", authentication=any_of(jwt_method(algorithms=["none"]))), "algorithms"),
        (body("a", authentication=any_of(jwt_method(algorithms=[]))), "algorithms"),
        (body("a", authentication=any_of(jwt_method(algorithms=["RS256"]))), "HS256"),
        (body("a", authentication=any_of(jwt_method(issuer=""))), "issuer"),
        (body("a", authentication=any_of(jwt_method(sources=[{}]))), "nowhere"),
        (body("a", authentication=any_of(authz_pb2.Method(name="x"))), "unknown kind"),
        (body("a", rate_limits=[rate_limit("x"), rate_limit("x")]), "twice"),
        (body("a", rate_limits=[rate_limit(per_s=0)]), "period"),
        (body("a", rate_limits=[rate_limit(key=[{}])]), "says nothing"),
        (body("a", authentication=any_of(jwt_method(algorithms=["ES256"], jwks="set"))), "no key serves"),
        (body("a", authentication=any_of(jwt_method(jwks="hmac"))), "not JSON"),
    ],
)
def test_policies_that_do_not_compile(content: bytes, complaint: str) -> None:
    """What is contradictory or not understood is refused with its reason, never enforced in part."""
    policies = store()
    policies.update_secrets({"set": jwks(jwk(rsa_key(), "k"))}, ())
    with pytest.raises(PolicyError, match=complaint):
        policies.update_policies({"a": content}, (), 0.0)


def test_equal_methods_are_shared() -> None:
    """Policies with an equal method share it, so that a token verified for one is known to the other."""
    policies = store()
    rules = any_of(jwt_method())
    policies.update_policies({"a": body("a", authentication=rules)}, (), 0.0)
    policies.update_policies({"b": body("b", authentication=rules, rate_limits=[rate_limit()])}, (), 0.0)
    methods = []
    for name in ("a", "b"):
        loaded = policies.get(name)
        assert loaded is not None
        assert loaded.policy.authentication is not None
        methods.append(loaded.policy.authentication.methods[0])

    assert methods[0] is methods[1]


def test_secrets_do_not_leak_into_reasons() -> None:
    """A NACK's reason never holds a secret."""
    policies = PolicyStore()
    policies.update_secrets({"hmac": b"-----BEGIN top secret content-----------"}, ())
    with pytest.raises(PolicyError) as caught:
        policies.update_policies({"a": body("a", authentication=any_of(jwt_method()))}, (), 0.0)

    assert "top secret" not in str(caught.value)


def test_sinks() -> None:
    """Secrets and policies come in as xDS resources; what does not compile is rejected."""
    policies = PolicyStore()
    secrets, sink = SecretSink(policies), PolicySink(policies, lambda: 0.0)
    secret = secret_pb2.Secret(name="hmac")
    secret.generic_secret.secret.inline_bytes = SECRET
    tls = secret_pb2.Secret(name="tls")
    tls.tls_certificate.private_key.inline_bytes = b"key"
    secrets.apply({"hmac": secret.SerializeToString(), "tls": tls.SerializeToString()}, [])
    sink.apply({"a": body("a", authentication=any_of(jwt_method()))}, [])

    assert policies.get("a") is not None
    with pytest.raises(Rejected, match="not there"):
        sink.apply({"b": body("b", authentication=any_of(jwt_method(secret="other")))}, [])
    with pytest.raises(Rejected, match="no Secret"):
        secrets.apply({"x": b"\xff"}, [])
