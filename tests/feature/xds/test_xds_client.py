"""The services' xDS client against the real server."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from control_plane.resource_types import AUTHZ_POLICY, SECRET
from control_plane.xds.store import PolicyTimings
from gateway_runtime.xds_client import Rejected, XdsClient
from tests.feature.xds.serving import QUICK, Serving, policy, serving


class Sink:
    """Holds what comes; refuses a response with a name that it is told to refuse."""

    def __init__(self, log: list[str] | None = None, label: str = "") -> None:
        self.holds: dict[str, bytes] = {}
        self.bad: set[str] = set()
        self.changed = asyncio.Event()
        self.count = 0
        self.last_changed: set[str] = set()
        self._log, self._label = log, label

    def apply(self, changed: Mapping[str, bytes], removed: Collection[str]) -> None:
        if self._log is not None:
            self._log.append(self._label)
        self.changed.set()
        self.count += 1
        self.last_changed = set(changed)
        if refused := self.bad & changed.keys():
            raise Rejected(f"cannot compile {', '.join(sorted(refused))}")
        self.holds.update(changed)
        for name in removed:
            self.holds.pop(name, None)

    async def until(self, *names: str) -> None:
        """Until it holds exactly these."""
        async with asyncio.timeout(10):
            while set(names) != self.holds.keys():
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def client(
    address: str, sinks: Mapping[str, Sink], ready: asyncio.Event, backoff_s: tuple[float, float] = (0.1, 5.0)
) -> AsyncIterator[XdsClient]:
    """A running client."""
    running = XdsClient(
        target=address,
        node_id="authz-1",
        user_agent_name="meetinity-ext-authz",
        cluster="",
        sinks=sinks,
        on_ready=ready.set,
        jitter=lambda: 0.0,
        backoff_s=backoff_s,
    )
    task = asyncio.create_task(running.run())
    try:
        yield running
    finally:
        task.cancel()
        await asyncio.wait([task])


async def ready_within(ready: asyncio.Event) -> None:
    async with asyncio.timeout(10):
        await ready.wait()


async def test_it_is_ready_after_an_answer_of_every_type(xds: Serving) -> None:
    """Also if there is nothing of a type; secrets are applied before what refers to them."""
    log: list[str] = []
    sinks = {SECRET: Sink(log, "secret"), AUTHZ_POLICY: Sink(log, "policy")}
    ready = asyncio.Event()
    async with client(xds.address, sinks, ready):
        xds.publish(policy("authz-1"))
        await ready_within(ready)

    assert ["secret", "policy"] == log
    assert {"authz-1"} == sinks[AUTHZ_POLICY].holds.keys()


async def test_it_follows_changes() -> None:
    """New policies come, old ones go."""
    async with serving(QUICK, PolicyTimings(retained_s=0.0)) as xds:
        xds.publish(policy("authz-1"))
        sink, ready = Sink(), asyncio.Event()
        async with client(xds.address, {AUTHZ_POLICY: sink}, ready):
            await ready_within(ready)
            xds.publish(policy("authz-2"))
            await sink.until("authz-1", "authz-2")
            xds.store.expire()
            await sink.until("authz-2")

    assert {"authz-2"} == sink.holds.keys()


async def test_a_refused_response_changes_nothing_and_its_good_part_comes_again(xds: Serving) -> None:
    """The NACK names the culprit, the others are sent once more."""
    xds.publish(policy("authz-1"))
    sink, ready = Sink(), asyncio.Event()
    sink.bad.add("authz-bad")
    async with client(xds.address, {AUTHZ_POLICY: sink}, ready):
        await ready_within(ready)
        xds.publish(policy("authz-1"), policy("authz-2"), policy("authz-3"), policy("authz-bad"))
        await sink.until("authz-1", "authz-2", "authz-3")

    assert "authz-bad" not in sink.holds


async def test_an_unknown_name_is_asked_for_once_and_comes_when_it_is_there(xds: Serving) -> None:
    """However many wait for it."""
    xds.publish(policy("authz-1"))
    sink, ready = Sink(), asyncio.Event()
    async with client(xds.address, {AUTHZ_POLICY: sink}, ready) as running:
        await ready_within(ready)
        await running.request(AUTHZ_POLICY, "authz-1")
        waiting = [asyncio.create_task(running.request(AUTHZ_POLICY, "authz-9")) for _ in range(50)]
        done, _ = await asyncio.wait(waiting, timeout=0.1)
        assert set() == done
        xds.publish(policy("authz-1"), policy("authz-9"))
        async with asyncio.timeout(10):
            await asyncio.gather(*waiting)

    assert {"authz-1", "authz-9"} == sink.holds.keys()


async def test_it_keeps_what_it_has_while_the_server_is_away() -> None:
    """After a restart it gets only what changed."""
    sink, ready = Sink(), asyncio.Event()
    async with AsyncExitStack() as stack:
        async with serving() as first:
            first.publish(policy("authz-1"), policy("authz-2"))
            await stack.enter_async_context(client(first.address, {AUTHZ_POLICY: sink}, ready))
            await ready_within(ready)
        assert {"authz-1", "authz-2"} == sink.holds.keys()
        second = await stack.enter_async_context(serving(at=first.address))
        applied = sink.count
        second.publish(policy("authz-2"), policy("authz-3"))
        await sink.until("authz-2", "authz-3")

    assert applied + 1 == sink.count
    assert {"authz-3"} == sink.last_changed


async def test_a_name_that_is_asked_for_ends_the_back_off() -> None:
    """An Envoy was faster to reconnect and has got a route with a new policy: its request cannot wait for minutes."""
    sink, ready = Sink(), asyncio.Event()
    async with AsyncExitStack() as stack:
        async with serving() as first:
            first.publish(policy("authz-1"))
            running = await stack.enter_async_context(
                client(first.address, {AUTHZ_POLICY: sink}, ready, backoff_s=(600.0, 600.0))
            )
            await ready_within(ready)
        second = await stack.enter_async_context(serving(at=first.address))
        second.publish(policy("authz-1"), policy("authz-2"))
        async with asyncio.timeout(10):
            while running.is_connected:  # noqa: ASYNC110 - gRPC tells only the client
                await asyncio.sleep(0.01)
            await running.request(AUTHZ_POLICY, "authz-2")

    assert {"authz-1", "authz-2"} == sink.holds.keys()
