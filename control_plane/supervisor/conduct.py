"""One run of the gateway: an event loop, signals, the supervisor, and what is told to whom."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from control_plane.supervisor.detach import Report
from control_plane.supervisor.output import Output, Terminal
from control_plane.supervisor.plan import Plan, processes
from control_plane.supervisor.state_dir import Lock, State, StateDir
from control_plane.supervisor.summary import TokenFor, addresses, summary
from control_plane.supervisor.supervisor import NotReadyError, Supervisor

START_LIMIT_S = 60.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Run:
    """What is run, and the folder that it holds."""

    plan: Plan
    state: StateDir
    lock: Lock
    token_for: TokenFor


def conduct(run: Run, report: Report | None) -> int:
    """Start, serve, drain; return the exit status. Leaves nothing but logs and the last good configuration.

    Args:
        report: who waits for the start elsewhere; None: the terminal is ours, lines and summary go there.
    """
    run.lock.claim()
    plans = processes(run.plan)
    follow = report is None
    output = Output(
        [process.name for process in plans],
        run.state.logs,
        Terminal(sys.stdout),
        follow=follow,
        stamp=(lambda: "") if follow else _now,
    )
    try:
        return asyncio.run(_conduct(run, output, report or _OnTerminal(output)))
    finally:
        output.close()
        run.state.sweep()


class _OnTerminal:
    """Reports between the lines of the processes."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def ready(self, text: str) -> None:
        self._output.say(text)

    def failed(self, text: str) -> None:
        self._output.say(text, trouble=True)


async def _conduct(run: Run, output: Output, report: Report) -> int:
    supervisor = Supervisor(
        processes(run.plan), output, clock=time.monotonic, on_change=lambda pids: _remember(run, pids)
    )
    asked = _on_signals(supervisor, output)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(supervisor.run(), name="supervisor")
        failure = await _started(supervisor, asked)
        if failure is None:
            failure = _report_ready(run, report, output)
        if failure is None:
            await asked.wait()
        await supervisor.stop()
    if failure is not None:
        report.failed(failure)
        return 1
    output.say("stopped")
    return 0


async def _started(supervisor: Supervisor, asked: asyncio.Event) -> str | None:
    """None once all are ready; else why they are not."""
    async with asyncio.TaskGroup() as tasks:
        starting = tasks.create_task(_outcome(supervisor), name="start")
        stopping = tasks.create_task(asked.wait(), name="stop asked")
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        starting.cancel()
        stopping.cancel()
    return "stopped before everything was ready" if starting.cancelled() else starting.result()


async def _outcome(supervisor: Supervisor) -> str | None:
    try:
        await supervisor.until_ready(START_LIMIT_S)
    except NotReadyError as error:
        return str(error)
    return None


def _report_ready(run: Run, report: Report, output: Output) -> str | None:
    """None if whoever waited has heard it."""
    plan = run.plan
    text = summary(plan.gateway, plan.ports, plan.demo, str(run.state.logs), run.token_for)
    try:
        report.ready(text)
    except BrokenPipeError:
        return "the command that started this has gone"
    output.say("ready")
    return None


def _on_signals(supervisor: Supervisor, output: Output) -> asyncio.Event:
    """The first signal asks to drain and stop, the second one ends everything at once."""
    asked = asyncio.Event()

    def on_signal() -> None:
        if asked.is_set():
            supervisor.kill()
            return
        output.say("draining (once more: stop at once)")
        asked.set()

    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        # Under nohup the end of the terminal is no reason to stop.
        if not (number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN):
            loop.add_signal_handler(number, on_signal)
    return asked


def _remember(run: Run, pids: Mapping[str, int]) -> None:
    plan = run.plan
    known = addresses(plan.gateway, plan.ports, plan.demo)
    run.state.write_state(State(os.getpid(), plan.config, known, pids))


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds") + " "
