"""Runs one list/watch: does what the state machine says, and nothing that it does not say."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, Never, TypeVar

from control_plane.kubernetes.api import Api, ConnectionLostError, Stream
from control_plane.kubernetes.list_watch import Change, Failure, ListPage, ListWatch, Watch
from control_plane.kubernetes.parsing import Parse, UnreadableError, parse_event, parse_failure, parse_page
from control_plane.kubernetes.watched import Watched
from gateway_runtime.telemetry import logger

T = TypeVar("T")

_YIELD_EVERY = 20
"""Events taken from one chunk before other tasks get a turn."""


class Watcher(Generic[T]):
    """Keeps one kind of object of one namespace up to date, for ever."""

    def __init__(
        self,
        watched: Watched,
        parse: Parse[T],
        api: Api,
        on_change: Callable[[Watched, Change[T]], None],
        *,
        random: Callable[[], float],
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_progress` is called when `machine.answered` or `machine.failure` may have changed."""
        self.watched = watched
        self.machine: ListWatch[T] = ListWatch(random)
        self.lists = 0
        self.events = 0
        self._parse = parse
        self._api = api
        self._on_change = on_change
        self._on_progress = on_progress
        self._monotonic = monotonic
        self._sleep = sleep
        self._log = logger("kubernetes").bind(watched=str(watched))
        self._logged: tuple[int, str] | None = None

    async def run(self) -> Never:
        while True:
            await self.turn()

    async def turn(self) -> None:
        """One request, or one watch from its begin to its end."""
        if self.machine.delay_s > 0:
            await self._sleep(self.machine.delay_s)
        step = self.machine.step()
        try:
            match step:
                case ListPage():
                    await self._list(step)
                case Watch():
                    await self._watch(step)
        except (ConnectionLostError, TimeoutError, UnreadableError) as exc:
            self.machine.on_failure(Failure(0, str(exc) or "timed out"))
        await self._after_failure()
        self._log_change_of_state()
        self._on_progress()

    async def _list(self, step: ListPage) -> None:
        query = dict(self.watched.selector)
        if step.limit:
            query["limit"] = str(step.limit)
        if step.continue_token:
            query["continue"] = step.continue_token
        answer = await self._api.request("GET", self.watched.path, query)
        if answer.status != 200:
            self.machine.on_failure(parse_failure(answer.status, answer.body, answer.retry_after))
            return
        listed = self.machine.on_page(parse_page(answer.body, self._parse))
        if listed is not None:
            self.lists += 1
            self._on_change(self.watched, listed)

    async def _watch(self, step: Watch) -> None:
        query = {
            **self.watched.selector,
            "resourceVersion": step.resource_version,
            "timeoutSeconds": str(step.timeout_s),
            "allowWatchBookmarks": "true",
        }
        began = self._monotonic()
        async with self._api.watch(self.watched.path, query) as stream:
            if stream.status != 200:
                self.machine.on_failure(parse_failure(stream.status, await stream.body(), stream.retry_after))
                return
            self.machine.on_watching()
            self._log_change_of_state()
            self._on_progress()
            if await self._read(stream):
                self.machine.on_closed(self._monotonic() - began)

    async def _read(self, stream: Stream) -> bool:
        """Whether the watch ended by itself, without an error that the machine knows of."""
        try:
            async for line in stream.lines():
                changed = self.machine.on_event(parse_event(line, self._parse))
                if changed is not None:
                    self._on_change(self.watched, changed)
                if self.machine.failure is not None:
                    return False
                self.events += 1
                if self.events % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)
        except TimeoutError:
            self.machine.on_silence()
            return False
        return True

    async def _after_failure(self) -> None:
        failure = self.machine.failure
        if failure is None or failure.status not in (0, 401):
            return
        # Without an answer too: a rotated CA shows as a handshake that fails.
        try:
            await self._api.renew_credentials()
        except ConnectionLostError as exc:
            self._log.warning("kubernetes_credentials_unreadable", error=str(exc))

    def _log_change_of_state(self) -> None:
        """Once per state, however often it is tried again."""
        failure = self.machine.failure
        state = (failure.status, failure.reason) if failure is not None else None
        if state == self._logged:
            return
        self._logged = state
        if failure is None:
            self._log.info("kubernetes_watch_recovered", synced=self.machine.synced)
        elif failure.status == 410:
            self._log.info("kubernetes_relist", error=failure.message)
        else:
            self._log.warning("kubernetes_watch_failing", error=explain(self.watched, failure), status=failure.status)


def explain(watched: Watched, failure: Failure) -> str:
    """What is wrong and what to do, in one sentence."""
    match failure.status:
        case 403:
            group = f" (API group {watched.kind.group})" if watched.kind.group else ""
            named = f", resourceNames [{watched.name}]" if watched.name else ""
            return (
                f"RBAC of namespace {watched.namespace} forbids it: grant the verbs list and watch on "
                f"{watched.kind.resource}{group}{named} ({failure.message})"
            )
        case 401:
            return f"the API server does not accept the credentials ({failure.message})"
        case 0:
            return f"the API server cannot be reached ({failure.message})"
        case _:
            return failure.message
