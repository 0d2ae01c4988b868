"""Every gateway of this control plane: one per file of a directory, each followed by a reconciler of its own.

A file that breaks changes nothing for its gateway. One that disappears does not either: its last good snapshot is
served on, after a restart too if there is a state directory, until an operator removes the gateway.
"""

import asyncio
import glob
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from control_plane.config.model.gateway import Gateway
from control_plane.kubernetes.cluster import Affected, Cluster
from control_plane.kubernetes.discovery import Discovery
from control_plane.reconciler import Claim, ConfigStatus, Discovering, Reconciler
from control_plane.state import LastGood
from control_plane.xds.store import Store
from gateway_runtime.process import StartError
from gateway_runtime.telemetry import logger

_POLL_S = 0.5
"""New files are looked for so often; known ones are followed faster."""

Make = Callable[[str, LastGood | None, Discovering | None, Claim], Reconciler]
"""A reconciler of one file: its path, where its last good text is kept, its share of the cluster, whose name it is."""


class StillConfiguredError(Exception):
    """A gateway cannot be removed while its file is there."""


class Gateways:
    """Call `start` once, then `run`."""

    def __init__(
        self, directory: Path, make: Make, store: Store, *, state_dir: Path | None, discovery: Discovery | None
    ) -> None:
        """
        Args:
            directory: each *.yaml and *.yml in it is one gateway.
            state_dir: a folder for each file is made below it; None: nothing is kept.
        """
        self._directory = directory
        self._make = make
        self._store = store
        self._kept = state_dir / "gateways" if state_dir is not None else None
        self._shares = Shares(discovery) if discovery is not None else None
        self._reconcilers: dict[str, Reconciler] = {}
        self._following: dict[str, asyncio.Task[None]] = {}
        self._log = logger("gateways").bind(directory=str(directory))

    @property
    def statuses(self) -> tuple[ConfigStatus, ...]:
        """Of each file, by name."""
        return tuple(one.status for _, one in sorted(self._reconcilers.items()))

    @property
    def status(self) -> ConfigStatus:
        """Of all together."""
        every = self.statuses
        return ConfigStatus(
            file=str(self._directory),
            valid=all(one.valid for one in every),
            faults=tuple(fault for one in every for fault in one.faults),
            warnings=tuple(warning for one in every for warning in one.warnings),
            read_at=max((one.read_at for one in every), default=0.0),
            serving_since=max((one.serving_since for one in every), default=0.0),
            is_last_good=any(one.is_last_good for one in every),
            withheld=tuple(withheld for one in every for withheld in one.withheld),
        )

    @property
    def gateways(self) -> tuple[Gateway, ...]:
        """What is served, as the files say it."""
        return tuple(gateway for _, one in sorted(self._reconcilers.items()) for gateway in one.gateways)

    async def start(self, *, strict: bool = False) -> None:
        """Serve every file that can be served, or what was kept of it.

        Raises:
            StartError: there is nothing to serve, or a file is faulty and `strict`; exit code 2.
        """
        distributing = asyncio.create_task(self._shares.run(), name="shares") if self._shares is not None else None
        try:
            found = {path: await self._adopt(path, strict=strict) for path in self._paths()}
        finally:
            if distributing is not None:
                distributing.cancel()
        if not found:
            raise StartError(f"{self._directory}: holds no gateway (*.yaml)", exit_code=2)
        if not any(found.values()) or (strict and not all(found.values())):
            raise StartError("\n".join(self.status.faults), exit_code=2)
        for path, is_served in found.items():
            if not is_served:
                self._log.error("gateway_not_served", file=path, faults=self._reconcilers[path].status.faults)
        self._store.open()

    async def run(self) -> None:
        """Follow the directory, its files and the cluster until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            if self._shares is not None:
                tasks.create_task(self._shares.run(), name="shares")
            for path, reconciler in self._reconcilers.items():
                self._following[path] = tasks.create_task(reconciler.run(), name=f"gateway {path}")
            while True:
                await asyncio.sleep(_POLL_S)
                for path in await asyncio.to_thread(self._paths):
                    if path not in self._reconcilers:
                        await self._adopt(path)
                        self._log.info("gateway_file_found", file=path)
                        self._following[path] = tasks.create_task(self._reconcilers[path].run(), name=f"gateway {path}")

    def remove(self, name: str) -> None:
        """Stop serving a gateway whose file is gone, and forget what was kept of it.

        Raises:
            KeyError: there is no such gateway.
            StillConfiguredError: its file is there.
        """
        path = next((path for path, one in self._reconcilers.items() if one.name == name), None)
        if path is None:
            raise KeyError(name)
        if os.path.exists(path):
            raise StillConfiguredError(f"{path} is there: remove the file first")
        if path in self._following:
            self._following.pop(path).cancel()
        reconciler = self._reconcilers.pop(path)
        if (kept := self._last_good(path)) is not None:
            shutil.rmtree(kept.directory, ignore_errors=True)
        reconciler.retire()
        self._store.remove(name)
        self._log.warning("gateway_removed", gateway=name, file=path)

    async def _adopt(self, path: str, *, strict: bool = False) -> bool:
        share = self._shares.share() if self._shares is not None else None
        reconciler = self._reconcilers[path] = self._make(path, self._last_good(path), share, self._claim(path))
        return await reconciler.begin(strict=strict)

    def _paths(self) -> list[str]:
        """Of the files that are there and of those that something was kept of."""
        found = {
            path for ending in ("yaml", "yml") for path in glob.glob(f"{glob.escape(str(self._directory))}/*.{ending}")
        }
        if self._kept is not None:
            with suppress(OSError):
                found.update(str(self._directory / entry.name) for entry in self._kept.iterdir() if entry.is_dir())
        return sorted(found)

    def _last_good(self, path: str) -> LastGood | None:
        return LastGood(self._kept / Path(path).name) if self._kept is not None else None

    def _claim(self, path: str) -> Claim:
        """Two files cannot be one gateway: the one that was served first keeps the name."""

        def fault(name: str) -> str | None:
            for other, reconciler in self._reconcilers.items():
                if other != path and reconciler.name == name:
                    return f"{path}: name: {name!r} is the gateway of {other}"
            own = self._reconcilers[path].name
            if own is not None and own != name:
                return f"{path}: name: was {own!r}, which Envoys ask for (a gateway of another name is another file)"
            return None

        return fault


class Shares:
    """One `Discovery` for several reconcilers: what all of them need is watched, what changed is told to each."""

    def __init__(self, discovery: Discovery) -> None:
        self._discovery = discovery
        self._all: list[_Share] = []

    def share(self) -> Discovering:
        one = _Share(self._discovery, self._settle)
        self._all.append(one)
        return one

    async def run(self) -> None:
        while True:
            affected = await self._discovery.take()
            for one in self._all:
                one.tell(affected)

    def _settle(self) -> None:
        self._discovery.settle(*(gateway for one in self._all for gateway in one.gateways.values()))


class _Share:
    """What one reconciler sees of the cluster."""

    def __init__(self, discovery: Discovery, on_settled: Callable[[], None]) -> None:
        self._discovery = discovery
        self._on_settled = on_settled
        self.gateways: dict[str, Gateway] = {}
        """What it serves and what it prepares."""
        self._affected = Affected()
        self._changed = asyncio.Event()

    @property
    def cluster(self) -> Cluster:
        return self._discovery.cluster

    async def prepare(self, gateway: Gateway, patience_s: float | None) -> None:
        self.gateways["next"] = gateway
        await self._discovery.prepare(gateway, patience_s)

    def settle(self, gateway: Gateway) -> None:
        self.gateways = {"served": gateway}
        self._on_settled()

    def tell(self, affected: Affected) -> None:
        self._affected |= affected
        self._changed.set()

    async def take(self) -> Affected:
        await self._changed.wait()
        self._changed.clear()
        affected, self._affected = self._affected, Affected()
        return affected
