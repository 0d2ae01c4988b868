"""Starts processes in order, starts those again that die, stops them in the opposite order."""

import asyncio
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from control_plane.supervisor.child import Child
from control_plane.supervisor.drain import drain_envoy
from control_plane.supervisor.lifecycle import Lifecycle, RestartPolicy, exit_text
from control_plane.supervisor.output import Output
from control_plane.supervisor.probe import holds
from control_plane.supervisor.processes import Process
from control_plane.supervisor.waiting import until_first

SIGNAL_NAMES = {int(number): number.name for number in signal.Signals}
POLL_S = 0.05
STOP_LIMIT_S = 15.0
"""Our services drain for 10 s after SIGTERM; what is still there then is killed."""
DEATHS_AT_START = 3
"""A process that dies so often before all are ready will not come up."""
LINES_OF_FAILURE = 3


class NotReadyError(Exception):
    """What failed, for the operator: which process, how it ended, its last lines."""


class _Slot:
    """The place of one process: the child of the moment and what is known about it."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.child: Child | None = None
        self.lifecycle = Lifecycle()
        self.last_exit = ""
        self.last_lines: deque[str] = deque(maxlen=LINES_OF_FAILURE)
        self.ready = asyncio.Event()
        self.stopping = asyncio.Event()
        self.ended = asyncio.Event()


class Supervisor:
    """`run()` keeps the processes alive until `stop()`; one death does not touch the others."""

    def __init__(
        self,
        processes: Sequence[Process],
        output: Output,
        *,
        clock: Callable[[], float],
        policy: RestartPolicy | None = None,
        on_change: Callable[[Mapping[str, int]], None] = lambda _pids: None,
    ) -> None:
        """Args:
        clock: monotonic, in seconds.
        on_change: called with the pids by name whenever one has started or died.
        """
        self._slots = {process.name: _Slot(process) for process in processes}
        self._output = output
        self._clock = clock
        self._policy = policy or RestartPolicy()
        self._on_change = on_change

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for slot in self._slots.values():
                tasks.create_task(self._keep(slot), name=slot.process.name)

    async def until_ready(self, limit_s: float) -> None:
        """Return once every probe has held; raises NotReadyError with the reason if one cannot, or takes too long."""
        deadline_s = self._clock() + limit_s
        while waiting := [slot for slot in self._slots.values() if not slot.ready.is_set()]:
            for slot in waiting:
                if slot.lifecycle.deaths >= DEATHS_AT_START:
                    raise NotReadyError(_dying_text(slot))
            if self._clock() >= deadline_s:
                raise NotReadyError(_not_ready_text(waiting, limit_s))
            async with asyncio.TaskGroup() as tasks:
                for slot in waiting:
                    tasks.create_task(_probe(slot), name=f"probe {slot.process.name}")
            await asyncio.sleep(POLL_S)

    async def stop(self) -> None:
        """Drain and end everything, those first that come after others."""
        remaining = dict(self._slots)
        while remaining:
            needed = {name for slot in remaining.values() for name in slot.process.after}
            batch = [slot for name, slot in remaining.items() if name not in needed]
            async with asyncio.TaskGroup() as tasks:
                for slot in batch:
                    tasks.create_task(self._stop(slot), name=f"stop {slot.process.name}")
                    del remaining[slot.process.name]

    def kill(self) -> None:
        """End everything at once."""
        for slot in self._slots.values():
            slot.stopping.set()
            if slot.child is not None:
                slot.child.kill_group()

    async def _keep(self, slot: _Slot) -> None:
        try:
            await self._until_due(slot)
            while not slot.stopping.is_set():
                await self._live_once(slot)
        finally:
            slot.ended.set()

    async def _until_due(self, slot: _Slot) -> None:
        """Wait for the processes that come before it, or for the end."""
        for name in sorted(slot.process.after):
            await until_first(self._slots[name].ready.wait(), slot.stopping.wait())

    async def _live_once(self, slot: _Slot) -> None:
        """From one start to the moment when the next is due."""
        child = await Child.start(slot.process, lambda text: self._on_line(slot, text))
        slot.child = child
        slot.lifecycle = slot.lifecycle.started(self._clock())
        self._changed()
        if slot.stopping.is_set():
            child.terminate()
        try:
            returncode = await child.wait()
        finally:
            child.kill_group()
            slot.child = None
        self._changed()
        if slot.stopping.is_set():
            return
        slot.lifecycle = slot.lifecycle.died(self._clock(), self._policy)
        slot.last_exit = exit_text(returncode, SIGNAL_NAMES)
        delay_s = slot.lifecycle.restart_delay_s(self._policy)
        self._output.say(f"{slot.process.name} died ({slot.last_exit}), starts again in {delay_s:.1f} s", trouble=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await slot.stopping.wait()

    async def _stop(self, slot: _Slot) -> None:
        slot.stopping.set()
        if slot.process.drain is not None and slot.child is not None:
            await until_first(drain_envoy(slot.process.drain), slot.ended.wait())
        if slot.child is not None:
            slot.child.terminate()
        try:
            async with asyncio.timeout(STOP_LIMIT_S):
                await slot.ended.wait()
        except TimeoutError:
            self._output.say(f"{slot.process.name} did not end within {STOP_LIMIT_S:.0f} s: killed", trouble=True)
            if slot.child is not None:
                slot.child.kill_group()
            await slot.ended.wait()

    def _on_line(self, slot: _Slot, text: str) -> None:
        slot.last_lines.append(text)
        self._output.line(slot.process.name, text)

    def _changed(self) -> None:
        self._on_change({name: slot.child.pid for name, slot in self._slots.items() if slot.child is not None})


async def _probe(slot: _Slot) -> None:
    if slot.child is None:
        return
    for probe in slot.process.probes:
        if not await holds(probe):
            return
    slot.ready.set()


def _dying_text(slot: _Slot) -> str:
    return "\n".join([f"{slot.process.name} does not start ({slot.last_exit})", *_indented(slot.last_lines)])


def _not_ready_text(waiting: Sequence[_Slot], limit_s: float) -> str:
    """The first that waits for nothing else is the cause; the others only wait for it."""
    names = {slot.process.name for slot in waiting}
    causes = [slot for slot in waiting if not slot.process.after & names] or list(waiting)
    lines = [f"not ready after {limit_s:.0f} s: {', '.join(sorted(names))}"]
    for slot in causes:
        lines += [f"{slot.process.name} said last:", *_indented(slot.last_lines)]
    return "\n".join(lines)


def _indented(lines: Sequence[str] | deque[str]) -> list[str]:
    return [f"  {line}" for line in lines]
