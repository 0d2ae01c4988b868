"""Drives a decision whose stores are elsewhere; the rules themselves are `decision.decision_steps`, as for memory.

What a store answers later resumes the decision from the store's own callback: a task for each check would cost as much
as the check.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from ext_authz.decision import Decision, Now, Step, Steps
from ext_authz.limiter.charges import AsyncStore, Pending, Verdict
from ext_authz.nonces import MemoryNonces, NonceStore, NonceVerdict
from ext_authz.signatures import NonceUse


class Nonces(NamedTuple):
    """Who knows which nonces were used; without a store that has to know, no signed request passes."""

    local: MemoryNonces | None
    shared: NonceStore | None


class Driving:
    """One decision on its way."""

    __slots__ = ("_limiter", "_nonces", "_now", "_on_end", "_steps", "_task")

    def __init__(
        self,
        steps: Steps,
        now: Now,
        limiter: AsyncStore,
        nonces: Nonces,
        on_end: Callable[[Decision | Exception], None],
    ) -> None:
        """
        Args:
            on_end: is told the decision, or why there is none, unless `start` returned or raised it. Must not raise.
        """
        self._steps = steps
        self._now = now
        self._limiter = limiter
        self._nonces = nonces
        self._on_end = on_end
        self._task: asyncio.Task[NonceVerdict] | None = None

    def start(self) -> Decision | None:
        """The decision, if no store has to be waited for."""
        return self._go(None)

    def _go(self, answer: Verdict | NonceVerdict | None) -> Decision | None:
        try:
            step = self._steps.send(answer) if answer is not None else next(self._steps)
            while True:
                answer = self._asked(step)
                if answer is None:
                    return None
                step = self._steps.send(answer)
        except StopIteration as stop:
            decision: Decision = stop.value
            return decision

    def _resume(self, answer: Verdict | NonceVerdict) -> None:
        try:
            decision = self._go(answer)
        except Exception as error:
            self._on_end(error)
            return
        if decision is not None:
            self._on_end(decision)

    def _asked(self, step: Step) -> Verdict | NonceVerdict | None:
        """None: `_resume` will be called."""
        if isinstance(step, NonceUse):
            return self._freshness(step)
        verdict: Verdict | Pending = self._limiter.charge(step, self._now.monotonic_us)
        if isinstance(verdict, Verdict):
            return verdict
        verdict.then(self._resume)
        return None

    def _freshness(self, nonce: NonceUse) -> NonceVerdict | None:
        """Whether it is used for the first time; without the store that has to know, nobody can tell."""
        if nonce.store is None:
            local = self._nonces.local
            return NonceVerdict.UNKNOWN if local is None else local.use_at(nonce, self._now.unix_s)
        if self._nonces.shared is None:
            return NonceVerdict.UNKNOWN
        self._task = asyncio.ensure_future(self._nonces.shared.use(nonce))
        self._task.add_done_callback(self._known)
        return None

    def _known(self, task: "asyncio.Task[NonceVerdict]") -> None:
        self._resume(NonceVerdict.UNKNOWN if task.cancelled() or task.exception() is not None else task.result())
