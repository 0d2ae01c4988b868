"""From the configuration file to the store, again at each change; a faulty file changes nothing.

Owns the configuration that is served. Reading and translating run in a thread: they may take longer than open streams
should wait.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from control_plane.config.loading import Files, load
from control_plane.config.model.gateway import Gateway
from control_plane.config.model.services import CalloutEndpoint
from control_plane.config_file import Recording, Watch
from control_plane.endpoints import Endpoint, Endpoints
from control_plane.metrics import Metrics
from control_plane.resource_types import CLUSTER_LOAD_ASSIGNMENT, short_name
from control_plane.snapshot import Resource, Snapshot
from control_plane.state import CorruptStateError, LastGood
from control_plane.translate import translate
from control_plane.translate.endpoints import cluster_load_assignment
from control_plane.translate.patches import PatchError
from control_plane.xds.store import Store
from gateway_runtime.process import StartError
from gateway_runtime.telemetry import logger


@dataclass(frozen=True, slots=True)
class ConfigStatus:
    """What is known about the configuration file."""

    file: str
    valid: bool
    """Whether its newest text is what is served."""
    faults: tuple[str, ...]
    """Of its newest text."""
    warnings: tuple[str, ...]
    """Of the text that is served."""
    read_at: float
    """Seconds since the epoch, of the newest text."""
    serving_since: float
    """Seconds since the epoch, of the text that is served."""
    is_last_good: bool
    """Whether what is served came from the state directory, not from the file."""


@dataclass(frozen=True, slots=True)
class _Built:
    gateway: Gateway
    snapshot: Snapshot
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Faulty:
    faults: tuple[str, ...]


class Reconciler:
    """Call `start` once, then `run`."""

    def __init__(
        self,
        *,
        path: str,
        environment: Mapping[str, str],
        store: Store,
        metrics: Metrics,
        last_good: LastGood | None = None,
        callouts: Mapping[str, Endpoint] | None = None,
        watch: Watch | None = None,
    ) -> None:
        """
        Args:
            path: of gateway.yaml.
            environment: for `${NAME}` in it.
            last_good: where a good configuration is kept and looked for; None: nowhere.
            callouts: endpoints that take the place of the configured ones, by "ext_authz" and "ext_proc".
        """
        self._path = path
        self._environment = environment
        self._store = store
        self._metrics = metrics
        self._last_good = last_good
        self._callouts = callouts or {}
        self._watch = watch or Watch()
        self._endpoints: Endpoints = {}
        self._recording = Recording()
        self._served: _Built | None = None
        self._status = ConfigStatus(path, False, (), (), 0.0, 0.0, False)
        self._log = logger("reconciler").bind(file=path)

    @property
    def status(self) -> ConfigStatus:
        return self._status

    async def start(self, *, strict: bool = False) -> None:
        """Serve the file, or what was kept if the file is faulty.

        Raises:
            StartError: there is nothing to serve, or the file is faulty and `strict`; exit code 2.
        """
        if await self._reload():
            self._store.open()
            return
        if strict or not await self._serve_last_good():
            raise StartError("\n".join(self._status.faults), exit_code=2)
        self._store.open()

    async def run(self) -> None:
        """Follow the file until cancelled."""
        while True:
            await self._watch.changed(self._recording)
            await self._reload()

    def set_endpoints(self, endpoints: Endpoints) -> None:
        """Discovery found something: only the assignments that differ are built, and they are served at once."""
        before, self._endpoints = self._endpoints, endpoints
        served = self._served
        if served is None:
            return
        feed = self._store.feeds[served.gateway.name]
        for name in sorted(before.keys() | endpoints.keys()):
            found = endpoints.get(name, ())
            if before.get(name, ()) == found or name not in feed.current.snapshot.of_type(CLUSTER_LOAD_ASSIGNMENT):
                continue
            assignment = Resource.of(name, cluster_load_assignment(name, found))
            changes = {CLUSTER_LOAD_ASSIGNMENT: frozenset({name})}
            self._store.publish(served.gateway.name, feed.current.snapshot.with_resource(assignment), changes)

    async def _reload(self) -> bool:
        """Read the file and serve it; False, and everything stays as it is, if it is faulty."""
        self._recording = recording = Recording()
        outcome = await asyncio.to_thread(self._build, recording)
        now = time.time()
        self._metrics.config_reloads.labels("faulty" if isinstance(outcome, _Faulty) else "good").inc()
        if isinstance(outcome, _Faulty):
            self._note_faults(outcome.faults, now)
            return False
        self._publish(outcome)
        self._status = ConfigStatus(self._path, True, (), outcome.warnings, now, now, False)
        self._metrics.config_valid.set(1)
        await asyncio.to_thread(self._keep, recording)
        return True

    async def _serve_last_good(self) -> bool:
        if self._last_good is None:
            return False
        try:
            kept = await asyncio.to_thread(self._last_good.load)
        except CorruptStateError as error:
            self._log.warning("last_good_ignored", reason=str(error))
            return False
        outcome = await asyncio.to_thread(self._build, kept) if kept is not None else None
        if not isinstance(outcome, _Built):
            return False
        self._publish(outcome)
        self._status = ConfigStatus(
            self._path, False, self._status.faults, outcome.warnings, self._status.read_at, time.time(), True
        )
        self._log.error("serving_last_good", kept=str(self._last_good.path))
        return True

    def _build(self, files: Files) -> _Built | _Faulty:
        with self._metrics.build_seconds.time():
            try:
                loaded = load(self._path, files, self._environment, now=datetime.now(UTC))
                if loaded.gateway is None:
                    return _Faulty(tuple(str(fault) for fault in loaded.faults))
                gateway = with_callouts(loaded.gateway, self._callouts)
                snapshot = translate(gateway, self._endpoints, loaded.materials)
            except PatchError as error:
                return _Faulty((f"{self._path}: {error}",))
            except Exception:
                # Ours, not the operator's; but what is being served must not end with it.
                self._log.exception("configuration_not_translated")
                return _Faulty((f"{self._path}: cannot be translated: a fault of the gateway, see its log",))
            return _Built(gateway, snapshot, tuple(str(warning) for warning in loaded.warnings))

    def _publish(self, built: _Built) -> None:
        name = built.gateway.name
        changes = self._store.publish(name, built.snapshot)
        new_warnings = set(built.warnings) - set(self._served.warnings if self._served else ())
        self._served = built
        for warning in sorted(new_warnings):
            self._log.warning("configuration_warning", warning=warning)
        if changes:
            self._metrics.snapshot_time.labels(name).set_to_current_time()
            for type_url, named in built.snapshot.resources.items():
                self._metrics.resources.labels(name, short_name(type_url)).set(len(named))
        self._log.info(
            "snapshot_published",
            gateway=name,
            changed={short_name(type_url): len(names) for type_url, names in changes.items()},
        )

    def _note_faults(self, faults: tuple[str, ...], now: float) -> None:
        self._metrics.config_valid.set(0)
        old = self._status
        self._status = ConfigStatus(self._path, False, faults, old.warnings, now, old.serving_since, old.is_last_good)
        if self._served is not None:
            self._log.error("configuration_faulty", faults=faults, serving="the last good configuration")

    def _keep(self, recording: Recording) -> None:
        if self._last_good is None:
            return
        try:
            self._last_good.save(recording.contents, recording.matches)
        except OSError as error:
            self._log.warning("last_good_not_kept", directory=str(self._last_good.directory), reason=str(error))


def with_callouts(gateway: Gateway, endpoints: Mapping[str, Endpoint]) -> Gateway:
    """The gateway with these endpoints in place of those in its file, by "ext_authz" and "ext_proc"."""
    changed = {}
    for name, endpoint in endpoints.items():
        callout = getattr(gateway.callouts, name)
        fixed = CalloutEndpoint(
            address=None if endpoint.address.startswith("/") else endpoint.address,
            port=endpoint.port or None,
            path=endpoint.address if endpoint.address.startswith("/") else None,
        )
        changed[name] = callout.model_copy(update={"endpoints": (fixed,), "kubernetes": None})
    if not changed:
        return gateway
    return gateway.model_copy(update={"callouts": gateway.callouts.model_copy(update=changed)})
