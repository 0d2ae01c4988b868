"""What the control plane writes to the cluster: its Lease and Events."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Never

import orjson
import pytest

from control_plane.kubernetes import election
from control_plane.kubernetes.election import Election
from control_plane.kubernetes.events import Events
from control_plane.kubernetes.problems import Problem, Reference
from tests.kubernetes.cluster import CORE, Namespace
from tests.kubernetes.store import Object


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.01)


@asynccontextmanager
async def candidates(shop: Namespace, *names: str) -> AsyncIterator[list[tuple[Election, asyncio.Task[Never]]]]:
    found = []
    for name in names:
        candidate = Election(shop.connection, namespace=shop.name, identity=name)
        found.append((candidate, asyncio.create_task(candidate.run())))
    try:
        yield found
    finally:
        for _, task in found:
            task.cancel()
        await asyncio.wait([task for _, task in found])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shortest times that the client allows."""
    monkeypatch.setattr(election, "LEASE_S", 3)
    monkeypatch.setattr(election, "RENEW_S", 2)
    monkeypatch.setattr(election, "RETRY_S", 1)


@pytest.mark.usefixtures("quick")
async def test_one_replica_leads_and_another_follows_it(shop: Namespace) -> None:
    """At any time one leader; when it is gone the other takes over."""
    async with candidates(shop, "a", "b") as found:
        await until(lambda: any(candidate.is_leader for candidate, _ in found))
        (leader, task), (follower, _) = sorted(found, key=lambda pair: not pair[0].is_leader)
        assert not follower.is_leader

        task.cancel()
        await asyncio.wait([task])
        assert not leader.is_leader
        await until(lambda: follower.is_leader)


@pytest.mark.usefixtures("quick")
async def test_a_leader_that_loses_the_api_server_steps_down(shop: Namespace, double: object) -> None:
    """It does not know whether another one leads now; when the server is back there is a leader again."""
    server = shop.server
    assert server is not None
    async with candidates(shop, "a") as ((candidate, _),):
        await until(lambda: candidate.is_leader)
        await server.stop()
        await until(lambda: not candidate.is_leader)
        await server.start()
        await until(lambda: candidate.is_leader)


async def events_of(shop: Namespace) -> list[Object]:
    answer = await shop.list(CORE, "events")
    found: list[Object] = orjson.loads(answer.body)["items"]
    return found


def reporting(shop: Namespace, present: Sequence[Problem], *, leads: bool = True) -> Events:
    return Events(
        shop.connection, lambda: present, is_leader=lambda: leads, instance="gateway-0", monotonic=lambda: 1000.0
    )


async def test_a_problem_becomes_an_event_of_its_object(shop: Namespace) -> None:
    """`kubectl describe configmap` shows it; it is written once, not every two seconds."""
    created = await shop.create(CORE, "configmaps", {"metadata": {"name": "gateway"}, "data": {"gateway.yaml": "x"}})
    problem = Problem(Reference("ConfigMap", shop.name, "gateway"), "ConfigurationFaulty", "gateway.yaml:1:1: x")
    reporter = reporting(shop, [problem])

    await reporter.report()
    await reporter.report()

    (found,) = await events_of(shop)
    assert ("Warning", "ConfigurationFaulty", "gateway.yaml:1:1: x") == (
        found["type"],
        found["reason"],
        found["message"],
    )
    assert ("ConfigMap", "gateway") == (found["involvedObject"]["kind"], found["involvedObject"]["name"])
    assert created["metadata"].get("uid") == found["involvedObject"].get("uid")


async def test_only_the_leader_writes(shop: Namespace) -> None:
    """Ten replicas do not write ten Events."""
    problem = Problem(Reference("ConfigMap", shop.name, "gateway"), "ConfigurationFaulty", "x")
    await reporting(shop, [problem], leads=False).report()

    assert [] == await events_of(shop)


async def test_events_that_may_not_be_written_stop_nothing(shop: Namespace, double: object) -> None:
    """RBAC without `create` on events: a line in the log, no crash."""
    server = shop.server
    assert server is not None
    server.forbidden.add((shop.name, "events"))
    problem = Problem(Reference("ConfigMap", shop.name, "gateway"), "ConfigurationFaulty", "x")

    await reporting(shop, [problem]).report()
