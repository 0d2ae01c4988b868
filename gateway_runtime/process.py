"""The outermost frame of a process: an event loop, signals, exit codes.

def main() -> None:
    settings = ...
    sys.exit(run(lambda: serve(settings)))

async def serve(settings: Settings) -> None:
    async with asyncio.TaskGroup() as tasks:          # a crash in one ends all: the process dies loudly
        tasks.create_task(server.serve(...), name="grpc")
        tasks.create_task(raise_on_signal(), name="signals")
"""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Never

import uvloop


class Shutdown(Exception):  # noqa: N818 - not an error
    """A signal asked this process to end; the tasks that see their cancellation drain first."""


class StartError(Exception):
    """The process cannot start; its text is for the operator, one or two lines, no traceback."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


async def raise_on_signal(*signals: signal.Signals) -> Never:
    """Wait for one of the signals (SIGTERM and SIGINT if none is named), then raise Shutdown.

    A second signal ends the process at once, as if nobody had caught it.
    """
    loop = asyncio.get_running_loop()
    received = asyncio.Event()

    def on_signal(number: signal.Signals) -> None:
        received.set()
        loop.remove_signal_handler(number)

    for number in signals or (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    await received.wait()
    raise Shutdown


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Run main on uvloop and return the exit status of the process.

    0 when main returns or a Shutdown ends it; a StartError's own code after its text went to stderr. Every other
    exception is a bug and leaves as it is.
    """
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            _hand_to_loop(runner.get_loop(), signal.SIGUSR1, signal.SIGUSR2)
            runner.run(main())
    except (Shutdown, KeyboardInterrupt):
        return 0
    except StartError as error:
        return _report(error)
    except BaseExceptionGroup as group:
        return _exit_status(group)
    return 0


def _hand_to_loop(loop: asyncio.AbstractEventLoop, *signals: signal.Signals) -> None:
    """Handlers that were set before the loop ran would wait for its next event: uvloop wakes only for its own."""
    for number in signals:
        handler = signal.getsignal(number)
        if callable(handler):
            loop.add_signal_handler(number, handler, number, None)


def _exit_status(group: BaseExceptionGroup) -> int:
    expected, bugs = group.split((Shutdown, StartError))
    if bugs is not None:
        raise bugs
    assert expected is not None
    failures = list(_leaves(expected, StartError))
    return max((_report(failure) for failure in failures), default=0)


def _leaves(group: BaseExceptionGroup, kind: type[StartError]) -> "list[StartError]":
    found: list[StartError] = []
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            found += _leaves(error, kind)
        elif isinstance(error, kind):
            found.append(error)
    return found


def _report(error: StartError) -> int:
    print(error, file=sys.stderr)  # noqa: T201 - what a person reads who started this process by hand
    return error.exit_code
