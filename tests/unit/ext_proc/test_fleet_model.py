"""Single-flight in every interleaving: any number of requests of several processes that share a store.

Each process is the real cache with the real exchange; only the store is a fake, which keeps the same promises as the
one in Redis (tests/feature/ext_proc/test_shared_contract.py).
"""

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from ext_proc.cache.cache import Cache
from ext_proc.cache.memory import MemoryStore
from ext_proc.cache.single_flight import Flights, Ticket
from ext_proc.events import Action, BodyMode, Chunk, Forward, PassHeaders, RequestStart, ResponseStart, Serve, Wait
from ext_proc.exchange import Exchange, route_of
from policy.cache_key import cache_uri
from policy.purge import ByPrefix, ByTag, ByUri, Everything, Purge
from tests.unit.ext_proc.rules import NOW, processing, rules
from tests.unit.ext_proc.shared_fakes import STORE, FakeAnswer, FakeServer, FakeShared, FakeStores
from tests.unit.ext_proc.test_exchange import Counts

ROUTE = route_of(processing(rules(store=STORE, stale_if_error_s=30.0)), "route")
ANSWERS = {
    "fresh": (200, {"cache-control": "max-age=60", "cache-tag": "t"}),
    "stale": (200, {"cache-control": "max-age=0", "etag": '"1"', "cache-tag": "t"}),
    "no-cache": (200, {"cache-control": "no-cache", "etag": '"1"', "cache-tag": "t"}),
    "private": (200, {"cache-control": "private"}),
    "error": (503, {}),
}


@dataclass(eq=False)
class Process:
    shared: FakeShared
    cache: Cache
    is_alive: bool = True


@dataclass(eq=False)
class Client:
    """One request and what became of it."""

    process: Process
    exchange: Exchange
    action: Action
    least: int
    """Nothing older may be served: the version of the service when it was begun, or since the last purge."""
    asked: int = 0
    """The version of the service when it was asked."""
    served: int | None = None
    is_woken: bool = False
    is_gone: bool = False

    @property
    def is_waiting(self) -> bool:
        return not self.is_gone and isinstance(self.action, Wait)

    @property
    def is_upstream(self) -> bool:
        return not self.is_gone and isinstance(self.action, Forward)


@dataclass
class World:
    """Two processes, a store and a service whose answers tell its version."""

    server: FakeServer = field(default_factory=FakeServer)
    processes: list[Process] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)
    now: float = NOW
    version: int = 0
    floor: int = 0
    """Versions below were purged."""
    asked: int = 0

    def start(self) -> Process:
        made: list[Process] = []
        shared = self.server.client(lambda: made[0].cache)
        cache = Cache(
            MemoryStore(max_bytes=1 << 20, max_entries=100), Flights(), wait_s=5.0, shared=FakeStores(lambda: shared)
        )
        made.append(Process(shared, cache))
        self.processes.append(made[0])
        return made[0]

    def begin(self, process: Process, path: str = "/a", **headers: str) -> Client:
        fields = {":method": "GET", ":scheme": "http", ":authority": "h", ":path": path}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        exchange = Exchange(ROUTE, process.cache, Counts())
        client = Client(process, exchange, exchange.on(RequestStart(fields, ""), self.now), self.floor)
        self.clients.append(client)
        self.look(client)
        self.settle()
        return client

    def look(self, client: Client) -> None:
        """Note what the client was answered; be told when it is to go on."""
        match client.action:
            case Wait() as wait:

                def wake() -> None:
                    client.is_woken = True

                wait.awaited.wake = wake
                client.is_woken = not wait.awaited.is_waiting
            case Forward():
                client.asked = self.version
                self.asked += 1
            case Serve() as serve:
                client.served = int(serve.entry.body)
                client.exchange.close()

    def settle(self) -> None:
        """Whoever is woken goes on."""
        while woken := [each for each in self.clients if each.is_waiting and each.is_woken and each.process.is_alive]:
            client = woken[0]
            client.is_woken = False
            client.action = client.exchange.resume(self.now)
            self.look(client)

    def pump(self, process: Process, most: int = 1_000_000) -> int:
        done = process.shared.pump(most)
        self.settle()
        return done

    def answer(self, client: Client, kind: str) -> None:
        status, headers = ANSWERS[kind]
        action = client.exchange.on(ResponseStart({":status": str(status), **headers}, False, True), self.now)
        body = str(client.asked).encode()
        if isinstance(action, Serve):
            client.served = int(action.entry.body)
        elif isinstance(action, PassHeaders) and action.body is not BodyMode.NONE:
            client.exchange.on(Chunk(body, True), self.now)
        client.action = action
        self.leave(client)

    def leave(self, client: Client) -> None:
        client.exchange.close()
        client.is_gone = True
        self.settle()

    def kill(self, process: Process) -> None:
        process.is_alive = False
        self.server.kill(process.shared)
        for client in self.clients:
            if client.process is process:
                client.is_gone = True

    def finish(self) -> None:
        """The service answers whoever asks, and the store too: nobody may be left waiting."""
        for _ in range(200):
            pumped = sum(self.pump(process, 3) for process in self.processes if process.is_alive)
            upstream = [client for client in self.clients if client.is_upstream]
            if upstream:
                self.answer(upstream[0], "fresh")
            elif not pumped:
                break
        assert [] == [client for client in self.clients if client.is_waiting]


