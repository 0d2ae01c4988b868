"""The cluster as the control plane's process uses it: discovery, the ConfigMap, the election, the Events."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Never

from prometheus_client import CollectorRegistry

from control_plane.kubernetes.api import Api, CredentialsError
from control_plane.kubernetes.config_map import ConfigMapFiles
from control_plane.kubernetes.discovery import Discovery
from control_plane.kubernetes.events import Events
from control_plane.kubernetes.parsing import ObjectContent
from control_plane.kubernetes.problems import Problem, Reference
from control_plane.kubernetes.token_review import TokenReview
from control_plane.kubernetes.watched import Kind, Watched
from gateway_runtime.telemetry import logger

if TYPE_CHECKING:
    from control_plane.kubernetes.election import Election

_SERVICE_ACCOUNT_NAMESPACE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this replica is."""

    namespace: str
    """Where its Lease lives; "": it takes no part in the election and writes nothing."""
    name: str
    """Of its pod."""


def identity(environment: Mapping[str, str]) -> Identity:
    """From POD_NAMESPACE and POD_NAME (the downward API), or from what every pod has."""
    namespace = environment.get("POD_NAMESPACE", "")
    if not namespace:
        try:
            namespace = Path(_SERVICE_ACCOUNT_NAMESPACE).read_text(encoding="utf-8").strip()
        except OSError:
            namespace = ""
    return Identity(namespace, environment.get("POD_NAME") or environment.get("HOSTNAME", "control-plane"))


class Attached:
    """An open connection to the cluster; `run` it beside the reconciler."""

    def __init__(
        self,
        connection: Api,
        who: Identity,
        election: "Election | None",
        registry: CollectorRegistry,
        config_map: Reference | None = None,
        files: ConfigMapFiles | None = None,
    ) -> None:
        """The ConfigMap is kept as `files`; once deleted its last content stays there."""
        self._files = files
        self._connection = connection
        self._who = who
        self._config_map = (
            Watched(config_map.namespace, Kind.CONFIG_MAPS, config_map.name) if config_map is not None else None
        )
        self._election = election
        always = frozenset({self._config_map}) if self._config_map is not None else frozenset()
        self.discovery = Discovery(
            connection,
            random=random.random,
            monotonic=time.monotonic,
            registry=registry,
            always=always,
            on_always=self._mirror,
        )

    @property
    def is_leader(self) -> bool:
        return self._election is not None and self._election.is_leader

    def token_review(self, audience: str) -> TokenReview:
        """Tells whose ServiceAccount tokens for this audience are."""
        return TokenReview(self._connection, audience=audience, monotonic=time.monotonic)

    async def run(self) -> Never:
        """Keep the cluster's state up to date."""
        await self.discovery.run()

    async def report(self, present: Callable[[], Iterable[Problem]]) -> None:
        """Write what `present` returns as Events while this replica is the leader."""
        if self._election is None:
            return
        events = Events(
            self._connection,
            present,
            is_leader=lambda: self.is_leader,
            instance=self._who.name,
            monotonic=time.monotonic,
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._election.run(), name="election")
            tasks.create_task(events.run(), name="events")

    def _mirror(self, content: ObjectContent) -> None:
        """A few kilobytes, so it may be written here and now."""
        if self._files is None:
            return
        try:
            self._files.write(content.content)
        except OSError as error:
            logger("kubernetes").error("config_map_not_written", directory=str(self._files.directory), error=str(error))

    async def first_config_map(self) -> None:
        """Until the ConfigMap has been read for the first time, or may not be read."""
        if self._config_map is not None:
            await self.discovery.wait_for(frozenset({self._config_map}))


def is_wanted(kubeconfig: str, environment: Mapping[str, str]) -> bool:
    """Whether there is a cluster: a kubeconfig, given or named by KUBECONFIG, or a pod around this process."""
    return bool(kubeconfig or environment.get("KUBECONFIG") or environment.get("KUBERNETES_SERVICE_HOST"))


@asynccontextmanager
async def attached(
    kubeconfig: str,
    environment: Mapping[str, str],
    registry: CollectorRegistry,
    config_map: Reference | None = None,
    files: ConfigMapFiles | None = None,
) -> AsyncIterator[Attached | None]:
    """The cluster, None where there is none. Raises CredentialsError if its credentials cannot be read.

    Args:
        kubeconfig: "" means the one that KUBECONFIG names, else the pod's own service account.
        config_map: kept as `files`.
    """
    if not is_wanted(kubeconfig, environment):
        yield None
        return
    # Loading the client takes 0.6 s, so only here.
    from control_plane.kubernetes.connection import Connection, from_kubeconfig, in_cluster
    from control_plane.kubernetes.election import Election

    path = kubeconfig or environment.get("KUBECONFIG", "")
    who = identity(environment)
    async with AsyncExitStack() as stack:
        try:
            connection = await stack.enter_async_context(Connection(from_kubeconfig(path) if path else in_cluster))
        except CredentialsError as error:
            if kubeconfig or not path:
                raise
            # KUBECONFIG may be set for other programs; a gateway that needs no cluster does not fail for it.
            logger("kubernetes").warning("no_cluster", error=str(error))
            yield None
            return
        election = None
        if who.namespace:
            election = Election(connection, namespace=who.namespace, identity=who.name)
        yield Attached(connection, who, election, registry, config_map, files)
