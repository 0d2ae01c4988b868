"""Purges of the response caches: published as resources, done when every connected ext_proc has acknowledged."""

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from control_plane.resource_types import CACHE_PURGE, NodeKind
from control_plane.snapshot import Resource
from control_plane.xds.store import Client, Store
from policy.purge import compile_purge
from protos.gateway.policy.v1 import cache_purge_pb2

_KEPT_S = 3600.0
"""An ext_proc that is away for less than this finds the purge when it comes back with what it had stored."""
_MOST_KEPT = 1000
_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class PurgeOutcome:
    """Node ids of the connected ext_procs, sorted."""

    name: str
    acknowledged: tuple[str, ...]
    missing: tuple[str, ...]


class Purges:
    """What has been purged of late."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._published: dict[str, tuple[float, Resource]] = {}
        """When and what, oldest first."""

    async def purge(self, message: cache_purge_pb2.CachePurge, *, timeout_s: float) -> PurgeOutcome:
        """Publish a purge and return when all have acknowledged it, or when the time is up.

        Args:
            message: without name.

        Raises:
            PolicyError: it makes no sense.
        """
        compile_purge(message)
        message.name = f"purge-{uuid.uuid4().hex}"
        resource = Resource.of(message.name, message, frozenset({NodeKind.EXT_PROC}))
        now = self._clock()
        self._published[message.name] = (now, resource)
        self._forget_old(now)
        self._store.stand(CACHE_PURGE, {name: kept for name, (_, kept) in self._published.items()})
        ends = now + timeout_s
        # An ACK wakes only Envoys that wait for policies; for the rare purge, looking again is enough.
        while (missing := self._missing(resource)) and self._clock() < ends:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)
        everyone = {client.node.id for client in self._processors()}
        return PurgeOutcome(message.name, tuple(sorted(everyone - missing)), tuple(sorted(missing)))

    def _forget_old(self, now: float) -> None:
        surplus = len(self._published) - _MOST_KEPT
        for place, (name, (published, _)) in enumerate(list(self._published.items())):
            if place < surplus or published + _KEPT_S < now:
                del self._published[name]

    def _processors(self) -> list[Client]:
        return [client for client in self._store.clients() if client.node.kind is NodeKind.EXT_PROC]

    def _missing(self, resource: Resource) -> set[str]:
        return {client.node.id for client in self._processors() if not _has_done(client, resource)}


def _has_done(client: Client, resource: Resource) -> bool:
    subscription = client.session.subscriptions.get(CACHE_PURGE)
    return subscription is not None and subscription.has_acknowledged(resource.name, resource.version)
