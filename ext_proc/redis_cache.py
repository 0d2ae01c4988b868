"""The store that replicas share, in Redis: `ext_proc.cache.shared.Shared`, which see.

What requests want is sent at once when nothing is under way; whatever comes while a call is out goes with the next one,
so that calls take effect in the order in which they were made and carry many when there is much to do. Nobody waits for
a Redis that is away: after failures a breaker is open until the log of purges has been read to its end again.
"""

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, Never, Protocol

from ext_proc.cache import storing
from ext_proc.cache.bans import START, Position
from ext_proc.cache.codec import BEGINNING, GarbageError, decoded, encoded
from ext_proc.cache.entry import Entry
from ext_proc.cache.shared import NOTHING, Fetched, Lease, Pending, Place
from ext_proc.redis_calls import Call, Calls
from ext_proc.redis_keys import Keys
from ext_proc.redis_log import (
    MOST_BANS,
    MOST_CHANGES,
    Logged,
    Reader,
    ban_of,
    ban_text,
    identifier,
    logged,
    position_of,
)
from ext_proc.redis_purges import HeldPurges
from ext_proc.redis_queue import Job, Queue, Tuning
from ext_proc.redis_room import Room
from ext_proc.redis_scripts import BAN, DROP, END_LEASE, EVERY, INVALIDATE, LOOK_UP, PUT, RENEW, TAG, TELL
from ext_proc.store_metrics import StoreMetrics
from gateway_runtime.redis_client import StoreError, raise_if_cancelled
from gateway_runtime.telemetry import logger
from policy.purge import Everything, Purge

_LARGEST_INLINE = 128 * 1024
"""Larger bodies are compressed and expanded in a thread, which other requests do not wait for."""
_EPOCH_MS = 3_600_000
"""A fill that takes longer than this may bring back what was invalidated when it began."""
_MARK_MS = 86_400_000
_MOST_TAGGED = 100_000
_MOST_OWED = 10_000
_BANS_AT_ONCE = 256


class Memory(Protocol):
    """The tier in front (`ext_proc.cache.cache.Cache`)."""

    def forget(self, uri: str) -> None: ...
    def forget_replaced(self, uri: str) -> None: ...
    def forget_purged(self, what: Purge) -> int: ...
    def forget_all(self) -> None: ...


class _Answer:
    """A `Pending`."""

    __slots__ = ("_fetched", "is_waiting", "wake")

    def __init__(self) -> None:
        self.wake: Callable[[], None] | None = None
        self.is_waiting = True
        self._fetched = NOTHING

    @property
    def fetched(self) -> Fetched:
        return self._fetched

    def set(self, fetched: Fetched) -> None:
        if self.is_waiting:
            self.is_waiting = False
            self._fetched = fetched
            if self.wake is not None:
                self.wake()


