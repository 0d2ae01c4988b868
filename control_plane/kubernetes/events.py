"""Writes problems to the cluster as Events, from the leader only."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Never

import orjson

from control_plane.kubernetes.api import Api, ConnectionLostError
from control_plane.kubernetes.problems import EventLog, Problem, event
from gateway_runtime.telemetry import logger

COMPONENT = "meetinity-gateway"
_LOOK_S = 2.0
"""Problems are looked at so often; that costs nothing and needs no hook in those who have them."""


class Events:
    """`run` it."""

    def __init__(
        self,
        api: Api,
        present: Callable[[], Iterable[Problem]],
        *,
        is_leader: Callable[[], bool],
        instance: str,
        monotonic: Callable[[], float],
    ) -> None:
        """
        Args:
            present: every problem there is now.
            instance: this replica, a pod's name.
        """
        self._api = api
        self._present = present
        self._is_leader = is_leader
        self._instance = instance
        self._monotonic = monotonic
        self._log = logger("kubernetes")
        self._reported = EventLog()
        self._failing = False

    async def run(self) -> Never:
        while True:
            await self.report()
            await asyncio.sleep(_LOOK_S)

    async def report(self) -> None:
        """Write what is due, if this replica is the leader."""
        if not self._is_leader():
            return
        for problem in self._reported.due(self._present(), self._monotonic()):
            await self._write(problem)

    async def _write(self, problem: Problem) -> None:
        reference = problem.reference
        timestamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            uid = await self._uid(problem)
            body = event(problem, uid=uid, component=COMPONENT, instance=self._instance, timestamp=timestamp)
            answer = await self._api.request("POST", f"/api/v1/namespaces/{reference.namespace}/events", body=body)
        except (ConnectionLostError, TimeoutError) as exc:
            self._note(str(exc))
            return
        self._note("" if answer.status == 201 else f"HTTP status {answer.status}: grant the verb create on events")

    async def _uid(self, problem: Problem) -> str:
        answer = await self._api.request("GET", problem.reference.path)
        return str(orjson.loads(answer.body)["metadata"].get("uid", "")) if answer.status == 200 else ""

    def _note(self, failure: str) -> None:
        if bool(failure) != self._failing:
            self._failing = bool(failure)
            if failure:
                self._log.warning("kubernetes_events_failing", error=failure)
