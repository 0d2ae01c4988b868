"""The store that replicas share, in Redis: `ext_proc.cache.shared.Shared`, which see.

What requests want is sent at once when nothing is under way; whatever comes while a call is out goes with the next one,
so that calls take effect in the order in which they were made and carry many when there is much to do. Nobody waits for
a Redis that is away: after failures a breaker is open until the log of purges has been read to its end again.
"""

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from typing import Any, Never, Protocol

from ext_proc.cache import storing
from ext_proc.cache.bans import START, Bans, Position
from ext_proc.cache.codec import GarbageError, decoded, encoded
from ext_proc.cache.entry import Entry
from ext_proc.cache.shared import NOTHING, Fetched, Lease, Pending, Place
from ext_proc.redis_calls import Call, Calls
from ext_proc.redis_log import (
    MOST_BANS,
    MOST_CHANGES,
    Logged,
    Reader,
    ban_of,
    ban_text,
    identifier,
    logged,
)
from ext_proc.redis_queue import Job, Queue, Tuning
from ext_proc.redis_scripts import BAN, DROP, END_LEASE, EVERY, INVALIDATE, LOOK_UP, PUT, RENEW, TAG, TAKE_TAGGED, TELL
from ext_proc.store_metrics import StoreMetrics
from gateway_runtime.redis_client import StoreError, raise_if_cancelled
from gateway_runtime.telemetry import logger
from policy.purge import ByPrefix, ByTag, ByUri, Everything, Purge