class Fleet(RuleBasedStateMachine):
    """Everything that can happen to requests, their service, their store and their processes."""

    waiting_or_not = Bundle("clients")

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.purges = 0

    @initialize()
    def start(self) -> None:
        for _ in range(2):
            self.world.start()

    def alive(self, number: int) -> Process:
        processes = [process for process in self.world.processes if process.is_alive]
        return processes[number % len(processes)]

    @rule(
        target=waiting_or_not,
        number=st.integers(0, 1),
        kind=st.sampled_from(["plain"] * 6 + ["reload", "part", "only-if-cached"]),
    )
    def request(self, number: int, kind: str) -> Client:
        own: dict[str, dict[str, str]] = {
            "reload": {"cache_control": "no-cache"},
            "part": {"range": "bytes=0-1"},
            "only-if-cached": {"cache_control": "only-if-cached"},
        }
        return self.world.begin(self.alive(number), **own.get(kind, {}))

    @rule(number=st.integers(0, 1), most=st.integers(1, 4))
    def store_answers(self, number: int, most: int) -> None:
        self.world.pump(self.alive(number), most)

    @rule(target=waiting_or_not, client=consumes(waiting_or_not), kind=st.sampled_from(sorted(ANSWERS)))
    def service_answers(self, client: Client, kind: str) -> Client:
        if not client.is_upstream:
            return client
        self.world.answer(client, kind)
        return multiple()  # type: ignore[return-value]

    @rule(target=waiting_or_not, client=consumes(waiting_or_not))
    def caller_leaves(self, client: Client) -> Client:
        if not client.is_gone:
            self.world.leave(client)
        return multiple()  # type: ignore[return-value]

    @rule(client=waiting_or_not)
    def time_is_up(self, client: Client) -> None:
        if client.is_waiting:
            assert isinstance(client.action, Wait)
            self.world.now += client.action.at_most_s
            client.is_woken = True
            self.world.settle()

    @rule(seconds=st.sampled_from([0.5, 30.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds
        for process in self.world.processes:
            process.cache.expire(self.world.now)

    @rule()
    def service_changes(self) -> None:
        self.world.version += 1

    @rule(what=st.sampled_from([ByTag("t"), ByPrefix("", "", "/a"), ByUri(cache_uri("http", "h", "/a")), Everything()]))
    def purge(self, what: Purge) -> None:
        """Every process is told; from then on nothing older is served by any of them."""
        self.purges += 1
        self.world.version += 1
        self.world.floor = self.world.version
        for process in self.world.processes:
            if process.is_alive:
                process.cache.purge(f"purge-{self.purges}", what)

    @rule(number=st.integers(0, 1), luck=st.integers(0, 9))
    def store_goes_away(self, number: int, luck: int) -> None:
        """And comes back: what was under way is lost."""
        if luck:
            return
        process = self.alive(number)
        process.shared.break_down()
        for client in self.world.clients:
            if client.process is process and client.is_waiting:
                assert isinstance(client.action, Wait)
                if isinstance(client.action.awaited, FakeAnswer):
                    client.is_woken = True  # its time is up: a store that is away says so
        self.world.settle()
        process.shared.is_up = True

    @rule(number=st.integers(0, 1), luck=st.integers(0, 9))
    def process_dies(self, number: int, luck: int) -> None:
        if luck:
            return
        process = self.alive(number)
        self.world.kill(process)
        self.world.start()

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        """A follower has a leader that is alive; an answer of the store is under way."""
        for client in self.world.clients:
            if not client.is_waiting or not client.process.is_alive:
                continue
            assert isinstance(client.action, Wait)
            awaited = client.action.awaited
            assert awaited.is_waiting
            if isinstance(awaited, Ticket):
                assert client.process.cache.flights.is_flying(awaited.key)
            else:
                assert client.process.shared.queue or client.process.shared.replies

    @invariant()
    def nothing_purged_is_served(self) -> None:
        for client in self.world.clients:
            assert client.served is None or client.served >= client.least

    def teardown(self) -> None:
        self.world.finish()


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_one_upstream_request_in_a_fleet() -> None:
    """Whichever process asks first: a hundred requests of two processes are one for the service."""
    world = World()
    processes = [world.start(), world.start()]
    clients = [world.begin(processes[number % 2]) for number in range(100)]
    world.pump(processes[1])
    world.pump(processes[0])
    (leader,) = [client for client in clients if client.is_upstream]
    for _ in range(3):
        for process in processes:
            world.pump(process)
    world.answer(leader, "fresh")
    world.finish()

    assert 1 == world.asked
    assert [0] * 99 == [client.served for client in clients if client is not leader]


def test_the_leader_s_process_dies() -> None:
    """Its lease expires, and one request of another process takes over."""
    world = World()
    first, second = world.start(), world.start()
    leader = world.begin(first)
    world.pump(first)
    followers = [world.begin(second) for _ in range(5)]
    world.pump(second)
    assert (True, 1) == (leader.is_upstream, world.asked)
    world.kill(first)
    world.pump(second)
    world.finish()

    assert 2 == world.asked
    assert [0] * 4 == [client.served for client in followers if client.served is not None]


def test_an_uncacheable_response_releases_the_fleet() -> None:
    """Every request of the other process goes to the service, and the next burst does not wait."""
    world = World()
    first, second = world.start(), world.start()
    leader = world.begin(first)
    world.pump(first)
    followers = [world.begin(second) for _ in range(3)]
    world.pump(second, 1)
    world.answer(leader, "private")
    world.pump(first)
    world.pump(second)

    assert all(client.is_upstream for client in followers)
    assert all(world.begin(process).is_upstream for process in (first, second))


def test_a_cold_process_is_warmed_by_the_store() -> None:
    """What another process has stored is a hit here, and in memory from then on."""
    world = World()
    first, second = world.start(), world.start()
    world.begin(first)
    world.finish()
    cold = world.begin(second)
    world.pump(second)
    warm = world.begin(second)

    assert (0, 0, 1) == (cold.served, warm.served, world.asked)
    assert not second.shared.queue


def test_a_write_reaches_the_memory_of_the_other_process() -> None:
    """And the fill that it has on its way is not stored."""
    world = World()
    first, second = world.start(), world.start()
    world.begin(first)
    world.finish()
    world.begin(second)
    world.pump(second)
    world.version = 1
    first.cache.invalidate(cache_uri("http", "h", "/a"))
    world.pump(first)
    after = [world.begin(process) for process in (second, first)]
    world.finish()

    assert 2 == world.asked
    assert {1} == {client.asked if client.served is None else client.served for client in after}


class Quiet(RuleBasedStateMachine):
    """Nothing fails: then one request at a time asks the service for a key, in the whole fleet."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        for _ in range(3):
            self.world.start()

    @rule(number=st.integers(0, 2))
    def request(self, number: int) -> None:
        self.world.begin(self.world.processes[number])

    @rule(number=st.integers(0, 2), most=st.integers(1, 3))
    def store_answers(self, number: int, most: int) -> None:
        self.world.pump(self.world.processes[number], most)

    @rule(stays=st.booleans())
    def end(self, stays: bool) -> None:
        """The service answers, or the caller does not wait for it; then another asks, if anybody still wants it."""
        upstream = [client for client in self.world.clients if client.is_upstream]
        if upstream and stays:
            self.world.answer(upstream[0], "fresh")
        elif upstream:
            self.world.leave(upstream[0])

    @invariant()
    def one_asks(self) -> None:
        assert 1 >= len([client for client in self.world.clients if client.is_upstream])

    def teardown(self) -> None:
        self.world.finish()


TestQuiet = Quiet.TestCase
TestQuiet.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


class Purging(RuleBasedStateMachine):
    """Nothing fails, and purges overtake fills, answers and each other."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.purges = 0
        for _ in range(2):
            self.world.start()

    @rule(number=st.integers(0, 1))
    def request(self, number: int) -> None:
        self.world.begin(self.world.processes[number])

    @rule(number=st.integers(0, 1), most=st.integers(1, 2))
    def store_works(self, number: int, most: int) -> None:
        self.world.processes[number].shared.work(most)

    @rule(number=st.integers(0, 1))
    def all_is_done(self, number: int) -> None:
        self.world.pump(self.world.processes[number])

    @rule(number=st.integers(0, 1))
    def log_is_read(self, number: int) -> None:
        self.world.processes[number].shared.read_log()
        self.world.settle()

    @rule(number=st.integers(0, 1))
    def answers_arrive(self, number: int) -> None:
        self.world.processes[number].shared.arrive(1)
        self.world.settle()

    @rule()
    def service_answers(self) -> None:
        for client in self.world.clients:
            if client.is_upstream:
                self.world.answer(client, "fresh")
                return

    @rule(what=st.sampled_from([ByTag("t"), ByPrefix("", "", "/a"), ByUri(cache_uri("http", "h", "/a")), Everything()]))
    def purge(self, what: Purge) -> None:
        self.purges += 1
        self.world.version += 1
        self.world.floor = self.world.version
        for process in self.world.processes:
            process.cache.purge(f"purge-{self.purges}", what)

    @invariant()
    def nothing_purged_is_served(self) -> None:
        for client in self.world.clients:
            assert client.served is None or client.served >= client.least

    def teardown(self) -> None:
        self.world.finish()


TestPurging = Purging.TestCase
TestPurging.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)


def test_a_fill_that_arrives_after_the_purge_it_began_before() -> None:
    """It lies in the store and is nobody's: the ban covers it."""
    world = World()
    first, second = world.start(), world.start()
    slow = world.begin(first)
    world.pump(first)
    world.answer(slow, "fresh")
    world.version = world.floor = 1
    for process in (first, second):
        process.cache.purge("purge-1", Everything())
    second.shared.work(1)
    world.pump(first)
    late = world.begin(second)
    world.pump(second)

    assert late.is_upstream
    assert late.served is None


@pytest.mark.parametrize("is_read", [False, True])
def test_a_fill_between_two_purges(is_read: bool) -> None:
    """It outlives the first one, whether anybody has read the log, and not the second one."""
    world = World()
    first, second = world.start(), world.start()
    served: list[int | None] = []
    for number in (1, 2):
        world.version = world.floor = number
        for process in (first, second):
            process.cache.purge(f"purge-{number}", ByTag("t"))
            process.shared.work(1)
            process.shared.arrive(1)
            if is_read:
                process.shared.read_log()
        filling = world.begin(first)
        first.shared.work(1)
        first.shared.arrive(1)
        world.settle()
        assert filling.is_upstream
        world.answer(filling, "fresh")
        first.shared.work(1)
        asking = world.begin(second)
        second.shared.work(1)
        second.shared.arrive(1)
        world.settle()
        served.append(asking.served)

    assert [1, 2] == served
    assert 2 == world.asked


def test_an_answer_that_a_purge_overtakes() -> None:
    """What the store had is not served after the purge, though it was read before it."""
    world = World()
    first, second = world.start(), world.start()
    world.begin(first)
    world.finish()
    asking = world.begin(second)
    second.shared.work(1)
    world.version = world.floor = 1
    for process in (first, second):
        process.cache.purge("purge-1", Everything())
    second.shared.arrive(1)
    world.settle()
    after = world.begin(second)
    world.finish()

    assert asking.served is None
    assert {1} == {client.asked if client.served is None else client.served for client in (asking, after)}
