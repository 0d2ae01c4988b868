"""The store that replicas share, in Redis: `ext_proc.cache.shared.Shared`, which see.

What requests want is sent at once when nothing is under way; whatever comes while a call is out goes with the next one,
so that calls take effect in the order in which they were made and carry many when there is much to do. Nobody waits for
a Redis that is away: after failures a breaker is open until the log of purges has been read to its end again.
"""

import asyncio
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Never

from ext_proc.cache import storing
from ext_proc.cache.bans import Position
from ext_proc.cache.codec import BEGINNING, GarbageError, decoded, encoded
from ext_proc.cache.entry import Entry
from ext_proc.cache.shared import NOTHING, Fetched, Lease, Pending, Place
from ext_proc.redis_calls import Call, Calls
from ext_proc.redis_follower import Follower, Memory
from ext_proc.redis_keys import Keys
from ext_proc.redis_log import MOST_BANS
from ext_proc.redis_owed import Owed, tell
from ext_proc.redis_purges import HeldPurges
from ext_proc.redis_queue import Job, Queue, Tuning
from ext_proc.redis_room import Room
from ext_proc.redis_scripts import DROP, END_LEASE, EVERY, LOOK_UP, PUT, RENEW, TAG
from ext_proc.store_metrics import StoreMetrics
from gateway_runtime.redis_client import StoreError, raise_if_cancelled
from policy.purge import Purge

_LARGEST_INLINE = 128 * 1024
"""Larger bodies are compressed and expanded in a thread, which other requests do not wait for."""
_MOST_TAGGED = 100_000


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
        self._metrics = metrics
        self._tuning = tuning or Tuning()
        self._origin = origin or secrets.token_hex(8)
        self._random = unit_random
        self._unix_s = unix_s
        self._queue = Queue(calls, metrics, self._tuning)
        """Open only when the log has been read."""
        self._purges = HeldPurges(MOST_BANS)
        self._room = Room(calls, self._keys, self._purges.covers, metrics)
        self._follower = Follower(
            calls, self._keys, self._purges, memory, origin=self._origin, tuning=self._tuning, unix_s=unix_s
        )
        self._owed = Owed(
            self._queue,
            self._keys,
            self._purges,
            origin=self._origin,
            read_to=lambda: self._follower.read_to,
            on_banned=self._room.free,
        )
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
        asked = Fetched(Lease.NONE, epoch=epoch or b"", position=self._purges.known, read_to=self._follower.read_to)
        fetched = _fetched(asked, holder, left_ms, token)
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
            self._queue.put(tell(self._keys, "replaced", place.uri, self._origin))

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
        self._owed.invalidate(uri)

    def purge(self, name: str, what: Purge) -> None:
        self._owed.purge(name, what)

    # What runs beside requests.

    def _spawn(self, work: Any) -> None:
        assert self._tasks is not None, "the store does not run"
        self._tasks.create_task(work, name="cache in redis")

    async def run(self) -> Never:
        """Carry requests to Redis until cancelled; the store works only meanwhile."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._tasks.create_task(self._watch(), name="redis watch")
                self._tasks.create_task(self._follower.follow(self._queue, self._metrics), name="redis log")
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
                self._owed.pay_all()
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

    async def _try_to_begin(self) -> None:
        try:
            async with asyncio.timeout(self._tuning.probe_timeout_s):
                await self._calls.load(EVERY)
            await self._follower.begin()
        except (TimeoutError, StoreError) as error:
            self._metrics.failed("probe", str(error) or type(error).__name__)
            raise_if_cancelled()
            await self._leave_connections()
            return
        raise_if_cancelled()
        self._queue.open()
        self._owed.pay_all()

    async def _leave_connections(self) -> None:
        """A server that became a replica, or went away, is left: the next connection is to the one in its place."""
        try:
            async with asyncio.timeout(self._tuning.probe_timeout_s):
                await self._calls.disconnect()
        except (TimeoutError, OSError, StoreError):
            pass

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


def _fetched(asked: Fetched, holder: bytes, left_ms: int, token: str) -> Fetched:
    """With whose lease it is, as the script says."""
    if holder == b"o":
        return replace(asked, lease=Lease.OWNED, token=token)
    if holder == b"h":
        return replace(asked, lease=Lease.HELD)
    if holder.startswith(b"!"):
        return replace(asked, lease=Lease.UNCACHEABLE, uncacheable_s=max(0, left_ms) / 1000, failed=holder == b"!1")
    return asked


def _ignore(_result: Any) -> None:
    """What it comes to does not matter."""
