"""What every test run shares: tests whose part of the machine is missing are skipped, told at the end, or an error.

GATEWAY_TEST_REQUIRE=envoy,redis makes a missing part fail the run: a skipped test proves nothing.
"""

import os
from functools import cache

import pytest

from tests import parts


@cache
def _missing() -> dict[str, str]:
    return parts.missing_parts(os.environ)


def pytest_configure(config: pytest.Config) -> None:
    try:
        parts.required_parts(os.environ)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: one more than cores, since a test of processes mostly waits for them."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for name, reason in _missing().items():
            if item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if exitstatus == pytest.ExitCode.OK and _missing().keys() & parts.required_parts(os.environ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    required = parts.required_parts(os.environ)
    for name, reason in _missing().items():
        terminalreporter.write_line(f"not run: {name} ({reason})", yellow=True)
        if name in required:
            terminalreporter.write_line(f"{parts.REQUIRE} demands {name}: the run has failed", red=True)


@pytest.fixture(scope="session")
def envoy_binary() -> str:
    """Path of the real Envoy; for tests marked `envoy`."""
    return parts.envoy(os.environ)


@pytest.fixture(scope="session")
def postgresql_programs() -> str:
    """Folder of a real PostgreSQL's programs; for tests marked `postgresql`."""
    return parts.postgresql(os.environ)


@pytest.fixture(scope="session")
def redis_server() -> str:
    """Path of a real redis-server; for tests marked `redis`."""
    return parts.redis(os.environ)
