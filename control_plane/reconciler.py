"""From the configuration file and the cluster to the store, again at each change; a faulty file changes nothing.

Owns the configuration that is served. Reading and translating run in a thread: they may take longer than open streams
should wait. Endpoints do not wait for that: a change of one service becomes one assignment at once.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import ParamSpec, Protocol, TypeVar

from control_plane.config.loading import Files, Memory, load
from control_plane.config.materials import Materials
from control_plane.config.model.gateway import Gateway
from control_plane.config.model.services import Analytics, CalloutEndpoint
from control_plane.config_file import Recording, Watch
from control_plane.endpoints import Endpoint, Endpoints
from control_plane.extra_resources import ExtraResourceError, extra_resources, with_extra
from control_plane.kubernetes.cluster import Affected, Cluster, Discovered, services_of
from control_plane.metrics import Metrics
from control_plane.resource_types import CLUSTER_LOAD_ASSIGNMENT, short_name
from control_plane.snapshot import Resource, Snapshot
from control_plane.state import CorruptStateError, LastGood
from control_plane.translate import Translator
from control_plane.translate.endpoints import load_assignment
from control_plane.translate.patches import PatchError
from control_plane.validation.admission import Admission, Withheld
from control_plane.validation.field_rules import FieldRules
from control_plane.xds.store import Store
from gateway_runtime.process import StartError
from gateway_runtime.telemetry import logger

ANALYTICS = "analytics"
_PATIENCE_S = 5.0
"""A new configuration waits so long for what it newly needs of the cluster; then it is served without."""
_ATTEMPTS = 3
"""A cluster that changes its services faster than they are translated shall not hold up a configuration for ever."""
P = ParamSpec("P")
R = TypeVar("R")


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
    withheld: tuple[str, ...] = ()
    """What of it is not served because Envoy would refuse it, with what is served instead and why."""


Claim = Callable[[str], str | None]
"""Why a gateway may not have this name; None if it may."""


class Discovering(Protocol):
    """What a reconciler needs of the cluster; `Discovery` has it."""

    @property
    def cluster(self) -> Cluster: ...

    async def prepare(self, gateway: Gateway, patience_s: float | None) -> None: ...

    def settle(self, gateway: Gateway) -> None: ...

    async def take(self) -> Affected: ...


@dataclass(frozen=True, slots=True)
class _Text:
    """A configuration without faults, as its files say it."""

    gateway: Gateway
    materials: Materials
    warnings: tuple[str, ...]
    extra: tuple[Resource, ...] = ()
    """From files beside it."""


@dataclass(frozen=True, slots=True)
class _Built:
    """Its snapshot, and what was known of the cluster when that was made."""

    text: _Text
    discovered: Discovered
    snapshot: Snapshot
    withheld: tuple[Withheld, ...]


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
        discovery: Discovering | None = None,
        claim: Claim = lambda _: None,
    ) -> None:
        """
        Args:
            path: of gateway.yaml.
            environment: for `${NAME}` in it.
            last_good: where a good configuration is kept and looked for; None: nowhere.
            callouts: endpoints that take the place of the configured ones, by "ext_authz", "ext_proc" and "analytics".
            discovery: what knows Kubernetes, running; without it Kubernetes services have no endpoints.
            claim: why the file may not be the gateway that it names.
        """
        self._path = path
        self._environment = environment
        self._store = store
        self._metrics = metrics
        self._last_good = last_good
        self._callouts = callouts or {}
        self._watch = watch or Watch()
        self._discovery = discovery
        self._claim = claim
        self._memory = Memory()
        self._translator = Translator()
        self._admission = Admission()
        self._field_rules = FieldRules()
        self._building = asyncio.Lock()
        self._stale = asyncio.Event()
        self._recording = Recording()
        self._served: _Built | None = None
        self._status = ConfigStatus(path, False, (), (), 0.0, 0.0, False)
        self._log = logger("reconciler").bind(file=path)

    @property
    def status(self) -> ConfigStatus:
        withheld = tuple(str(one) for one in self._served.withheld) if self._served is not None else ()
        return replace(self._status, withheld=withheld)

    async def start(self, *, strict: bool = False) -> None:
        """Serve the file, or what was kept if the file is faulty.

        Raises:
            StartError: there is nothing to serve, or the file is faulty and `strict`; exit code 2.
        """
        if not await self.begin(strict=strict):
            raise StartError("\n".join(self._status.faults), exit_code=2)
        self._store.open()

    async def begin(self, *, strict: bool = False) -> bool:
        """Publish the file, or what was kept if the file is faulty; False if there is nothing to serve."""
        return await self._reload(patience_s=None) or (not strict and await self._serve_last_good())

    def retire(self) -> None:
        """The gateway is served no more; `run` has been cancelled."""
        self._metrics.forget_config(self._path)

    @property
    def statuses(self) -> tuple[ConfigStatus, ...]:
        return (self.status,)

    @property
    def name(self) -> str | None:
        """Of the gateway that is served."""
        return self._served.text.gateway.name if self._served is not None else None

    @property
    def gateways(self) -> tuple[Gateway, ...]:
        """What is served, as its files say it; none before there is anything."""
        return () if self._served is None else (self._served.text.gateway,)

    @property
    def gateway(self) -> Gateway | None:
        """What is served, as its files say it; None before there is anything."""
        return self._served.text.gateway if self._served is not None else None

    async def run(self) -> None:
        """Follow the file and the cluster until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_file(), name="configuration file")
            if self._discovery is not None:
                tasks.create_task(self._follow_cluster(self._discovery), name="endpoints")
                tasks.create_task(self._rebuild_when_stale(), name="rebuild")

    async def _follow_file(self) -> None:
        while True:
            await self._watch.changed(self._recording)
            await self._reload()

    async def _follow_cluster(self, discovery: Discovering) -> None:
        """Endpoints are served here and now; what needs a translation must not hold up the next ones."""
        while True:
            affected = await discovery.take()
            if self._served is not None and self._take_endpoints(discovery, self._served, affected):
                self._stale.set()

    async def _rebuild_when_stale(self) -> None:
        while True:
            await self._stale.wait()
            self._stale.clear()
            await self._rebuild()

    def _take_endpoints(self, discovery: Discovering, served: _Built, affected: Affected) -> bool:
        """Serve the assignments that differ, at once; True if more than that may have changed."""
        text = served.text.gateway
        patched = _patched_assignments(text)
        more = bool(affected.contents)
        found = {}
        for name, reference in services_of(text, affected.services).items():
            service = text.services.get(name)
            if service is not None:
                as_discovered = discovery.cluster.service_as_discovered(service)
                more = more or as_discovered != served.discovered.gateway.services[name]
            if name in patched:
                more = True
            else:
                found[name] = discovery.cluster.endpoints(reference)
        self.set_endpoints(found)
        return more

    def set_endpoints(self, found: Endpoints) -> None:
        """Discovery found something: only the assignments that differ are built, and they are served at once.

        Args:
            found: by cluster, of those that may have changed.
        """
        served = self._served
        if served is None:
            return
        name = served.text.gateway.name
        for cluster, resource in _changed_assignments(served, found).items():
            snapshot = self._store.feeds[name].current.snapshot
            changes = {CLUSTER_LOAD_ASSIGNMENT: frozenset({cluster})}
            began_ns = time.time_ns()
            self._store.publish(name, snapshot.with_resource(resource), changes)
            self._store.traces.published(name, "endpoints", changes, began_ns)
            self._log.info("endpoints_published", gateway=name, cluster=cluster, version=resource.version)
            self._metrics.endpoint_updates.inc()
        known = replace(served.discovered, endpoints={**served.discovered.endpoints, **found})
        self._served = replace(served, discovered=known)

    async def _reload(self, *, patience_s: float | None = _PATIENCE_S) -> bool:
        """Read the file and serve it; False, and everything stays as it is, if it is faulty."""
        async with self._building:
            began_ns = time.time_ns()
            self._recording = recording = Recording()
            outcome = await self._build(recording, patience_s)
            now = time.time()
            self._metrics.config_reloads.labels("faulty" if isinstance(outcome, _Faulty) else "good").inc()
            if isinstance(outcome, _Faulty):
                self._note_faults(outcome.faults, now)
                return False
            self._publish(outcome, began_ns)
            self._status = ConfigStatus(self._path, True, (), outcome.text.warnings, now, now, False)
            self._metrics.note_config(self._path, valid=True)
            await asyncio.to_thread(self._keep, recording)
            return True

    async def _rebuild(self) -> None:
        """Translate what is served again: the cluster says something new about its services or Secrets."""
        async with self._building:
            began_ns = time.time_ns()
            served = self._served
            outcome = await self._translate(served.text) if served is not None else None
            if isinstance(outcome, _Built):
                self._publish(outcome, began_ns)

    async def _serve_last_good(self) -> bool:
        if self._last_good is None:
            return False
        try:
            kept = await asyncio.to_thread(self._last_good.load)
        except CorruptStateError as error:
            self._log.warning("last_good_ignored", reason=str(error))
            return False
        began_ns = time.time_ns()
        outcome = await self._build(kept, None) if kept is not None else None
        if not isinstance(outcome, _Built):
            return False
        self._publish(outcome, began_ns)
        self._status = ConfigStatus(
            self._path, False, self._status.faults, outcome.text.warnings, self._status.read_at, time.time(), True
        )
        self._log.error("serving_last_good", kept=str(self._last_good.path))
        return True

    async def _build(self, files: Files, patience_s: float | None) -> _Built | _Faulty:
        """
        Args:
            patience_s: how long to wait for what the cluster knows of services that are new in it; None: for ever.
        """
        began = time.perf_counter()
        text = await asyncio.to_thread(self._guarded, self._read, files)
        read_s = time.perf_counter() - began
        if isinstance(text, _Faulty):
            return text
        # Before it is published, and never between translation and publication: endpoints come in meanwhile.
        switching = self._store.traces.send_to(text.gateway.name, text.gateway.tracing.otlp_endpoint)
        if switching is not None:
            await asyncio.to_thread(switching.join)
        if self._discovery is not None:
            await self._discovery.prepare(text.gateway, patience_s)
        began = time.perf_counter()
        outcome = await self._translate(text)
        self._metrics.build_seconds.observe(read_s + time.perf_counter() - began)
        return outcome

    def _read(self, files: Files) -> _Text | _Faulty:
        loaded = load(self._path, files, self._environment, now=datetime.now(UTC), memory=self._memory)
        if loaded.gateway is None:
            return _Faulty(tuple(str(fault) for fault in loaded.faults))
        if (fault := self._claim(loaded.gateway.name)) is not None:
            return _Faulty((fault,))
        try:
            extra = extra_resources(self._path, loaded.gateway.name, files, self._field_rules)
        except ExtraResourceError as error:
            return _Faulty((str(error),))
        gateway = with_callouts(loaded.gateway, self._callouts)
        return _Text(gateway, loaded.materials, tuple(str(warning) for warning in loaded.warnings), extra)

    async def _translate(self, text: _Text) -> _Built | _Faulty:
        """The snapshot of what the cluster knows at the end, not at the begin: it may change meanwhile."""
        for _ in range(_ATTEMPTS):
            discovered = self._discover(text.gateway)
            outcome = await asyncio.to_thread(self._guarded, self._built, text, discovered)
            if isinstance(outcome, _Faulty):
                return outcome
            newest = self._discover(text.gateway)
            if (newest.gateway, newest.materials) == (discovered.gateway, discovered.materials):
                return _with_endpoints(outcome, newest)
        return outcome

    def _guarded(self, function: Callable[P, R | _Faulty], *args: P.args, **kwargs: P.kwargs) -> R | _Faulty:
        try:
            return function(*args, **kwargs)
        except PatchError as error:
            return _Faulty((f"{self._path}: {error}",))
        except Exception:
            # Ours, not the operator's; but what is being served must not end with it.
            self._log.exception("configuration_not_translated")
            return _Faulty((f"{self._path}: cannot be translated: a fault of the gateway, see its log",))

    def _built(self, text: _Text, discovered: Discovered) -> _Built:
        materials = {**text.materials, **discovered.materials}
        snapshot = self._translator.translate(discovered.gateway, discovered.endpoints, materials)
        snapshot = with_extra(snapshot, text.extra)
        admitted = self._admission.admit(snapshot, self._served.snapshot if self._served is not None else None)
        return _Built(text, discovered, admitted.snapshot, admitted.withheld)

    def _discover(self, gateway: Gateway) -> Discovered:
        return self._discovery.cluster.discovered(gateway) if self._discovery is not None else Discovered(gateway)

    def _publish(self, built: _Built, began_ns: int) -> None:
        name = built.text.gateway.name
        changes = self._store.publish(name, built.snapshot)
        self._store.traces.published(name, "configuration", changes, began_ns)
        before = self._served.withheld if self._served is not None else ()
        for withheld in sorted(set(built.withheld) - set(before), key=str):
            self._log.error(
                "resource_withheld",
                type=withheld.type,
                name=withheld.name,
                instead=withheld.instead,
                reason=withheld.reason,
            )
        self._metrics.withheld.labels(name).set(len(built.withheld))
        new_warnings = set(built.text.warnings) - set(self._served.text.warnings if self._served else ())
        self._served = built
        if self._discovery is not None:
            self._discovery.settle(built.text.gateway)
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
        self._metrics.note_config(self._path, valid=False)
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


