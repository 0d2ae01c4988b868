"""How often problems are reported."""

import pytest

from control_plane.kubernetes.problems import (
    MAX_MESSAGE,
    PER_MINUTE,
    REPEAT_S,
    EventLog,
    Problem,
    Reference,
    config_map_reference,
    event,
)

GATEWAY = Reference("ConfigMap", "gateway-system", "gateway")


def problem(message: str = "line 1") -> Problem:
    return Problem(GATEWAY, "ConfigurationFaulty", message)


def test_a_lasting_problem_is_repeated_rarely() -> None:
    """Once when it appears, then every ten minutes."""
    log = EventLog()

    assert (problem(),) == log.due([problem()], 0)
    assert () == log.due([problem()], REPEAT_S - 1)
    assert (problem(),) == log.due([problem()], REPEAT_S)


def test_a_flapping_problem_is_not_new_each_time() -> None:
    """Gone for a while and back: still the same one."""
    log = EventLog()
    log.due([problem()], 0)
    log.due([], 10)

    assert () == log.due([problem()], 20)


def test_many_problems_come_a_few_a_minute() -> None:
    """None is lost, and etcd is not flooded."""
    log = EventLog()
    many = [problem(str(number)) for number in range(25)]

    counts = [len(log.due(many, 61.0 * minute)) for minute in range(4)]

    assert [PER_MINUTE, PER_MINUTE, 5, 0] == counts


def test_a_long_message_is_cut() -> None:
    """The API refuses more than 1,024 characters."""
    body = event(problem("x" * 2000), uid="", component="c", instance="i", timestamp="t")
    assert MAX_MESSAGE == len(str(body["message"]))
    assert body["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "namespace": "gateway-system",
        "name": "gateway",
    }


def test_references() -> None:
    """namespace/name, or nothing."""
    assert GATEWAY == config_map_reference("gateway-system/gateway")
    assert "/api/v1/namespaces/gateway-system/configmaps/gateway" == GATEWAY.path
    assert config_map_reference("") is None


@pytest.mark.parametrize("text", ["gateway", "/gateway", "a/", "a/b/c"])
def test_bad_references(text: str) -> None:
    """Everything else is refused."""
    with pytest.raises(ValueError, match="NAMESPACE/NAME"):
        config_map_reference(text)
