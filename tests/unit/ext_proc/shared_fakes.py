"""A shared store without Redis: the same promises, answers when the test says so."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from ext_proc.cache.bans import START, Position
from ext_proc.cache.codec import decoded, encoded
from ext_proc.cache.entry import Entry
from ext_proc.cache.shared import NOTHING, Fetched, Lease, Pending, Place
from ext_proc.redis_follower import Memory
from ext_proc.redis_purges import HeldPurges
from policy.processing import StoreName
from policy.purge import Purge

STORE = StoreName("redis:1", "edge:cache:")


class FakeAnswer:
    """A `Pending`."""

    def __init__(self) -> None:
        self.wake: Callable[[], None] | None = None
        self.is_waiting = True
        self.fetched = NOTHING

    def set(self, fetched: Fetched) -> None:
        if self.is_waiting:
            self.is_waiting, self.fetched = False, fetched
            if self.wake is not None:
                self.wake()


@dataclass
class FakeServer:
    """What all processes see."""

    entries: dict[str, bytes] = field(default_factory=dict)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    holders: dict[str, str] = field(default_factory=dict)
    """By key: the token of a lease, or "!0 30", "!1 30": nobody waits for so many seconds."""
    purged: dict[str, int] = field(default_factory=dict)
    """Where each purge stands in the log, by name."""
    epochs: dict[str, int] = field(default_factory=dict)
    uris: dict[str, set[str]] = field(default_factory=dict)
    clients: list["FakeShared"] = field(default_factory=list)
    log: list[tuple[str, Purge]] = field(default_factory=list)

    def client(self, memory: Callable[[], Memory]) -> "FakeShared":
        client = FakeShared(self, f"p{len(self.clients)}", memory)
        self.clients.append(client)
        return client

    def kill(self, client: "FakeShared") -> None:
        """A process that dies: what it sent last never comes, and its leases expire."""
        client.queue.clear()
        client.replies.clear()
        self.clients.remove(client)
        self.expire(client)

    def expire(self, client: "FakeShared") -> None:
        """Time takes its leases."""
        for key in [key for key, holder in self.holders.items() if holder.startswith(f"{client.name}:")]:
            del self.holders[key]


class FakeShared:
    """One process's client: commands wait in order until `pump`."""

    patience_s = 0.2

    def __init__(self, server: FakeServer, name: str, memory: Callable[[], Memory]) -> None:
        self.server = server
        self.name = name
        self.is_up = True
        self.queue: deque[Callable[[], None]] = deque()
        self.replies: deque[Callable[[], None]] = deque()
        self.tokens = 0
        self.read_to = 0
        self.purges = HeldPurges(1000)
        self._memory = memory
        self._owed: list[Callable[[], None]] = []
        """Purges and invalidations, which are repeated until they are done."""

    def pump(self, most: int = 1_000_000) -> int:
        """Let the store do what it was asked, and its answers and its log arrive; how much that was."""
        done = 0
        while (self.queue or self.replies) and done < most:
            self.work(1)
            self.arrive(1)
            done += 1
        self.read_log()
        return done

    def read_log(self) -> None:
        """What anybody has purged so far."""
        for name, what in self.server.log[self.read_to :]:
            self.read_to += 1
            if self.purges.read(name, what, (self.read_to, 0)):
                self._memory().forget_purged(what)

    def work(self, most: int) -> None:
        """The store does what it was asked; its answers are on their way."""
        for _ in range(min(most, len(self.queue))):
            self.queue.popleft()()

    def arrive(self, most: int) -> None:
        for _ in range(min(most, len(self.replies))):
            self.replies.popleft()()

    def break_down(self) -> None:
        """Nothing that is under way is answered, nor anything later."""
        self.is_up = False
        kept = [command for command in self.queue if command in self._owed]
        self.queue.clear()
        self.queue.extend(kept)
        self.replies.clear()
        self.server.expire(self)

    def fetch(self, place: Place, *, lease: bool, is_exact: bool, after_s: float, now: float) -> Pending:
        answer = FakeAnswer()
        if not self.is_up:
            answer.set(NOTHING)
            return answer
        self.tokens += 1
        token = f"{self.name}:{self.tokens}" if lease else ""
        self.queue.append(lambda: self._answer(answer, place, *self._looked_up(place, token, is_exact, now)))
        return answer

    def _answer(self, answer: FakeAnswer, place: Place, fetched: Fetched, begun: Position) -> None:
        """What was purged meanwhile is not in it when it arrives."""

        def arrive() -> None:
            entry = fetched.entry
            if entry is not None and self.purges.covers(place.uri, entry.tags, begun):
                entry = None
            answer.set(replace(fetched, entry=entry, position=self.purges.known, read_to=(self.read_to, 0)))

        self.replies.append(arrive)

    def _looked_up(self, place: Place, token: str, is_exact: bool, now: float) -> tuple[Fetched, Position]:
        """And how far the log was known when the fill of its entry began."""
        server = self.server
        names = server.names.get(place.primary, ())
        if names and names != place.selecting and not is_exact:
            return Fetched(Lease.NONE, selecting=names), START
        octets = server.entries.get(place.key)
        epoch = str(server.epochs.get(place.uri, 0)).encode()
        fetched, begun = Fetched(Lease.NONE, epoch=epoch), START
        if octets is not None:
            entry, begun = decoded(octets)
            if self.purges.covers(place.uri, entry.tags, begun):
                del server.entries[place.key]
            else:
                fetched = replace(fetched, entry=entry)
                if not token or (not entry.always_revalidate and entry.remaining(now) > 0):
                    return fetched, begun
        if not token:
            return fetched, begun
        holder = server.holders.setdefault(place.key, token)
        if holder.startswith("!"):
            failed = holder.startswith("!1")
            fetched = replace(fetched, lease=Lease.UNCACHEABLE, failed=failed, uncacheable_s=float(holder[3:]))
        elif holder != token:
            fetched = replace(fetched, lease=Lease.HELD)
        else:
            fetched = replace(fetched, lease=Lease.OWNED, token=token)
        return fetched, begun

    def put(
        self, place: Place, entry: Entry, fetched: Fetched, *, uncacheable_s: float, replaces: bool, now: float
    ) -> None:
        octets = encoded(entry, fetched.position, place.uri)
        self._send(lambda: self._put(place, octets, fetched, uncacheable_s, replaces))

    def _put(self, place: Place, octets: bytes, fetched: Fetched, uncacheable_s: float, replaces: bool) -> None:
        server = self.server
        holder = server.holders.get(place.key, "")
        if holder and (holder == fetched.token or holder.startswith("!")):
            del server.holders[place.key]
        if uncacheable_s > 0:
            server.holders.setdefault(place.key, f"!0 {uncacheable_s}")
        if str(server.epochs.get(place.uri, 0)).encode() != fetched.epoch:
            return
        if place.selecting:
            server.names[place.primary] = place.selecting
        server.entries[place.key] = octets
        server.uris.setdefault(place.uri, set()).add(place.key)
        if replaces:
            self._tell(lambda memory: memory.forget_replaced(place.uri))

    def end_lease(self, place: Place, fetched: Fetched, *, uncacheable_s: float, failed: bool) -> None:
        def end() -> None:
            if self.server.holders.get(place.key) == fetched.token:
                del self.server.holders[place.key]
                if uncacheable_s > 0:
                    self.server.holders[place.key] = f"!{int(failed)} {uncacheable_s}"

        self._send(end)

    def invalidate(self, uri: str) -> None:
        def invalidate() -> None:
            self.server.epochs[uri] = self.server.epochs.get(uri, 0) + 1
            for key in self.server.uris.pop(uri, ()):
                self.server.entries.pop(key, None)
            self._tell(lambda memory: memory.forget(uri))

        self._owed.append(invalidate)
        self.queue.append(invalidate)

    def purge(self, name: str, what: Purge) -> None:
        self.purges.hold(name, what)

        def ban() -> None:
            if name not in self.server.purged:
                self.server.log.append((name, what))
                self.server.purged[name] = len(self.server.log)
            position = (self.server.purged[name], 0)
            self.replies.append(lambda: self.purges.place(name, what, position, (self.read_to, 0)))

        self._owed.append(ban)
        self.queue.append(ban)

    def _send(self, command: Callable[[], None]) -> None:
        if self.is_up:
            self.queue.append(command)

    def _tell(self, what: Callable[[Memory], None]) -> None:
        for client in self.server.clients:
            if client is not self:
                what(client._memory())


class FakeStores:
    """The stores of one process."""

    def __init__(self, shared: Callable[[], FakeShared]) -> None:
        self._shared = shared

    def get(self, name: StoreName) -> FakeShared | None:
        return self._shared() if name == STORE else None

    def all(self) -> Iterable[FakeShared]:
        return (self._shared(),)