_LARGEST_INLINE = 128 * 1024
"""Larger bodies are compressed and expanded in a thread, which other requests do not wait for."""
_EPOCH_MS = 3_600_000
"""A fill that takes longer than this may bring back what was invalidated when it began."""
_MARK_MS = 86_400_000
_MOST_TAGGED = 100_000
_MOST_OWED = 10_000
_BANS_AT_ONCE = 256
_CONFIRMED_S = 5.0
_BEGINNING = 18
"""Octets of an entry that tell it from the one that replaced it: they hold its checksum."""


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
        self._prefix = prefix.encode()
        self._memory = memory
        self._metrics = metrics
        self._tuning = tuning or Tuning()
        self._origin = origin or secrets.token_hex(8)
        self._random = unit_random
        self._unix_s = unix_s
        self._log = logger("cache")
        self._queue = Queue(calls, metrics, self._tuning)
        """Open only when the log has been read."""
        self._bans = Bans(MOST_BANS)
        self._ban_log = Reader(self._prefix + b"{log}:bans", MOST_BANS)
        self._change_log = Reader(self._prefix + b"{log}:changes", MOST_CHANGES)
        self._followed = ((self._ban_log, self._apply_ban), (self._change_log, self._apply_change))
        self._unconfirmed: dict[str, Purge] = {}
        """Purges that are not seen in the log yet: they hold here all the same."""
        self._owed: dict[str, Purge] = {}
        """Purges and invalidations that Redis has not taken yet."""
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
        keys = self._keys(place)
        arguments = (
            "\n".join(place.selecting), "1" if is_exact else "0",
            token, int(self._tuning.lease_s * 1000), int(self._unix_s()),
        )  # fmt: skip
        done = partial(self._looked_up, place, lease, is_exact, answer, may_repeat, token, self._ban_log.position)
        self._queue.put(Job("get", Call(LOOK_UP, keys[:4], arguments), done))

    def _looked_up(
        self, place: Place, lease: bool, is_exact: bool, answer: _Answer, may_repeat: bool, token: str,
        position: Position, result: Any,
    ) -> None:  # fmt: skip
        if isinstance(result, BaseException):
            answer.set(NOTHING)
            return
        names, octets, epoch, holder, left_ms = result
        selecting = tuple(names.decode("latin-1").split("\n")) if names else ()
        if names and not is_exact and selecting != place.selecting:
            answer.set(Fetched(Lease.NONE, selecting=selecting))
            return
        fetched = _fetched(holder, left_ms, token, epoch or b"", position)
        if fetched.lease is Lease.OWNED:
            self._leases[token] = self._keys(place)[2]
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
        if read is not None and not self._is_banned(place.uri, *read):
            answer.set(replace(fetched, entry=read[0]))
            return
        (self._metrics.banned if read is not None else self._metrics.garbage).inc()
        self._queue.put(Job("drop", Call(DROP, (self._keys(place)[1],), (octets[:_BEGINNING],)), _ignore))
        if lease and fetched.lease is Lease.NONE and may_repeat:
            self._look_up(place, lease, True, answer, False)
        else:
            answer.set(fetched)

    def _is_banned(self, uri: str, entry: Entry, begun: Position) -> bool:
        if self._bans.covers(uri, entry.tags, begun):
            return True
        return any(_covers(what, uri, entry.tags) for what in self._unconfirmed.values())

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
            octets = encoded(entry, fetched.position)
            self._put(place, entry, fetched, octets, lives_ms, uncacheable_s, replaces)

    async def _put_later(
        self, place: Place, entry: Entry, fetched: Fetched, lives_ms: int, uncacheable_s: float, replaces: bool
    ) -> None:
        octets = await asyncio.to_thread(encoded, entry, fetched.position)
        self._put(place, entry, fetched, octets, lives_ms, uncacheable_s, replaces)

    def _put(
        self, place: Place, entry: Entry, fetched: Fetched, octets: bytes, lives_ms: int, uncacheable_s: float,
        replaces: bool,
    ) -> None:  # fmt: skip
        keys = self._keys(place)
        arguments = (
            "\n".join(place.selecting).encode("latin-1"), octets, lives_ms,
            fetched.token, fetched.epoch, int(uncacheable_s * 1000),
        )  # fmt: skip
        self._metrics.written_bytes.inc(len(octets))
        self._queue.put(Job("put", Call(PUT, keys, arguments), self._was_put))
        for tag in entry.tags:
            self._queue.put(Job("tag", Call(TAG, (self._tag_key(tag),), (keys[1], lives_ms, _MOST_TAGGED)), _ignore))
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
        call = Call(END_LEASE, (self._keys(place)[2],), (fetched.token, mark, milliseconds))
        self._queue.put(Job("lease", call, _ignore))

    def invalidate(self, uri: str) -> None:
        self._do(uri, ByUri(uri))

    def purge(self, name: str, what: Purge) -> None:
        if isinstance(what, ByUri):
            self._do(what.uri, what)
            return
        self._unconfirmed[name] = what
        self._do(name, what)

    # Purges and invalidations: held until Redis has taken them.

    def _do(self, name: str, what: Purge) -> None:
        if len(self._owed) >= _MOST_OWED:
            self._owed.clear()
            name, what = f"overflow-{secrets.token_hex(8)}", Everything()
            self._unconfirmed[name] = what
        self._owed[name] = what
        if self.is_up:
            self._pay(name, what)

    def _pay(self, name: str, what: Purge) -> None:
        done = partial(self._paid, name, what)
        if isinstance(what, ByUri):
            epoch, entries = self._uri_keys(what.uri)
            self._queue.put(Job("invalidate", Call(INVALIDATE, (epoch, entries), (_EPOCH_MS,)), done))
        else:
            mark = self._ban_log.key + b":" + name.encode()
            arguments = (MOST_BANS, *ban_text(what), name, _MARK_MS)
            self._queue.put(Job("ban", Call(BAN, (self._ban_log.key, mark), arguments), done))

    def _paid(self, name: str, what: Purge, result: Any) -> None:
        if isinstance(result, BaseException):
            self._queue.trouble.set()
            return
        if self._owed.get(name) == what:
            del self._owed[name]
        if isinstance(what, ByUri):
            self._queue.put(Job("tell", self._tell("invalidated", what.uri), _ignore))
            return
        asyncio.get_running_loop().call_later(_CONFIRMED_S, self._unconfirmed.pop, name, None)
        if result and isinstance(what, ByTag):
            self._take_tagged(what.tag)
        elif result and isinstance(what, Everything):
            self._spawn(self._sweep())

    def _take_tagged(self, tag: str) -> None:
        """Free what a ban has made useless; the ban holds without it."""

        def taken(result: Any) -> None:
            if isinstance(result, list) and result:
                self._spawn(self._unlinked(result))
                self._take_tagged(tag)

        self._queue.put(Job("untag", Call(TAKE_TAGGED, (self._tag_key(tag),), (1000,)), taken))

    async def _unlinked(self, keys: Sequence[bytes]) -> None:
        try:
            await self._calls.unlink(keys)
        except StoreError as error:
            self._metrics.failed("unlink", str(error))

    async def _sweep(self) -> None:
        """Free everything that was stored before the ban, or just now: what is stored anew by then costs a miss."""
        try:
            async for keys in self._calls.scan(_glob(self._prefix) + b"*"):
                useless = [key for key in keys if not key.startswith(self._prefix + b"{log}")]
                if useless:
                    await self._calls.unlink(useless)
        except StoreError as error:
            self._metrics.failed("unlink", str(error))

    # Keys.

    def _keys(self, place: Place) -> tuple[bytes, bytes, bytes, bytes, bytes]:
        """Names, entry, lease, epoch, entries: all of one slot."""
        epoch, entries = self._uri_keys(place.uri)
        slot = epoch[:-1]
        names, entry = _hash(place.primary), _hash(place.key)
        return slot + b"v" + names, slot + b"e" + entry, slot + b"l" + entry, epoch, entries

    def _uri_keys(self, uri: str) -> tuple[bytes, bytes]:
        slot = b"%b{%b}" % (self._prefix, _hash(uri))
        return slot + b"i", slot + b"u"

    def _tag_key(self, tag: str) -> bytes:
        return b"%bt:%b" % (self._prefix, _hash(tag))

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
                self._bans.raise_floor(first_position)
        if reader is self._change_log and not was_begun:
            reader.position = last_position  # what others dropped before is not here

    def _forget_old_bans(self) -> None:
        """What they cover has expired."""
        self._bans.forget((int((self._unix_s() - self._tuning.longest_s - _EPOCH_MS / 1000) * 1000), 0))

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
        self._bans.add(entry.position, what)
        if len(self._bans) % _BANS_AT_ONCE == 0:
            self._forget_old_bans()
        name = entry.text(b"n")
        if name in self._unconfirmed:
            del self._unconfirmed[name]  # it was forgotten here when it came
        else:
            self._memory.forget_purged(what)

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


def _hash(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest().encode()


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


def _covers(what: Purge, uri: str, tags: Sequence[str]) -> bool:
    match what:
        case ByTag():
            return what.tag in tags
        case ByPrefix():
            return what.covers(uri)
        case ByUri():
            return what.uri == uri
        case Everything():
            return True


def _streams(reply: Any) -> Iterable[tuple[bytes, Any]]:
    if not reply:
        return ()
    return reply.items() if isinstance(reply, dict) else reply


def _glob(text: bytes) -> bytes:
    return b"".join(b"\\" + bytes((octet,)) if octet in b"*?[]^\\" else bytes((octet,)) for octet in text)


def _ignore(_result: Any) -> None:
    """What it comes to does not matter."""
