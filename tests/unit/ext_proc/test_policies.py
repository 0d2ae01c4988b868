"""Policies come whole or not at all, and stay a while after they are gone."""

import pytest

from ext_proc.policies import GRACE_S, PolicyStore
from policy.errors import PolicyError
from protos.gateway.policy.v1 import processing_pb2 as pb


def body(name: str, **fields: object) -> bytes:
    message = pb.ProcessingPolicy(name=name, gateway="edge")
    message.request.set_headers.add(name="x", value="1")
    for field, value in fields.items():
        setattr(message, field, value)
    return message.SerializeToString()


def test_a_removed_policy_still_answers_for_a_while() -> None:
    """Envoy may not have seen its new routes yet."""
    store = PolicyStore()
    store.update_policies({"a": body("a")}, (), 0.0)
    store.update_policies({}, ("a", "unknown"), 10.0)
    assert store.get("a") is not None
    assert 0 == len(store)
    store.expire(10.0 + GRACE_S)

    assert store.get("a") is None


def test_a_policy_that_comes_back_stays() -> None:
    """Its removal is forgotten."""
    store = PolicyStore()
    store.update_policies({"a": body("a")}, (), 0.0)
    store.update_policies({}, ("a",), 1.0)
    store.update_policies({"a": body("a")}, (), 2.0)
    store.expire(1000.0)

    assert store.get("a") is not None


def test_nothing_of_a_refused_update_is_applied() -> None:
    """Every fault is named."""
    store = PolicyStore()
    bad = pb.ProcessingPolicy(name="c")
    bad.request.remove_headers.append("host")

    with pytest.raises(PolicyError) as refused:
        store.update_policies({"a": body("a"), "b": b"\xff", "c": bad.SerializeToString(), "d": body("other")}, (), 0.0)

    assert store.get("a") is None
    for expected in ("b: no ProcessingPolicy", "c: request.headers.remove.host", "d: it calls itself 'other'"):
        assert expected in str(refused.value)
