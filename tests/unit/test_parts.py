"""Missing parts are told, and required ones are demanded."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts import MissingError, Part, missing_parts, redis, required_parts


def _absent(_environment: object) -> str:
    raise MissingError("not on this machine")


PARTS = (Part("here", lambda _environment: "/bin/true"), Part("absent", _absent))


def test_a_missing_part_has_a_reason() -> None:
    """It stands in the last lines of a run."""
    assert {"absent": "not on this machine"} == missing_parts({}, PARTS)


def test_parts_are_required_by_name() -> None:
    """As a list with commas; empty means none."""
    assert frozenset({"here", "absent"}) == required_parts({"GATEWAY_TEST_REQUIRE": "here, absent"}, PARTS)
    assert frozenset() == required_parts({}, PARTS)


def test_an_unknown_required_part_is_an_error() -> None:
    """A typo must not switch the demand off."""
    with pytest.raises(ValueError, match=r"unknown part 'envy' \(absent, here\)"):
        required_parts({"GATEWAY_TEST_REQUIRE": "envy"}, PARTS)


def test_redis_is_found_on_the_path_or_in_the_checkout(tmp_path: Path) -> None:
    """And told how to get when it is nowhere."""
    with pytest.raises(MissingError, match="make setup"):
        redis({"PATH": str(tmp_path)}, tmp_path)
    program = tmp_path / ".tools" / "bin" / "redis-server"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)

    assert str(program) == redis({"PATH": ""}, tmp_path)
    assert str(program) == redis({"PATH": str(program.parent)}, tmp_path / "elsewhere")


def test_a_run_that_lacks_a_required_part_fails_and_says_so(tmp_path: Path) -> None:
    """Also when every other test has passed."""
    run = subprocess.run(
        (
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:randomly",
            __file__,
            "-k",
            "by_name",
        ),
        env={"PATH": str(tmp_path), "ENVOY_BIN": "/no/such/envoy", "GATEWAY_TEST_REQUIRE": "envoy"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 1, run.stdout + run.stderr
    assert "not run: envoy (Envoy is missing: ENVOY_BIN names /no/such/envoy, which is no program)" in run.stdout
    assert "GATEWAY_TEST_REQUIRE demands envoy: the run has failed" in run.stdout