def _with_endpoints(built: _Built, newest: Discovered) -> _Built:
    """The snapshot with the endpoints that changed while it was made; it must not go back to what was."""
    patched = _patched_assignments(built.text.gateway)
    found = {name: endpoints for name, endpoints in newest.endpoints.items() if name not in patched}
    snapshot = built.snapshot
    for resource in _changed_assignments(built, found).values():
        snapshot = snapshot.with_resource(resource)
    known = {**built.discovered.endpoints, **found}
    return replace(built, snapshot=snapshot, discovered=replace(built.discovered, endpoints=known))


def _changed_assignments(built: _Built, found: Endpoints) -> Mapping[str, Resource]:
    """The assignments, by cluster, of those that have other endpoints than the snapshot was made of."""
    served = built.snapshot.of_type(CLUSTER_LOAD_ASSIGNMENT)
    before = built.discovered.endpoints
    changed = sorted(name for name, endpoints in found.items() if name in served and before.get(name, ()) != endpoints)
    return {name: load_assignment(name, found[name], served[name].kinds) for name in changed}


def _patched_assignments(gateway: Gateway) -> frozenset[str]:
    return frozenset(patch.name for patch in gateway.envoy_patches if patch.type == "endpoints")


def with_callouts(gateway: Gateway, endpoints: Mapping[str, Endpoint]) -> Gateway:
    """The gateway with these endpoints in place of those in its file, by "ext_authz", "ext_proc" and "analytics".

    A receiver for analytics switches it on, unless the file says `analytics: none`.
    """
    changed = {
        name: getattr(gateway.callouts, name).model_copy(update=_only(endpoint))
        for name, endpoint in endpoints.items()
        if name != ANALYTICS
    }
    if changed:
        gateway = gateway.model_copy(update={"callouts": gateway.callouts.model_copy(update=changed)})
    if ANALYTICS in endpoints and gateway.analytics != "none":
        gateway = gateway.model_copy(update={"analytics": Analytics().model_copy(update=_only(endpoints[ANALYTICS]))})
    return gateway


def _only(endpoint: Endpoint) -> dict[str, object]:
    """What makes a callout lead to one endpoint."""
    fixed = CalloutEndpoint(
        address=None if endpoint.address.startswith("/") else endpoint.address,
        port=endpoint.port or None,
        path=endpoint.address if endpoint.address.startswith("/") else None,
    )
    return {"endpoints": (fixed,), "kubernetes": None}
