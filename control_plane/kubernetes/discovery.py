"""Keeps a `Cluster` up to date: one watcher for everything that the configurations of this control plane need."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Never

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from control_plane.config.model.gateway import Gateway
from control_plane.kubernetes.api import Api
from control_plane.kubernetes.cluster import Affected, Cluster, Known
from control_plane.kubernetes.list_watch import Change
from control_plane.kubernetes.parsing import (
    ObjectContent,
    Parse,
    parse_config_map,
    parse_endpoint_slice,
    parse_secret,
    parse_service,
)
from control_plane.kubernetes.watched import Kind, Watched, watched_by
from control_plane.kubernetes.watcher import Watcher, explain
from gateway_runtime.telemetry import logger

_PARSERS: Mapping[Kind, Parse[Known]] = {
    Kind.SERVICES: parse_service,
    Kind.ENDPOINT_SLICES: parse_endpoint_slice,
    Kind.SECRETS: parse_secret,
    Kind.CONFIG_MAPS: parse_config_map,
}

_SILENT_WAIT_S = 2.0
"""A first answer that takes longer than this is worth a line in the log."""


@dataclass(frozen=True, slots=True)
class WatchStatus:
    """One line of the status page."""

    watched: Watched
    synced: bool
    """Whether it is known at all; what is known is served while `error` lasts."""
    error: str
    """"" while it works."""


class Discovery:
    """`want` what has to be watched, `run`, and `take` what changed."""

    def __init__(
        self,
        api: Api,
        *,
        random: Callable[[], float],
        monotonic: Callable[[], float],
        registry: CollectorRegistry,
        always: frozenset[Watched] = frozenset(),
        on_always: Callable[[ObjectContent], None] = lambda _: None,
    ) -> None:
        """
        Args:
            always: single objects that are watched whatever the configurations need.
            on_always: told what they are, at each change; not when they are deleted.
        """
        self.cluster = Cluster()
        self._api = api
        self._random = random
        self._monotonic = monotonic
        self._watchers: dict[Watched, Watcher[Known]] = {}
        self._tasks: dict[Watched, asyncio.Task[Never]] = {}
        self._always = always
        self._on_always = on_always
        self._wanted = always
        self._want_changed = asyncio.Event()
        self._affected = Affected()
        self._changed = asyncio.Event()
        self._progress = asyncio.Event()
        self._awaited: frozenset[Watched] = frozenset()
        registry.register(_Metrics(self))

    def want(self, watched: frozenset[Watched]) -> None:
        """Watch exactly these from now on; what is not among them is forgotten."""
        self._wanted = watched
        self._want_changed.set()

    async def prepare(self, gateway: Gateway, patience_s: float | None) -> None:
        """Watch what a new configuration needs besides what is watched now, and wait for the first answers.

        Args:
            patience_s: after so long it has to do without those that are missing; None waits for ever.
        """
        needed = watched_by(gateway)
        self.want(self._wanted | needed)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self.wait_for(needed)

    def settle(self, *gateways: Gateway) -> None:
        """These configurations are served now: what only older ones needed is forgotten."""
        self.want(self._always.union(*(watched_by(gateway) for gateway in gateways)))

    async def run(self) -> Never:
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._want_changed.clear()
                for watched in sorted(self._tasks.keys() - self._wanted, key=str):
                    self._tasks.pop(watched).cancel()
                    del self._watchers[watched]
                    self._note(self.cluster.forget(watched))
                for watched in sorted(self._wanted - self._tasks.keys(), key=str):
                    self._watchers[watched] = self._watcher(watched)
                    self._tasks[watched] = tasks.create_task(self._watchers[watched].run(), name=f"watch {watched}")
                await self._want_changed.wait()

    def _watcher(self, watched: Watched) -> Watcher[Known]:
        return Watcher(
            watched,
            _PARSERS[watched.kind],
            self._api,
            self._on_change,
            random=self._random,
            monotonic=self._monotonic,
            on_progress=self._progress.set,
        )

    def _on_change(self, watched: Watched, change: Change[Known]) -> None:
        affected = self.cluster.apply(watched, change)
        if watched not in self._always:
            self._note(affected)
        elif affected and (content := self.cluster.content(watched)) is not None:
            self._on_always(content)

    def _note(self, affected: Affected) -> None:
        if affected:
            self._affected |= affected
            self._changed.set()

    async def take(self) -> Affected:
        """Wait for a change; everything that changed since the last call comes at once."""
        await self._changed.wait()
        self._changed.clear()
        affected, self._affected = self._affected, Affected()
        return affected

    def answered(self, watched: frozenset[Watched]) -> bool:
        """Whether the first answer to each has come: a list, or that RBAC forbids it."""
        return all(one in self._watchers and self._watchers[one].machine.answered for one in watched)

    async def wait_for(self, watched: frozenset[Watched]) -> None:
        """Until `answered`; a wait that takes long is logged, and shows in `missing`."""
        self._awaited = watched
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SILENT_WAIT_S):
                    await self._answers(watched)
                    return
            logger("kubernetes").warning("waiting_for_kubernetes", missing=self.missing)
            await self._answers(watched)
        finally:
            self._awaited = frozenset()

    async def _answers(self, watched: frozenset[Watched]) -> None:
        while not self.answered(watched):
            self._progress.clear()
            await self._progress.wait()

    @property
    def missing(self) -> tuple[str, ...]:
        """What is waited for, and has not been answered for yet."""
        return tuple(sorted(str(one) for one in self._awaited if not self.answered(frozenset({one}))))

    def status(self) -> tuple[WatchStatus, ...]:
        """Sorted by namespace and resource."""
        return tuple(
            WatchStatus(watched, watcher.machine.synced, _error(watched, watcher))
            for watched, watcher in sorted(self._watchers.items(), key=lambda item: str(item[0]))
        )

    def counts(self) -> Mapping[Watched, tuple[int, int]]:
        """Complete lists and events so far."""
        return {watched: (watcher.lists, watcher.events) for watched, watcher in self._watchers.items()}


def _error(watched: Watched, watcher: Watcher[Known]) -> str:
    failure = watcher.machine.failure
    return explain(watched, failure) if failure is not None else ""


class _Metrics(Collector):
    """Read when scraped; namespaces are bounded by the configuration."""

    def __init__(self, discovery: Discovery) -> None:
        self._discovery = discovery

    def collect(self) -> list[Metric]:
        labels = ["namespace", "resource"]
        up = GaugeMetricFamily("gateway_kubernetes_watch_up", "1 while the list/watch works, else 0", labels=labels)
        synced = GaugeMetricFamily("gateway_kubernetes_synced", "1 once it was listed completely", labels=labels)
        lists = CounterMetricFamily("gateway_kubernetes_lists", "Complete lists", labels=labels)
        events = CounterMetricFamily("gateway_kubernetes_events_received", "Watch events", labels=labels)
        counts = self._discovery.counts()
        for status in self._discovery.status():
            of = [status.watched.namespace, status.watched.kind.resource]
            up.add_metric(of, 0 if status.error else 1)
            synced.add_metric(of, 1 if status.synced else 0)
            lists.add_metric(of, counts[status.watched][0])
            events.add_metric(of, counts[status.watched][1])
        return [up, synced, lists, events]
