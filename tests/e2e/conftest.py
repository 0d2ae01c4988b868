"""The gateway that most tests of a worker share."""

from collections.abc import Iterator

import pytest

from tests.e2e.stack import Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running gateway; a test that changes it changes it back."""
    stack = Stack.make(tmp_path_factory.mktemp("stack"))
    started = stack.up()
    assert started.returncode == 0, started.stdout + started.stderr
    yield stack
    stopped = stack.down()
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
