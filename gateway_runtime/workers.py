"""Several processes of one service. Envoy opens one connection per upstream host, so each worker has its own address.

The parent only starts and restarts them; it serves nothing itself. A worker ends when its parent does, however that
died: it holds the read end of a pipe that only the parent can write to.
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import Never

from gateway_runtime.process import Shutdown
from gateway_runtime.telemetry import logger

_FIRST_BACKOFF_S = 0.2
_LAST_BACKOFF_S = 10.0
_STEADY_S = 30.0
"""A worker that lived this long is started again at once."""
_END_S = 30.0


async def run_workers(module: str, arguments: Sequence[Sequence[str]]) -> None:
    """Run `python -m module ARGUMENTS` once for each of the arguments until cancelled; then end them and wait.

    Each gets `--worker-of FD` too: pass FD to `raise_when_orphaned`.
    """
    async with asyncio.TaskGroup() as tasks:
        for index, each in enumerate(arguments):
            tasks.create_task(_keep_running(module, index, each), name=f"worker-{index}")


async def raise_when_orphaned(descriptor: int) -> Never:
    """Raise Shutdown when the parent is gone."""
    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(descriptor, gone.set)
    await gone.wait()
    raise Shutdown


async def _keep_running(module: str, index: int, arguments: Sequence[str]) -> Never:
    log = logger("workers").bind(worker=index)
    backoff_s = _FIRST_BACKOFF_S
    loop = asyncio.get_running_loop()
    while True:
        started_s = loop.time()
        status = await _run(module, arguments)
        backoff_s = _FIRST_BACKOFF_S if loop.time() - started_s > _STEADY_S else min(_LAST_BACKOFF_S, backoff_s * 2)
        log.error("worker_died", status=status, restart_in_s=backoff_s)
        await asyncio.sleep(backoff_s)


async def _run(module: str, arguments: Sequence[str]) -> int:
    """One life of a worker; cancelled, it is asked to end and waited for."""
    read_end, write_end = os.pipe()
    try:
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *arguments, "--worker-of", str(read_end)), pass_fds=[read_end]
        )
        try:
            return await worker.wait()
        except asyncio.CancelledError:
            await _end(worker)
            raise
    finally:
        os.close(read_end)
        os.close(write_end)


async def _end(worker: asyncio.subprocess.Process) -> None:
    if worker.returncode is not None:
        return
    worker.terminate()
    try:
        async with asyncio.timeout(_END_S):
            await worker.wait()
    except TimeoutError:
        worker.kill()
        await worker.wait()
