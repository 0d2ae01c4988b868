"""Variables and files in values."""

import pytest

from control_plane.config.loading import Loaded
from tests.unit.control_plane.config.documents import document, loaded


def _name(value: str, **environment: str) -> Loaded:
    return loaded(document(name=f"name: {value}"), {"/run/name": "from-file\n", "conf/near": "near"}, environment)


@pytest.mark.parametrize(
    ("value", "environment", "expected"),
    [
        ('"${NAME}"', {"NAME": "a"}, "a"),
        ('"a-${NAME}-${NAME}"', {"NAME": "b"}, "a-b-b"),
        ('"${NAME:-c}"', {}, "c"),
        ('"${NAME:-c}"', {"NAME": ""}, "c"),
        ('"${NAME:-c}"', {"NAME": "d"}, "d"),
        ("${NAME}", {"NAME": "null"}, "null"),
        ('"${file:/run/name}"', {}, "from-file"),
        ('"${file:near}"', {}, "near"),
    ],
)
def test_values_are_filled(value: str, environment: dict[str, str], expected: str) -> None:
    """Variables, defaults, and files without their last newline; a value is never YAML again."""
    result = _name(value, **environment)

    assert () == result.faults
    assert result.gateway is not None
    assert expected == result.gateway.name


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('"${OTHER}"', "the variable OTHER is not set (set it, or give a default: ${OTHER:-...})"),
        (
            '"${NAMES}"',
            "the variable NAMES is not set (did you mean NAME? set it, or give a default: ${NAMES:-...})",
        ),
        ('"${1}"', "${1} names no variable (${NAME}, ${NAME:-default} or ${file:/path})"),
        ('"${NAME"', "`${` without its `}` (write $${ for a literal ${)"),
        ('"${file:/none}"', "cannot read /none: No such file or directory"),
    ],
)
def test_what_cannot_be_filled(value: str, expected: str) -> None:
    """A variable that is not set is a fault of its line, and nothing follows from it."""
    result = loaded(document(name=f"name: {value}"), environment={"NAME": "a"})

    assert [f"conf/gateway.yaml:2:7: name: {expected}"] == [str(fault) for fault in result.faults]


def test_literal() -> None:
    """`$${` is a literal `${`, and a `$` alone is nothing special."""
    route = "{name: r, auth: none, rate_limits: [by-ip], direct_response: {body: '$${A} $1 $'}}"
    gateway = loaded(document(routes=f"routes: [{route}]")).gateway

    assert gateway is not None
    assert gateway.routes[0].direct_response is not None
    assert "${A} $1 $" == gateway.routes[0].direct_response.body


def test_numbers() -> None:
    """A filled value is judged by its key's type."""
    listeners = 'listeners: [{name: public, port: "${PORT}"}]'
    gateway = loaded(document(listeners=listeners), environment={"PORT": "12000"}).gateway

    assert gateway is not None
    assert 12000 == gateway.listeners[0].port


def test_never_in_keys() -> None:
    """A key is what stands in the file."""
    result = loaded(
        document(services='services: {"${NAME}": {dns: {host: a, port: 1}}}'), environment={"NAME": "users"}
    )

    assert any("'${NAME}' is not a name" in fault.message for fault in result.faults)


def test_no_value_can_add_structure() -> None:
    """Text from outside stays one value, whatever stands in it."""
    result = loaded(document(name='name: "${NAME}"'), environment={"NAME": "a\nlisteners: []"})

    assert ["name"] == [fault.path for fault in result.faults]


def test_files_are_sources() -> None:
    """A file that fills a value is watched."""
    assert "/run/name" in _name('"${file:/run/name}"').sources
