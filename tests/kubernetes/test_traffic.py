"""Requests through the gateway of a real cluster while its services change: not one may fail.

Needs GATEWAY_URL (`make kind-test` sets it) and the demo services of the kind overlay.
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import orjson
import pytest

from control_plane.kubernetes.connection import Connection, from_kubeconfig
from tests.kubernetes.cluster import kubeconfig
from tests.kubernetes.store import Object

URL = os.environ.get("GATEWAY_URL", "")
pytestmark = [
    pytest.mark.skipif(not (URL and kubeconfig()), reason="needs a cluster with the gateway (make kind-test)"),
    pytest.mark.timeout(300),
]
NAMESPACE = "/namespaces/meetinity"
USERS = f"/apis/apps/v1{NAMESPACE}/deployments/users"


class Load:
    """Requests without a pause, and what came of them."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.running = True

    async def client(self, session: aiohttp.ClientSession) -> None:
        while self.running:
            try:
                async with session.get(f"{URL}/api/users/1") as answer:
                    await answer.read()
                    self.outcomes[str(answer.status)] += 1
            except (aiohttp.ClientError, TimeoutError) as exc:
                self.outcomes[type(exc).__name__] += 1

    @property
    def failed(self) -> dict[str, int]:
        return {outcome: count for outcome, count in self.outcomes.items() if outcome != "200"}


@asynccontextmanager
async def load() -> AsyncIterator[Load]:
    """Eight clients; they are ended before the context is."""
    found = Load()
    timeout = aiohttp.ClientTimeout(total=15)
    async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as tasks:
        for _ in range(8):
            tasks.create_task(found.client(session))
        try:
            yield found
        finally:
            found.running = False


@pytest.fixture
async def api() -> AsyncIterator[Connection]:
    async with Connection(from_kubeconfig(kubeconfig())) as connection:
        yield connection


async def read(api: Connection, path: str) -> Object:
    answer = await api.request("GET", path)
    assert answer.status == 200, answer
    found: Object = orjson.loads(answer.body)
    return found


async def patch(api: Connection, path: str, change: Object) -> None:
    answer = await api.request("PATCH", path, body=change)
    assert answer.status == 200, answer


async def until(api: Connection, path: str, holds: Callable[[Object], bool]) -> None:
    async with asyncio.timeout(120):
        while not holds(await read(api, path)):  # noqa: ASYNC110 - a cluster is asked
            await asyncio.sleep(0.5)


def rolled_out(deployment: Object) -> bool:
    status, wanted = deployment["status"], deployment["spec"]["replicas"]
    return bool(
        status.get("observedGeneration") == deployment["metadata"]["generation"]
        and status.get("updatedReplicas") == wanted
        and status.get("availableReplicas") == wanted
        and status.get("replicas") == wanted
    )


async def pods_are_gone(api: Connection, count: int) -> None:
    """Terminating pods of `users` are gone."""
    path = f"/api/v1{NAMESPACE}/pods?labelSelector=app.kubernetes.io/name%3Dusers"
    await until(api, path, lambda pods: len(pods["items"]) == count)


async def scale(api: Connection, replicas: int) -> None:
    await patch(api, USERS, {"spec": {"replicas": replicas}})
    await until(api, USERS, rolled_out)
    await pods_are_gone(api, replicas)


async def test_scaling_loses_no_request(api: Connection) -> None:
    """Up and down again."""
    async with load() as found:
        await scale(api, 5)
        await scale(api, 2)

    assert {} == found.failed
    assert found.outcomes["200"] > 100


async def test_a_rollout_loses_no_request(api: Connection) -> None:
    """Every pod is replaced."""
    async with load() as found:
        stamp = {"metadata": {"annotations": {"gateway.meetinity.io/test": os.urandom(4).hex()}}}
        await patch(api, USERS, {"spec": {"template": stamp}})
        await until(api, USERS, rolled_out)
        await pods_are_gone(api, 2)

    assert {} == found.failed
    assert found.outcomes["200"] > 100


async def test_killing_the_control_plane_loses_no_request(api: Connection) -> None:
    """Traffic does not need it, and a new one takes nothing away."""
    path = "/apis/apps/v1/namespaces/meetinity-gateway/deployments/control-plane"
    async with load() as found:
        pods = await read(api, "/api/v1/namespaces/meetinity-gateway/pods")
        for pod in pods["items"]:
            if pod["metadata"]["labels"].get("app.kubernetes.io/name") == "control-plane":
                name = pod["metadata"]["name"]
                answer = await api.request(
                    "DELETE", f"/api/v1/namespaces/meetinity-gateway/pods/{name}", body={"gracePeriodSeconds": 0}
                )
                assert answer.status in (200, 202), answer
        await until(api, path, lambda one: not rolled_out(one))
        await until(api, path, rolled_out)
        await scale(api, 3)
        await scale(api, 2)

    assert {} == found.failed


async def test_a_service_without_pods_answers_503_at_once(api: Connection) -> None:
    """Scaled to zero: a clear answer, no hang; and traffic again when it is scaled up."""
    events = f"/apis/apps/v1{NAMESPACE}/deployments/events"
    await patch(api, events, {"spec": {"replicas": 0}})
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:

            async def status() -> tuple[int, str]:
                async with session.get(f"{URL}/api/events") as answer:
                    return answer.status, await answer.text()

            async with asyncio.timeout(60):
                while (found := await status())[0] != 503:  # noqa: ASYNC110 - a cluster is asked
                    await asyncio.sleep(0.2)
            assert "urn:meetinity:no-endpoints" in found[1]
    finally:
        await patch(api, events, {"spec": {"replicas": 2}})
    await until(api, events, rolled_out)
