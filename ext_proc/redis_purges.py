"""Which purges hold in one process, wherever Redis is with them; pure.

A purge holds from the moment in which this process was told of it. First it covers everything that it names; as soon as
its position in the log is known, only what was begun before that. So what is fetched anew is not taken for what was
purged, however late the log is read.
"""

from collections.abc import Collection
from typing import assert_never

from ext_proc.cache.bans import START, Bans, Position
from policy.purge import ByPrefix, ByTag, ByUri, Everything, Purge


class HeldPurges:
    """Those that this process was told of, and those that it has read in the log."""

    def __init__(self, most: int) -> None:
        self.bans = Bans(most)
        self.known: Position = START
        """Of the log: what is begun from now on knows all purges up to here."""
        self._unplaced: dict[str, Purge] = {}
        self._unread: set[str] = set()
        """Those whose memories have forgotten, as soon as they were told; the log will bring them too."""

    @property
    def is_settled(self) -> bool:
        """Redis has all of them, and so has this process what Redis had."""
        return not self._unplaced and not self._unread

    def hold(self, name: str, what: Purge) -> None:
        """It was told of this one."""
        self._unplaced[name] = what

    def place(self, name: str, what: Purge, position: Position, read_to: Position) -> None:
        """Redis has it at this position of the log.

        Args:
            read_to: how far the log was read.
        """
        self._unplaced.pop(name, None)
        self._add(what, position)
        if position > read_to:
            self._unread.add(name)

    def read(self, name: str, what: Purge, position: Position) -> bool:
        """The log has it; whether the memory does not know of it yet."""
        self._add(what, position)
        is_new = name not in self._unplaced and name not in self._unread
        self._unplaced.pop(name, None)
        self._unread.discard(name)
        return is_new

    def begin(self, position: Position) -> None:
        """The log is read from here: it may be another one, or have lost its end."""
        self.known = position
        self._unread.clear()

    def covers(self, uri: str, tags: Collection[str], begun: Position) -> bool:
        """
        Args:
            begun: how far the log was known when the fill began.
        """
        if self._unplaced and any(_names(what, uri, tags) for what in self._unplaced.values()):
            return True
        return self.bans.covers(uri, tags, begun)

    def _add(self, what: Purge, position: Position) -> None:
        self.bans.add(position, what)
        self.known = max(self.known, position)


def _names(what: Purge, uri: str, tags: Collection[str]) -> bool:
    match what:
        case ByTag():
            return what.tag in tags
        case ByPrefix():
            return what.covers(uri)
        case ByUri():
            return what.uri == uri
        case Everything():
            return True
        case _:
            assert_never(what)
