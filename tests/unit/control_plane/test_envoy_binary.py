"""Where Envoy is looked for, and in which order."""

from pathlib import Path

import pytest

from control_plane.envoy_binary import EnvoyMissingError, find_envoy


def _program(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_the_nearest_word_wins(tmp_path: Path) -> None:
    """--envoy, then ENVOY_BIN, then PATH, then the checkout."""
    named, in_variable = _program(tmp_path / "named"), _program(tmp_path / "in-variable")
    on_path, in_tools = _program(tmp_path / "bin" / "envoy"), _program(tmp_path / ".tools" / "bin" / "envoy")
    environment = {"ENVOY_BIN": in_variable, "PATH": str(tmp_path / "bin")}

    assert named == find_envoy(named, environment, tmp_path)
    assert in_variable == find_envoy(None, environment, tmp_path)
    assert on_path == find_envoy(None, {"PATH": str(tmp_path / "bin")}, tmp_path)
    assert in_tools == find_envoy(None, {"PATH": ""}, tmp_path)


def test_the_wheel_s_own_binary_is_found(tmp_path: Path) -> None:
    """A checkout where only the virtual environment of Envoy is there."""
    binary = _program(tmp_path / ".tools/envoy/lib/python3.11/site-packages/envoy/_bin/envoy")

    assert binary == find_envoy(None, {}, tmp_path)


def test_a_missing_envoy_is_told_in_one_line(tmp_path: Path) -> None:
    """With what to do about it."""
    with pytest.raises(EnvoyMissingError, match=r"^Envoy is missing: run `make setup`, or name one"):
        find_envoy(None, {"PATH": ""}, tmp_path)


@pytest.mark.parametrize("environment", [{}, {"ENVOY_BIN": "/usr/bin/env"}])
def test_a_named_envoy_that_is_not_there_is_an_error(environment: dict[str, str]) -> None:
    """Nothing else is taken in its place."""
    with pytest.raises(EnvoyMissingError, match="--envoy names /no/such, which is no program"):
        find_envoy("/no/such", environment)
