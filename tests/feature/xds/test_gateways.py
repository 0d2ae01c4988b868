"""A folder of gateway files: each is served by its name, on its own, whatever becomes of the others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from control_plane.config_file import Watch
from control_plane.gateways import Gateways, StillConfiguredError
from control_plane.metrics import Metrics
from control_plane.reconciler import Claim, Discovering, Reconciler
from control_plane.resource_types import CLUSTER, NodeKind
from control_plane.state import LastGood
from control_plane.xds.session import Node
from control_plane.xds.store import Store, UnknownGatewayError
from gateway_runtime.process import StartError
from tests.feature.xds.test_reconciler import GOOD, until

FAULTY = "version: 1\nname: edge\nlisteners: []\n"


class Folder:
    """Gateways on a folder, as `--config-dir` makes them."""

    def __init__(self, path: Path) -> None:
        self.path = path / "gateways"
        self.path.mkdir(exist_ok=True)
        self.registry = CollectorRegistry()
        self.store = Store()
        metrics = Metrics(self.registry)

        def make(path: str, last_good: LastGood | None, cluster: Discovering | None, claim: Claim) -> Reconciler:
            return Reconciler(
                path=path,
                environment={},
                store=self.store,
                metrics=metrics,
                last_good=last_good,
                watch=Watch(poll_s=0.02, quiet_s=0.02),
                discovery=cluster,
                claim=claim,
            )

        self.gateways = Gateways(self.path, make, self.store, state_dir=path / "state", discovery=None)

    def write(self, name: str, text: str | None = None) -> None:
        (self.path / f"{name}.yaml").write_text(text or GOOD.replace("name: meetinity", f"name: {name}"))

    def clusters(self, gateway: str) -> set[str]:
        return set(self.store.feeds[gateway].current.snapshot.of_type(CLUSTER))

    @property
    def served(self) -> list[str]:
        return sorted(self.store.feeds)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await self.gateways.start()
        task = asyncio.create_task(self.gateways.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_every_file_is_a_gateway_chosen_by_node_cluster(tmp_path: Path) -> None:
    """A name that no file has is refused with the names there are."""
    folder = Folder(tmp_path)
    folder.write("edge")
    folder.write("sidecar")
    await folder.gateways.start()

    assert ["edge", "sidecar"] == folder.served
    assert "edge" == (await folder.store.feed_for(Node("1", "edge", NodeKind.ENVOY))).name
    with pytest.raises(UnknownGatewayError, match="there is: edge, sidecar"):
        await folder.store.feed_for(Node("1", "other", NodeKind.ENVOY))


async def test_a_file_that_breaks_holds_nobody_else_up(tmp_path: Path) -> None:
    """Its own last good snapshot stays, another file's edit is served, the metric says that not all is well."""
    folder = Folder(tmp_path)
    folder.write("edge")
    folder.write("sidecar")
    async with folder.running():
        folder.write("edge", FAULTY)
        extra = "services:\n  extra: {endpoints: [{address: 127.0.0.1, port: 1}]}"
        folder.write("sidecar", GOOD.replace("name: meetinity", "name: sidecar").replace("services:", extra))
        await until(lambda: "extra" in folder.clusters("sidecar") and bool(folder.gateways.status.faults))

        assert "users" in folder.clusters("edge")
        assert [False, True] == [status.valid for status in folder.gateways.statuses]
        assert 0 == folder.registry.get_sample_value("gateway_config_valid")


async def test_a_new_file_is_a_new_gateway(tmp_path: Path) -> None:
    """Without a restart."""
    folder = Folder(tmp_path)
    folder.write("edge")
    async with folder.running():
        folder.write("sidecar")
        await until(lambda: folder.served == ["edge", "sidecar"])


async def test_a_file_that_disappears_is_served_until_an_operator_removes_its_gateway(tmp_path: Path) -> None:
    """A restart changes nothing about that; a file that is there is no gateway to remove."""
    before = Folder(tmp_path)
    before.write("edge")
    before.write("sidecar")
    async with before.running():
        (before.path / "sidecar.yaml").unlink()
        await until(lambda: bool(before.gateways.status.faults))
        assert ["edge", "sidecar"] == before.served
    after = Folder(tmp_path)
    async with after.running():
        assert ["edge", "sidecar"] == after.served
        with pytest.raises(StillConfiguredError):
            after.gateways.remove("edge")
        after.gateways.remove("sidecar")
        assert ["edge"] == after.served
        assert after.gateways.status.valid
        with pytest.raises(KeyError):
            after.gateways.remove("sidecar")
    last = Folder(tmp_path)
    await last.gateways.start()

    assert ["edge"] == last.served


async def test_two_files_are_not_one_gateway(tmp_path: Path) -> None:
    """The second is faulty, and told which file has the name."""
    folder = Folder(tmp_path)
    folder.write("edge")
    folder.write("other", GOOD.replace("name: meetinity", "name: edge"))
    await folder.gateways.start()

    assert ["edge"] == folder.served
    assert "'edge' is the gateway of" in folder.gateways.status.faults[0]


async def test_a_folder_without_gateways_is_no_start(tmp_path: Path) -> None:
    """Nor is one whose files are all faulty."""
    with pytest.raises(StartError, match="holds no gateway"):
        await Folder(tmp_path).gateways.start()
    folder = Folder(tmp_path)
    folder.write("edge", FAULTY)
    with pytest.raises(StartError, match=r"edge\.yaml"):
        await folder.gateways.start()
    assert not folder.store.is_open
