"""Exit statuses, and what a person reads who started a process by hand."""

import asyncio
import os
import signal

import pytest

from gateway_runtime.process import Shutdown, StartError, raise_on_signal, run


async def _group(*errors: Exception) -> None:
    async def fail(error: Exception) -> None:
        raise error

    async with asyncio.TaskGroup() as tasks:
        for error in errors:
            tasks.create_task(fail(error))


def test_returning_is_success() -> None:
    """A main that ends by itself exits with 0."""
    assert 0 == run(lambda: _group())


def test_a_signal_is_success() -> None:
    """SIGTERM ends the task group through Shutdown."""

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(raise_on_signal())
            tasks.create_task(asyncio.sleep(60))
            asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGTERM)

    assert 0 == run(main)


@pytest.mark.parametrize("code", [1, 2])
def test_a_start_error_is_told_without_traceback(code: int, capfd: pytest.CaptureFixture[str]) -> None:
    """Its text goes to stderr, its code is the exit status, inside a group or not."""

    async def main() -> None:
        raise StartError("port 1 is taken", code)

    assert code == run(main)
    assert code == run(lambda: _group(StartError("port 1 is taken", code), Shutdown()))
    assert "port 1 is taken\nport 1 is taken\n" == capfd.readouterr().err


def test_a_bug_is_not_hidden() -> None:
    """Whatever else happens at the same time."""
    with pytest.raises(BaseExceptionGroup) as raised:
        run(lambda: _group(ZeroDivisionError(), Shutdown()))

    assert raised.group_contains(ZeroDivisionError)
