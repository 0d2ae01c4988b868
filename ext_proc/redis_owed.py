"""Purges and invalidations of one process that Redis has to take: owed, and repeated, until it has."""

import secrets
from collections.abc import Callable
from functools import partial
from typing import Any

from ext_proc.cache.bans import Position
from ext_proc.redis_calls import Call
from ext_proc.redis_keys import Keys
from ext_proc.redis_log import MOST_BANS, MOST_CHANGES, ban_text, position_of
from ext_proc.redis_purges import HeldPurges
from ext_proc.redis_queue import Job, Queue
from ext_proc.redis_scripts import BAN, INVALIDATE, LONGEST_FILL_MS, TELL
from policy.purge import Everything, Purge

_MARK_MS = 86_400_000
_MOST = 10_000


class Owed:
    """What Redis has not taken yet."""

    def __init__(
        self,
        queue: Queue,
        keys: Keys,
        purges: HeldPurges,
        *,
        origin: str,
        read_to: Callable[[], Position],
        on_banned: Callable[[Purge], None],
    ) -> None:
        """
        Args:
            origin: of this process.
            read_to: how far the log of purges was read.
            on_banned: called with a purge that this process was the first to bring to Redis.
        """
        self._queue = queue
        self._keys = keys
        self._purges = purges
        self._origin = origin
        self._read_to = read_to
        self._on_banned = on_banned
        self._owed: dict[str, Purge | None] = {}
        """Purges by name; None by URI: it was invalidated."""

    def __len__(self) -> int:
        return len(self._owed)

    def invalidate(self, uri: str) -> None:
        self._add(uri, None)

    def purge(self, name: str, what: Purge) -> None:
        self._purges.hold(name, what)
        self._add(name, what)

    def pay_all(self) -> None:
        for name, what in tuple(self._owed.items()):
            self._pay(name, what)

    def _add(self, name: str, what: Purge | None) -> None:
        if len(self._owed) >= _MOST:
            self._owed.clear()
            name, what = f"overflow-{secrets.token_hex(8)}", Everything()
            self._purges.hold(name, what)
        self._owed[name] = what
        if self._queue.is_up:
            self._pay(name, what)

    def _pay(self, name: str, what: Purge | None) -> None:
        if what is None:
            call = Call(INVALIDATE, self._keys.of_uri(name), (LONGEST_FILL_MS,))
            self._queue.put(Job("invalidate", call, partial(self._invalidated, name)))
        else:
            arguments = (MOST_BANS, *ban_text(what), name, _MARK_MS)
            call = Call(BAN, (self._keys.bans, self._keys.of_purge(name)), arguments)
            self._queue.put(Job("ban", call, partial(self._banned, name, what)))

    def _failed(self, name: str, what: Purge | None) -> None:
        """Redis has not taken it, even if it took an earlier one of this name."""
        self._owed[name] = what
        self._queue.trouble.set()

    def _invalidated(self, uri: str, result: Any) -> None:
        if isinstance(result, BaseException):
            self._failed(uri, None)
            return
        self._owed.pop(uri, None)
        self._queue.put(tell(self._keys, "invalidated", uri, self._origin))

    def _banned(self, name: str, what: Purge, result: Any) -> None:
        if isinstance(result, BaseException):
            self._failed(name, what)
            return
        self._owed.pop(name, None)
        is_new, position = result
        self._purges.place(name, what, position_of(position), self._read_to())
        if is_new:
            self._on_banned(what)


def tell(keys: Keys, kind: str, uri: str, origin: str) -> Job:
    """Let the others' memories drop a URI."""
    return Job("tell", Call(TELL, (keys.changes,), (MOST_CHANGES, kind, uri.encode(), origin)), lambda _result: None)
