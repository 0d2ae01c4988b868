"""The store of one process: bounded in bytes and entries, evicting by SIEVE, expiring without being read.

SIEVE (Zhang et al., NSDI 2024) keeps a queue in order of arrival with one bit "was read since the hand passed" for
each entry. The hand walks from the oldest to the newest and evicts the first entry without the bit, so that a scan of
entries which nobody reads twice evicts itself and leaves the popular ones alone. A hit costs one attribute.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass

from ext_proc.cache.entry import Entry

_LARGEST_SHARE = 8
"""One entry may take an eighth of the store: a large object cannot empty it."""


@dataclass(slots=True, eq=False)
class _Node:
    """A place in the queue; `older` and `newer` are its neighbours."""

    key: str
    primary: str
    """"" if no request header selects it."""
    uri: str
    route: str
    entry: Entry
    size: int
    second: int
    """When it is of no more use, in whole seconds since 1970."""
    visited: bool = False
    older: "_Node | None" = None
    newer: "_Node | None" = None


@dataclass(slots=True)
class Usage:
    """What a route has in the store, and what left it before its time."""

    entries: int = 0
    bytes: int = 0
    evictions: int = 0


class MemoryStore:
    """Entries by key, with the names that select variants by primary key."""

    def __init__(self, *, max_bytes: int, max_entries: int) -> None:
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._nodes: dict[str, _Node] = {}
        self._by_uri: dict[str, str | set[str]] = {}
        """Keys by `cache_uri`; most have one, which needs no set."""
        self._by_tag: dict[str, set[str]] = {}
        self._vary: dict[str, tuple[tuple[str, ...], int]] = {}
        """By primary key: selecting names, if any, and how many entries there are."""
        self._expiring: dict[int, set[str]] = {}
        self._seconds: list[int] = []
        self._oldest: _Node | None = None
        self._newest: _Node | None = None
        self._hand: _Node | None = None
        self._bytes = 0
        self.usage: dict[str, Usage] = {}
        """By route."""

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def bytes(self) -> int:
        return self._bytes

    def get(self, key: str) -> Entry | None:
        node = self._nodes.get(key)
        if node is None:
            return None
        node.visited = True
        return node.entry

    def selecting(self, primary: str) -> tuple[str, ...]:
        """Lower-case request header names by which the stored variants of a primary key differ, sorted."""
        known = self._vary.get(primary)
        return known[0] if known is not None else ()

    def note_selecting(self, primary: str, names: tuple[str, ...]) -> tuple[str, ...]:
        """The names by which a new variant is stored: its own and those of the variants that are there.

        Names only grow while variants are there: a variant stored under fewer names is then not found any more, which
        costs a miss, whereas a name that is forgotten would serve one client's variant to another.
        """
        known = self._vary.get(primary)
        if known is None:
            return names
        return tuple(sorted({*known[0], *names}))

    def put(
        self,
        key: str,
        entry: Entry,
        *,
        primary: str,
        uri: str,
        selecting: tuple[str, ...],
        route: str,
        expires_at: float,
    ) -> bool:
        """Store, evicting others if need be; False if it is too large for this store.

        Args:
            selecting: as `note_selecting` gave them.
            expires_at: when it is of no more use, seconds since 1970.
        """
        self.remove(key)
        size = entry.size + 2 * len(key)
        if size > self._max_bytes // _LARGEST_SHARE:
            return False
        while self._nodes and (self._bytes + size > self._max_bytes or len(self._nodes) >= self._max_entries):
            self._evict()
        node = _Node(key, primary if selecting else "", uri, route, entry, size, int(expires_at) + 1)
        self._nodes[key] = node
        self._link(node)
        self._index(node)
        if selecting:
            self._vary[primary] = (selecting, self._vary.get(primary, (selecting, 0))[1] + 1)
        self._schedule(node)
        self._account(node, 1)
        return True

    def remove(self, key: str) -> bool:
        """Whether it was there."""
        node = self._nodes.get(key)
        if node is None:
            return False
        self._drop(node)
        return True

    def remove_uri(self, uri: str) -> int:
        """Remove every variant of a `cache_uri`, of all routes and identities; how many there were."""
        keys = self._by_uri.get(uri, ())
        gone = (keys,) if isinstance(keys, str) else tuple(keys)
        for key in gone:
            self._drop(self._nodes[key])
        return len(gone)

    def remove_tag(self, tag: str) -> int:
        """Remove what its service has tagged so."""
        gone = tuple(self._by_tag.get(tag, ()))
        for key in gone:
            self._drop(self._nodes[key])
        return len(gone)

    def remove_where(self, is_meant: Callable[[str], bool]) -> int:
        """Remove what a predicate of `cache_uri`s chooses; reads every entry."""
        chosen = [node for node in self._nodes.values() if is_meant(node.uri)]
        for node in chosen:
            self._drop(node)
        return len(chosen)

    def expire(self, now: float) -> int:
        """Remove what is of no more use; how many entries that were."""
        count = 0
        while self._seconds and self._seconds[0] <= now:
            for key in tuple(self._expiring[self._seconds[0]]):
                self._drop(self._nodes[key])
                count += 1
            del self._expiring[heapq.heappop(self._seconds)]
        return count

    def _index(self, node: _Node) -> None:
        there = self._by_uri.get(node.uri)
        if there is None:
            self._by_uri[node.uri] = node.key
        elif isinstance(there, str):
            self._by_uri[node.uri] = {there, node.key}
        else:
            there.add(node.key)
        for tag in node.entry.tags:
            self._by_tag.setdefault(tag, set()).add(node.key)

    def _forget(self, node: _Node) -> None:
        there = self._by_uri[node.uri]
        if isinstance(there, set) and len(there) > 1:
            there.discard(node.key)
        else:
            del self._by_uri[node.uri]
        for tag in node.entry.tags:
            keys = self._by_tag[tag]
            keys.discard(node.key)
            if not keys:
                del self._by_tag[tag]

    def _schedule(self, node: _Node) -> None:
        due = self._expiring.get(node.second)
        if due is None:
            self._expiring[node.second] = {node.key}
            heapq.heappush(self._seconds, node.second)
        else:
            due.add(node.key)

    def _evict(self) -> None:
        node = self._hand or self._oldest
        assert node is not None
        while node.visited:
            node.visited = False
            following = node.newer or self._oldest
            assert following is not None
            node = following
        self._hand = node
        self.usage[node.route].evictions += 1
        self._drop(node)

    def _link(self, node: _Node) -> None:
        node.older = self._newest
        if self._newest is None:
            self._oldest = node
        else:
            self._newest.newer = node
        self._newest = node

    def _unlink(self, node: _Node) -> None:
        if self._hand is node:
            self._hand = node.newer
        if node.older is None:
            self._oldest = node.newer
        else:
            node.older.newer = node.newer
        if node.newer is None:
            self._newest = node.older
        else:
            node.newer.older = node.older
        node.older = node.newer = None

    def _drop(self, node: _Node) -> None:
        del self._nodes[node.key]
        self._unlink(node)
        self._forget(node)
        # An empty second stays until its time comes: taking it out of the heap would cost more.
        self._expiring[node.second].discard(node.key)
        if node.primary:
            names, count = self._vary[node.primary]
            if count == 1:
                del self._vary[node.primary]
            else:
                self._vary[node.primary] = (names, count - 1)
        self._account(node, -1)

    def _account(self, node: _Node, sign: int) -> None:
        self._bytes += sign * node.size
        usage = self.usage.get(node.route)
        if usage is None:
            usage = self.usage[node.route] = Usage()
        usage.entries += sign
        usage.bytes += sign * node.size
