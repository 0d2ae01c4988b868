"""ProcessingPolicy compiles whole or not at all."""

from collections.abc import Callable

import pytest

from policy.errors import PolicyError
from policy.processing import HeaderChanges, Scope, cache_namespace, compile_policy
from protos.gateway.policy.v1 import processing_pb2 as pb


def message() -> pb.ProcessingPolicy:
    """A policy with everything in it."""
    return pb.ProcessingPolicy(
        name="proc-1",
        gateway="edge",
        cache=pb.CachePolicy(vary=["Accept"], scope=pb.CachePolicy.USER, max_body_bytes=10),
        request=pb.MessageTransform(set_headers=[pb.Header(name="X-Set", value="ä")], remove_headers=["X-Debug"]),
        response=pb.MessageTransform(
            remove_headers=["Server", "X-Both"],
            set_headers=[pb.Header(name="x-both", value="1")],
            add_headers=[pb.Header(name="x-added", value="2")],
            body=[pb.BodyOperation(redact=pb.Redact(fields=["password"]))],
        ),
    )


def test_a_policy_compiles_to_lower_case_names_and_octets() -> None:
    """A name that is removed and set is only set."""
    compiled = compile_policy(message())

    assert compiled.cache is not None
    assert ("accept",) == compiled.cache.vary
    assert Scope.USER is compiled.cache.scope
    assert compiled.cache.ttl_s is None
    assert HeaderChanges(remove=("x-debug",), set=(("x-set", "Ã¤"),)) == compiled.request
    assert HeaderChanges(("server",), (("x-both", "1"),), (("x-added", "2"),)) == compiled.response


def _negative(policy: pb.ProcessingPolicy) -> None:
    policy.cache.ttl.seconds = -1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda p: p.request.remove_headers.append("Host"), "request.headers.remove.Host"),
        (lambda p: p.request.remove_headers.append(":path"), "request.headers.remove.:path"),
        (lambda p: p.response.set_headers.add(name="X-Envoy-Foo", value="1"), "response.headers.set.X-Envoy-Foo"),
        (lambda p: p.response.set_headers.add(name="a b", value="1"), "is not a header name"),
        (lambda p: p.response.add_headers.add(name="x", value="a\r\nb"), "control characters"),
        (lambda p: p.response.add_headers.add(name="Content-Length", value="1"), "response.headers.add.Content-Length"),
        (lambda p: p.cache.vary.append("a b"), "cache.vary"),
        (lambda p: p.cache.ClearField("scope"), "cache.scope"),
        (lambda p: p.cache.ClearField("max_body_bytes"), "cache.max_body"),
        (_negative, "cache.ttl"),
        (lambda p: p.ClearField("gateway"), "gateway"),
        (lambda p: p.response.body[0].redact.fields.append("a..b"), "a..b"),
        (lambda p: p.request.body.add(), "request.body"),
    ],
)
def test_what_cannot_be_enforced_is_refused(change: Callable[[pb.ProcessingPolicy], None], expected: str) -> None:
    """Envoy would drop such changes silently at run time."""
    policy = message()
    change(policy)

    with pytest.raises(PolicyError, match=expected.replace(".", r"\.")):
        compile_policy(policy)


def test_every_fault_is_named_at_once() -> None:
    """An operator repairs a policy in one go."""
    policy = message()
    policy.request.remove_headers.append("host")
    policy.response.remove_headers.append("te")

    with pytest.raises(PolicyError) as refused:
        compile_policy(policy)

    assert "request.headers.remove.host" in str(refused.value)
    assert "response.headers.remove.te" in str(refused.value)


def test_the_namespace_follows_content_and_route_but_not_the_name() -> None:
    """Old entries made under other rules, or by another route's service, are never served."""
    first = compile_policy(message())
    renamed = message()
    renamed.name = "proc-2"
    changed = message()
    changed.cache.max_body_bytes = 11

    assert cache_namespace(first, "a") == cache_namespace(compile_policy(renamed), "a")
    assert cache_namespace(first, "a") != cache_namespace(compile_policy(changed), "a")
    assert cache_namespace(first, "a") != cache_namespace(first, "b")


@pytest.mark.parametrize(("name", "expected"), [("edge", "edge"), ("my gateway", '"my gateway"'), ('a"b', '"a\\"b"')])
def test_the_cache_s_name_is_a_structured_field(name: str, expected: str) -> None:
    """RFC 9211: a token, else a quoted string."""
    policy = message()
    policy.gateway = name

    assert expected == compile_policy(policy).cache_name
