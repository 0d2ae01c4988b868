"""The bench's command line."""

from tests.performance.bench import FULL, QUICK, arguments_of, envoy_version, plan_of


def test_plan_is_full_unless_told_otherwise() -> None:
    """--quick changes all of the plan, single flags one number of it."""
    assert FULL == plan_of(arguments_of([]))
    assert QUICK == plan_of(arguments_of(["--quick"]))
    assert 2 == plan_of(arguments_of(["--rounds", "2"])).rounds


def test_envoy_version_ignores_the_path() -> None:
    """The program's own path may hold slashes and the word version."""
    text = "\n/opt/envoy version/bin/envoy  version: 0123abcd/1.40.0/Clean/RELEASE/BoringSSL\n\n"

    assert "1.40.0" == envoy_version(text)
