"""YAML 1.2 as gateway.yaml reads it."""

import pytest

from control_plane.config.reading import MAX_DEPTH, read_document
from control_plane.config.tree import Keys, plain
from tests.unit.control_plane.config.documents import document, faults, loaded


def _plain(text: str) -> object:
    root = read_document("f", text.encode()).root

    assert root is not None

    return plain(root)


def _faults(text: str | bytes) -> list[str]:
    content = text if isinstance(text, bytes) else text.encode()
    return [str(fault) for fault in read_document("f", content).faults]


def test_every_scalar_is_text() -> None:
    """YAML's own guesses are not made."""
    assert {"a": "NO", "b": "on", "c": "010", "d": "2.0", "e": "2026-09-01", "f": "0x1F"} == _plain(
        "{a: NO, b: on, c: 010, d: 2.0, e: 2026-09-01, f: 0x1F}"
    )


def test_explicit_null_is_an_absent_key() -> None:
    """`null` and `~` take a key back; quoted they are text."""
    assert {"c": "null"} == _plain("{a: null, b: ~, c: 'null'}")


def test_anchors_and_merge_keys() -> None:
    """Aliases repeat, `<<` adds keys that are not there, the first source wins."""
    text = "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc: {<<: [*a, *b], x: 5}\nd: *a"

    assert {"x": "5", "y": "2", "z": "4"} == _plain(text)["c"]  # type: ignore[index]
    assert {"x": "1", "y": "2"} == _plain(text)["d"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3", "f:3:1: a: is given twice (first in line 1)"),
        ("a: {b: 1, b: 2}", "f:1:11: a.b: is given twice (first in line 1)"),
        ("a: 1\n---\nb: 2", "f:2:1: has a second YAML document (one per file)"),
        ("- a", "f:1:1: has to be a mapping (version, name, listeners, ...)"),
        ("", "f:1:1: is empty (version, name, listeners, ...)"),
        ("# nothing", "f:1:1: is empty (version, name, listeners, ...)"),
        ("a: b: c", "f:1:5: is not YAML: mapping values are not allowed in this context"),
        ("a: *b", "f:1:4: a: the anchor 'b' is not defined above"),
        ("a: &a [*a]", "f:1:8: a[0]: the anchor 'a' holds itself"),
        ("a: !include b.yaml", "f:1:4: a: has a tag that means nothing here: !include (write the value without it)"),
        ("? [a]\n: b", "f:1:3: has a key that is not text (a name before the colon)"),
        ("a: {<<: 1}", "f:1:9: a.<<: can merge mappings only (<<: *anchor)"),
        (b"a: 1\nb: \xff", "f:2:1: is not UTF-8 text"),
        ("a: \x07", "f:1:1: is not YAML: control characters are not allowed"),
    ],
)
def test_one_clear_fault(text: str | bytes, expected: str) -> None:
    """What cannot be read is one fault with its place."""
    assert [expected] == _faults(text)


def test_tabs() -> None:
    """A tab as indentation says what to do instead."""
    (fault,) = _faults("a:\n\tb: 1")

    assert fault.startswith("f:2:1: is not YAML")
    assert "never with tabs" in fault


def test_deep_nesting_ends() -> None:
    """A hundred thousand brackets neither crash nor take long."""
    (fault,) = _faults("a: " + "[" * 100_000)

    assert fault.endswith(f"is nested too deeply (at most {MAX_DEPTH} levels)")


def test_alias_bomb_ends() -> None:
    """Aliases of aliases of aliases do not fill the memory."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (fault,) = _faults("\n".join(lines))

    assert fault.endswith("aliases repeat too much (at most 100,000 values in all)")


def test_top_level_keys_with_x() -> None:
    """Keys that begin with x- hold anchors and are otherwise ignored, unset variables in them included."""
    text = document(
        **{"x-defaults": 'x-defaults: {a: "${UNSET}", checks: &check {path: /health}}'},
        services="""
            services:
              users: {endpoints: [{address: 127.0.0.1, port: 8101}], health_check: *check}
        """,
    )
    text = text[text.index("x-defaults") :] + text[: text.index("x-defaults")]
    result = loaded(text)

    assert () == result.faults
    assert result.gateway is not None
    assert result.gateway.services["users"].health_check is not None


def test_byte_order_mark() -> None:
    """Files from other systems may begin with one."""
    assert {"a": "1"} == _plain("\ufeffa: 1")


def test_pure_python_tree_of_a_block() -> None:
    """Positions count from 1 and point at the value and at the key."""
    root = read_document("f", b"a:\n  b:  c\n").root

    assert isinstance(root, Keys)
    inner = root.entries["a"].value
    assert isinstance(inner, Keys)
    assert (2, 3) == (inner.entries["b"].key_at.line, inner.entries["b"].key_at.column)
    assert (2, 7) == (inner.entries["b"].value.at.line, inner.entries["b"].value.at.column)


def test_text_stays_text_in_the_model() -> None:
    """Where text is wanted, `010`, `NO` and `2.0` are what was written."""
    route = "{name: r, service: users, auth: {any_of: [jwt.main]}, match: {headers: {x-a: NO, x-b: 010, x-c: 2.0}}}"
    gateway = loaded(document(routes=f"routes: [{route}]")).gateway

    assert gateway is not None
    assert ["NO", "010", "2.0"] == [value.exact for value in gateway.routes[0].match.headers.values()]


def test_values_of_patches_have_types() -> None:
    """The one place without a key's type follows YAML 1.2's core schema."""
    patch = "{type: listeners, name: public, op: add, path: /a, value: {a: true, b: 1, c: 1.5, d: no, e: '1', f: null}}"
    gateway = loaded(document(extra=f"envoy_patches: [{patch}]")).gateway

    assert gateway is not None
    assert {"a": True, "b": 1, "c": 1.5, "d": "no", "e": "1", "f": None} == gateway.envoy_patches[0].value


def test_key_without_value() -> None:
    """A forgotten value is a fault, not an absent key."""
    assert ["routes[0].service: has no value (give it one, or leave the key out)"] == faults(
        routes="routes:\n- name: r\n  auth: none\n  match: {path: /x}\n  rate_limits: [by-ip]\n  service:"
    )
