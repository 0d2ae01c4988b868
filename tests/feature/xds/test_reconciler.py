"""From the file to the store: good texts are served within a second, faulty ones change nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from control_plane.config_file import Watch
from control_plane.endpoints import Endpoint
from control_plane.metrics import Metrics
from control_plane.reconciler import Reconciler
from control_plane.resource_types import CLUSTER, CLUSTER_LOAD_ASSIGNMENT
from control_plane.state import LastGood
from control_plane.xds.store import Store
from gateway_runtime.process import StartError

GOOD = """\
version: 1
name: meetinity
listeners: [{name: public, address: 127.0.0.1, port: 10000, client_ip: {trusted_hops: 0}}]
services:
  users: {endpoints: [{address: 127.0.0.1, port: 8101}]}
  pods: {kubernetes: {namespace: n, service: pods, port: http}}
routes:
  - {name: users, match: {path_prefix: /users}, auth: none, service: users}
  - {name: pods, match: {path_prefix: /}, auth: none, service: pods}
"""
FAULTY = GOOD.replace("service: users}", "service: absent}")


class Setup:
    """A reconciler and what it works on."""

    def __init__(
        self, directory: Path, *, callouts: Mapping[str, Endpoint] | None = None, store: Store | None = None
    ) -> None:
        self.path = directory / "gateway.yaml"
        self.registry = CollectorRegistry()
        self.store = store or Store()
        self.last_good = LastGood(directory / "state")
        self.reconciler = Reconciler(
            path=str(self.path),
            environment={},
            store=self.store,
            metrics=Metrics(self.registry),
            last_good=self.last_good,
            callouts=callouts,
            watch=Watch(poll_s=0.02, quiet_s=0.02),
        )

    @property
    def clusters(self) -> set[str]:
        return set(self.store.feeds["meetinity"].current.snapshot.of_type(CLUSTER))

    def is_valid(self) -> bool:
        return self.registry.get_sample_value("gateway_config_valid") == 1

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await self.reconciler.start()
        task = asyncio.create_task(self.reconciler.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


async def until(holds: Callable[[], bool]) -> None:
    """The observable state is reached within 5 s."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)


async def test_a_good_file_is_served_and_followed(tmp_path: Path) -> None:
    """A new service appears without a restart."""
    setup = Setup(tmp_path)
    setup.path.write_text(GOOD)
    async with setup.running():
        assert setup.store.is_open
        assert setup.is_valid()
        setup.path.write_text(GOOD.replace("  pods:", "  extra: {endpoints: [{address: 127.0.0.1, port: 1}]}\n  pods:"))
        await until(lambda: "extra" in setup.clusters)


async def test_a_faulty_edit_changes_nothing_and_a_fix_is_served(tmp_path: Path) -> None:
    """Status and metric tell of it meanwhile."""
    setup = Setup(tmp_path)
    setup.path.write_text(GOOD)
    async with setup.running():
        generation = setup.store.feeds["meetinity"].current.generation
        setup.path.write_text(FAULTY)
        await until(lambda: not setup.is_valid())
        status = setup.reconciler.status
        assert not status.valid
        assert any("absent" in fault for fault in status.faults)
        assert generation == setup.store.feeds["meetinity"].current.generation
        setup.path.write_text(GOOD)
        await until(setup.is_valid)

    assert setup.reconciler.status.valid
    assert () == setup.reconciler.status.faults


async def test_an_edit_without_effect_publishes_nothing(tmp_path: Path) -> None:
    """A comment is no change."""
    setup = Setup(tmp_path)
    setup.path.write_text(GOOD)
    async with setup.running():
        read_at = setup.reconciler.status.read_at
        setup.path.write_text(GOOD + "# a comment\n")
        await until(lambda: setup.reconciler.status.read_at > read_at)

    assert 1 == setup.store.feeds["meetinity"].current.generation


async def test_a_faulty_file_at_the_first_start_ends_it(tmp_path: Path) -> None:
    """Every fault stands in the error, with exit code 2."""
    setup = Setup(tmp_path)
    setup.path.write_text(FAULTY.replace("version: 1", "version: 7"))
    with pytest.raises(StartError, match="absent") as raised:
        await setup.reconciler.start()

    assert 2 == raised.value.exit_code
    assert len(str(raised.value).splitlines()) >= 2
    assert not setup.store.is_open


async def test_a_restart_with_a_faulty_file_serves_the_last_good_one(tmp_path: Path) -> None:
    """And says so."""
    before = Setup(tmp_path)
    before.path.write_text(GOOD)
    await before.reconciler.start()
    before.path.write_text(FAULTY)
    after = Setup(tmp_path)
    await after.reconciler.start()

    assert after.store.is_open
    assert before.clusters == after.clusters
    assert after.reconciler.status.is_last_good
    assert not after.reconciler.status.valid
    assert not after.is_valid()


async def test_a_strict_restart_with_a_faulty_file_ends(tmp_path: Path) -> None:
    """Whatever is kept."""
    before = Setup(tmp_path)
    before.path.write_text(GOOD)
    await before.reconciler.start()
    before.path.write_text(FAULTY)

    with pytest.raises(StartError):
        await Setup(tmp_path).reconciler.start(strict=True)


async def test_a_corrupt_last_good_file_is_ignored(tmp_path: Path) -> None:
    """A faulty file then ends the start as if nothing had been kept."""
    setup = Setup(tmp_path)
    setup.path.write_text(FAULTY)
    setup.last_good.directory.mkdir()
    setup.last_good.path.write_text("garbage")

    with pytest.raises(StartError, match="absent"):
        await setup.reconciler.start()


async def test_discovered_endpoints_touch_one_assignment(tmp_path: Path) -> None:
    """Everything else of the snapshot stays the same object."""
    setup = Setup(tmp_path)
    setup.path.write_text(GOOD)
    await setup.reconciler.start()
    before = setup.store.feeds["meetinity"].current.snapshot
    setup.reconciler.set_endpoints({"pods": (Endpoint("10.0.0.1", 80),)})
    after = setup.store.feeds["meetinity"].current.snapshot

    assert {CLUSTER_LOAD_ASSIGNMENT: frozenset({"pods"})} == after.changes_since(before)
    assert before.of_type(CLUSTER) is after.of_type(CLUSTER)
    setup.reconciler.set_endpoints({"pods": (Endpoint("10.0.0.1", 80),)})
    assert after is setup.store.feeds["meetinity"].current.snapshot


async def test_callout_endpoints_given_at_the_start_replace_the_configured_ones(tmp_path: Path) -> None:
    """`gatewayctl up` knows where it has started the services."""
    setup = Setup(tmp_path, callouts={"ext_authz": Endpoint("127.0.0.9", 4242)})
    setup.path.write_text(GOOD)
    await setup.reconciler.start()
    assignment = setup.store.feeds["meetinity"].current.snapshot.of_type(CLUSTER_LOAD_ASSIGNMENT)["callout:ext_authz"]

    assert b"127.0.0.9" in assignment.body
