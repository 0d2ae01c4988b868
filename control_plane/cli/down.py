"""gatewayctl down: drain and stop what `up -d` started."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

POLL_S = 0.05
LIMIT_S = 90.0
"""Longer than the supervisor's own limits: draining, then 15 s for each of two groups of processes."""


def down(
    state_dir: Annotated[Path, typer.Option(help="The --state-dir of `up`.", envvar="GATEWAY_STATE_DIR")] = Path(
        ".gateway"
    ),
) -> None:
    """Drain and stop the gateway that `up -d` started.

    Example: gatewayctl down
    """
    from control_plane.supervisor.state_dir import StateDir

    state = StateDir(state_dir)
    pid = state.holder()
    if pid is None:
        if state_dir.is_dir():
            state.sweep()  # what a supervisor left that was killed
        typer.echo(f"no gateway runs in {state_dir}")
        return
    running = state.read_state()
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + LIMIT_S
    while state.holder() is not None:
        if time.monotonic() > deadline:
            _kill([pid, *(running.processes.values() if running else ())])
            typer.echo(f"the gateway did not stop within {LIMIT_S:.0f} s and was killed", err=True)
            raise typer.Exit(1)
        time.sleep(POLL_S)
    typer.echo("stopped")


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