class RedisCache:
    """One Redis, and the part of it under one prefix."""

    def __init__(
        self,
        calls: Calls,
        *,
        prefix: str,
        memory: Memory,
        metrics: StoreMetrics,
        tuning: Tuning | None = None,
        origin: str = "",
        unit_random: Callable[[], float] = random.random,
        unix_s: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            prefix: of every key.
            origin: of this process, unlike any other's; "": made up.
        """
        self._calls = calls
        self._keys = Keys(prefix)
        self._memory = memory
        self._metrics = metrics
        self._tuning = tuning or Tuning()
        self._origin = origin or secrets.token_hex(8)
        self._random = unit_random
        self._unix_s = unix_s
        self._log = logger("cache")
        self._queue = Queue(calls, metrics, self._tuning)
        """Open only when the log has been read."""
        self._purges = HeldPurges(MOST_BANS)
        self._room = Room(calls, self._keys, self._purges.covers, metrics)
        self._ban_log = Reader(self._keys.bans, MOST_BANS)
        self._change_log = Reader(self._keys.changes, MOST_CHANGES)
        self._followed = ((self._ban_log, self._apply_ban), (self._change_log, self._apply_change))
        self._owed: dict[str, Purge | None] = {}
        """Purges by name, and URIs that were invalidated (None), which Redis has not taken yet."""
        self._leases: dict[str, bytes] = {}
        """Keys of the leases of this process, by token."""
        self._tokens = 0
        self._tasks: asyncio.TaskGroup | None = None

    @property
    def is_up(self) -> bool:
        return self._queue.is_up

    @property
    def patience_s(self) -> float:
        return 2 * self._tuning.timeout_s

    # What requests want.

    def fetch(self, place: Place, *, lease: bool, is_exact: bool, after_s: float, now: float) -> Pending:
        answer = _Answer()
        if after_s > 0:
            asyncio.get_running_loop().call_later(after_s, self._look_up, place, lease, is_exact, answer, True)
        else:
            self._look_up(place, lease, is_exact, answer, True)
        return answer

    def _look_up(self, place: Place, lease: bool, is_exact: bool, answer: _Answer, may_repeat: bool) -> None:
        if not self.is_up or len(self._queue) >= self._tuning.most_waiting:
            answer.set(NOTHING)
            return
        token = ""
        if lease:
            self._tokens += 1
            token = f"{self._origin}:{self._tokens}"
        keys = self._keys.of_place(place)
        arguments = (
            "\n".join(place.selecting), "1" if is_exact else "0",
            token, int(self._tuning.lease_s * 1000), int(self._unix_s()),
        )  # fmt: skip
        done = partial(self._looked_up, place, lease, is_exact, answer, may_repeat, token)
        self._queue.put(Job("get", Call(LOOK_UP, keys[:4], arguments), done))

    def _looked_up(
        self, place: Place, lease: bool, is_exact: bool, answer: _Answer, may_repeat: bool, token: str, result: Any
    ) -> None:
        if isinstance(result, BaseException):
            answer.set(NOTHING)
            return
        names, octets, epoch, holder, left_ms = result
        selecting = tuple(names.decode("latin-1").split("\n")) if names else ()
        if names and not is_exact and selecting != place.selecting:
            answer.set(Fetched(Lease.NONE, selecting=selecting))
            return
        # The origin is not asked before this: whatever is in the log by now was purged before the fill began.
        fetched = _fetched(holder, left_ms, token, epoch or b"", self._purges.known)
        if fetched.lease is Lease.OWNED:
            self._leases[token] = self._keys.of_place(place)[2]
        if octets is None:
            answer.set(fetched)
        elif len(octets) > _LARGEST_INLINE:
            self._spawn(self._decoded_later(place, fetched, octets, answer, lease, may_repeat))
        else:
            self._answer_with(place, fetched, octets, _decoded(octets), answer, lease, may_repeat)

    async def _decoded_later(
        self, place: Place, fetched: Fetched, octets: bytes, answer: _Answer, lease: bool, may_repeat: bool
    ) -> None:
        read = await asyncio.to_thread(_decoded, octets)
        self._answer_with(place, fetched, octets, read, answer, lease, may_repeat)

    def _answer_with(
        self, place: Place, fetched: Fetched, octets: bytes, read: tuple[Entry, Position] | None, answer: _Answer,
        lease: bool, may_repeat: bool,
    ) -> None:  # fmt: skip
        self._metrics.read_bytes.inc(len(octets))
        if read is not None and not self._purges.covers(place.uri, read[0].tags, read[1]):
            answer.set(replace(fetched, entry=read[0]))
            return
        (self._metrics.banned if read is not None else self._metrics.garbage).inc()
        self._queue.put(Job("drop", Call(DROP, (self._keys.of_place(place)[1],), (octets[BEGINNING],)), _ignore))
        if lease and fetched.lease is Lease.NONE and may_repeat:
            self._look_up(place, lease, True, answer, False)
        else:
            answer.set(fetched)

    def put(
        self, place: Place, entry: Entry, fetched: Fetched, *, uncacheable_s: float, replaces: bool, now: float
    ) -> None:
        self._leases.pop(fetched.token, None)
        lives_s = min(entry.received_at + storing.kept_s(entry) - now, self._tuning.longest_s)
        lives_ms = int(lives_s * 1000 * (1 - self._tuning.jitter * self._random()))
        if not self.is_up or lives_ms < 1:
            self._metrics.dropped.inc()
            return
        if len(entry.body) > _LARGEST_INLINE:
            self._spawn(self._put_later(place, entry, fetched, lives_ms, uncacheable_s, replaces))
        else:
            octets = encoded(entry, fetched.position, place.uri)
            self._put(place, entry, fetched, octets, lives_ms, uncacheable_s, replaces)

    async def _put_later(
        self, place: Place, entry: Entry, fetched: Fetched, lives_ms: int, uncacheable_s: float, replaces: bool
    ) -> None:
        octets = await asyncio.to_thread(encoded, entry, fetched.position, place.uri)
        self._put(place, entry, fetched, octets, lives_ms, uncacheable_s, replaces)

    def _put(
        self, place: Place, entry: Entry, fetched: Fetched, octets: bytes, lives_ms: int, uncacheable_s: float,
        replaces: bool,
    ) -> None:  # fmt: skip
        keys = self._keys.of_place(place)
        arguments = (
            "\n".join(place.selecting).encode("latin-1"), octets, lives_ms,
            fetched.token, fetched.epoch, int(uncacheable_s * 1000),
        )  # fmt: skip
        self._metrics.written_bytes.inc(len(octets))
        self._queue.put(Job("put", Call(PUT, keys, arguments), self._was_put))
        for tag in entry.tags:
            self._queue.put(
                Job("tag", Call(TAG, (self._keys.of_tag(tag),), (keys[1], lives_ms, _MOST_TAGGED)), _ignore)
            )
        if replaces:
            self._queue.put(Job("tell", self._tell("replaced", place.uri), _ignore))

    def _was_put(self, result: Any) -> None:
        if isinstance(result, BaseException):
            self._metrics.dropped.inc()
        elif not result:
            self._metrics.outdated.inc()

    def end_lease(self, place: Place, fetched: Fetched, *, uncacheable_s: float, failed: bool) -> None:
        if self._leases.pop(fetched.token, None) is None or not self.is_up:
            return
        milliseconds = int(uncacheable_s * 1000)
        mark = f"!{int(failed)}" if milliseconds > 0 else ""
        call = Call(END_LEASE, (self._keys.of_place(place)[2],), (fetched.token, mark, milliseconds))
        self._queue.put(Job("lease", call, _ignore))

    def invalidate(self, uri: str) -> None:
        self._do(uri, None)

    def purge(self, name: str, what: Purge) -> None:
        self._purges.hold(name, what)
        self._do(name, what)

    # Purges and invalidations: owed until Redis has taken them.

    def _do(self, name: str, what: Purge | None) -> None:
        if len(self._owed) >= _MOST_OWED:
            self._owed.clear()
            name, what = f"overflow-{secrets.token_hex(8)}", Everything()
            self._purges.hold(name, what)
        self._owed[name] = what
        if self.is_up:
            self._pay(name, what)

    def _pay(self, name: str, what: Purge | None) -> None:
        if what is None:
            call = Call(INVALIDATE, self._keys.of_uri(name), (_EPOCH_MS,))
            self._queue.put(Job("invalidate", call, partial(self._invalidated, name)))
        else:
            arguments = (MOST_BANS, *ban_text(what), name, _MARK_MS)
            call = Call(BAN, (self._keys.bans, self._keys.of_purge(name)), arguments)
            self._queue.put(Job("ban", call, partial(self._banned, name, what)))

    def _owe(self, name: str, what: Purge | None) -> None:
        """Redis has not taken it, even if it took an earlier one of this name."""
        self._owed[name] = what
        self._queue.trouble.set()

    def _invalidated(self, uri: str, result: Any) -> None:
        if isinstance(result, BaseException):
            self._owe(uri, None)
            return
        self._owed.pop(uri, None)
        self._queue.put(Job("tell", self._tell("invalidated", uri), _ignore))

    def _banned(self, name: str, what: Purge, result: Any) -> None:
        if isinstance(result, BaseException):
            self._owe(name, what)
            return
        self._owed.pop(name, None)
        is_new, position = result
        self._purges.place(name, what, position_of(position), self._ban_log.position)
        if is_new:
            self._room.free(what)

    def _tell(self, kind: str, uri: str) -> Call:
        return Call(TELL, (self._change_log.key,), (MOST_CHANGES, kind, uri.encode(), self._origin))

    # What runs beside requests.

    def _spawn(self, work: Any) -> None:
        assert self._tasks is not None, "the store does not run"
        self._tasks.create_task(work, name="cache in redis")

    async def run(self) -> Never:
        """Carry requests to Redis until cancelled; the store works only meanwhile."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._tasks.create_task(self._watch(), name="redis watch")
                self._tasks.create_task(self._follow_log(), name="redis log")
                self._tasks.create_task(self._renew(), name="redis leases")
                self._tasks.create_task(self._room.run(), name="redis room")
                await self._queue.carry()
        finally:
            self._queue.close()  # whoever still holds this store is answered without it
            await self._calls.close()

    async def _watch(self) -> Never:
        """Bring Redis into use, and back into use; repeat what it has not taken."""
        while True:
            if not self._queue.is_up:
                await self._try_to_begin()
            elif self._owed:
                self._pay_all()
            try:
                async with asyncio.timeout(
                    self._tuning.probe_interval_s if not self._queue.is_up or self._owed else None
                ):
                    await self._queue.trouble.wait()
            except TimeoutError:
                pass
            self._queue.trouble.clear()
            if not self._queue.is_up or self._owed:
                await asyncio.sleep(self._tuning.probe_interval_s)

    def _pay_all(self) -> None:
        for name, what in tuple(self._owed.items()):
            self._pay(name, what)

    async def _try_to_begin(self) -> None:
        try:
            await self._begin_logs()
        except (TimeoutError, StoreError) as error:
            self._metrics.failed("probe", str(error) or type(error).__name__)
            raise_if_cancelled()
            await self._leave_connections()
            return
        raise_if_cancelled()
        self._queue.open()
        self._pay_all()

    async def _leave_connections(self) -> None:
        """A server that became a replica, or went away, is left: the next connection is to the one in its place."""
        try:
            async with asyncio.timeout(self._tuning.probe_timeout_s):
                await self._calls.disconnect()
        except (TimeoutError, OSError, StoreError):
            pass

    async def _begin_logs(self) -> None:
        """Read everything up to now."""
        async with asyncio.timeout(self._tuning.probe_timeout_s):
            await self._calls.load(EVERY)
            for reader in (self._ban_log, self._change_log):
                await self._begin_log(reader)
        is_behind = True
        while is_behind:
            async with asyncio.timeout(self._tuning.probe_timeout_s):
                is_behind = await self._read_log(block_s=None) > 0
        self._forget_old_bans()

    async def _begin_log(self, reader: Reader) -> None:
        length = int(await self._calls.ask(reader.key, "XLEN", reader.key))
        first = await self._calls.ask(reader.key, "XRANGE", reader.key, "-", "+", "COUNT", 1)
        last = await self._calls.ask(reader.key, "XREVRANGE", reader.key, "+", "-", "COUNT", 1)
        first_position, last_position = (logged(each)[0].position if each else START for each in (first, last))
        was_begun = reader.is_begun
        if reader.begin(length, first_position, last_position):
            self._log.warning("cache_log_cut", behind=identifier(reader.position))
            self._memory.forget_all()
            if reader is self._ban_log:
                self._purges.bans.raise_floor(first_position)
        if reader is self._ban_log:
            self._purges.begin(reader.position)
        if reader is self._change_log and not was_begun:
            reader.position = last_position  # what others dropped before is not here

    def _forget_old_bans(self) -> None:
        """What they cover has expired."""
        self._purges.bans.forget((int((self._unix_s() - self._tuning.longest_s - _EPOCH_MS / 1000) * 1000), 0))

    async def _follow_log(self) -> Never:
        while True:
            if not self._queue.is_up:
                await asyncio.sleep(self._tuning.probe_interval_s / 2)
                continue
            try:
                async with asyncio.timeout(self._tuning.log_block_s + self._tuning.probe_timeout_s):
                    await self._read_log(block_s=self._tuning.log_block_s)
            except (TimeoutError, StoreError) as error:
                raise_if_cancelled()
                self._metrics.failed("log", str(error) or type(error).__name__)
                self._queue.away(f"log: {str(error) or type(error).__name__}")

    async def _read_log(self, block_s: float | None) -> int:
        """What is new in the log; how much that was."""
        readers = (self._ban_log, self._change_log)
        command: list[bytes | str | int] = ["XREAD", "COUNT", 1000]
        if block_s is not None:
            command += ["BLOCK", int(block_s * 1000)]
        command += [
            "STREAMS",
            *(reader.key for reader in readers),
            *(identifier(reader.position) for reader in readers),
        ]
        reply = await self._calls.ask(readers[0].key, *command)
        count = 0
        for name, entries in _streams(reply):
            reader, apply = next(each for each in self._followed if each[0].key == name)
            for entry in logged(entries):
                count += 1
                if entry.position > reader.position:  # else an answer that came late
                    reader.position = entry.position
                    apply(entry)
        return count

    def _apply_ban(self, entry: Logged) -> None:
        what = ban_of(entry)
        if what is None:
            return
        if self._purges.read(entry.text(b"n"), what, entry.position):
            self._memory.forget_purged(what)
        if len(self._purges.bans) % _BANS_AT_ONCE == 0:
            self._forget_old_bans()

    def _apply_change(self, entry: Logged) -> None:
        if entry.text(b"o") == self._origin:
            return
        if entry.text(b"k") == "replaced":
            self._memory.forget_replaced(entry.text(b"v"))
        else:
            self._memory.forget(entry.text(b"v"))

    async def _renew(self) -> Never:
        """While this process lives, so do its leases."""
        lease_ms = int(self._tuning.lease_s * 1000)
        while True:
            await asyncio.sleep(self._tuning.lease_s / 4)
            if self.is_up:
                for token, key in self._leases.items():
                    self._queue.put(Job("lease", Call(RENEW, (key,), (token, lease_ms)), _ignore))


def _decoded(octets: bytes) -> tuple[Entry, Position] | None:
    try:
        return decoded(octets)
    except GarbageError:
        return None


def _fetched(holder: bytes, left_ms: int, token: str, epoch: bytes, position: Position) -> Fetched:
    if holder == b"o":
        return Fetched(Lease.OWNED, token=token, epoch=epoch, position=position)
    if holder == b"h":
        return Fetched(Lease.HELD, epoch=epoch, position=position)
    if holder.startswith(b"!"):
        return Fetched(
            Lease.UNCACHEABLE,
            uncacheable_s=max(0, left_ms) / 1000,
            failed=holder == b"!1",
            epoch=epoch,
            position=position,
        )
    return Fetched(Lease.NONE, epoch=epoch, position=position)


def _streams(reply: Any) -> Iterable[tuple[bytes, Any]]:
    if not reply:
        return ()
    return reply.items() if isinstance(reply, dict) else reply


def _ignore(_result: Any) -> None:
    """What it comes to does not matter."""
