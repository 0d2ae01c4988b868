"""What a demo instance can be told."""

import pytest

from demo.behaviour import Behaviour, parse_behaviour


def test_both_keys_are_optional() -> None:
    """An empty object is the healthy instance."""
    assert Behaviour() == parse_behaviour({})


def test_a_failing_instance_is_unhealthy() -> None:
    """Active health checks see a told 5xx, not a told 404."""
    assert not parse_behaviour({"status": 503}).healthy
    assert parse_behaviour({"status": 404}).healthy


@pytest.mark.parametrize(
    "document", [[], "503", {"status": "503"}, {"status": True}, {"status": 99}, {"delay_ms": -1}, {"sleep": 1}]
)
def test_anything_else_is_refused(document: object) -> None:
    """Wrong types, ranges and keys are errors, never a healthy instance in disguise."""
    with pytest.raises(ValueError):
        parse_behaviour(document)
