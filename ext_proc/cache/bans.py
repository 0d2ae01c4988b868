"""Which entries of a shared store were purged, whoever stored them and however late: the purges, not the entries.

A purge is a ban with a position in one log that all processes read. A fill notes how far its process knew the log when
it began; a ban behind that position covers its entry for ever. So nothing has to be found and deleted before a purge
holds, nor can a slow process bring back what was purged. Entries live a day at most in the shared store, and so do
bans.
"""

from collections.abc import Collection

from policy.purge import ByPrefix, ByTag, ByUri, Everything, Purge

Position = tuple[int, int]
"""Of the log: milliseconds since 1970 and a count, as Redis numbers the entries of a stream."""

START: Position = (0, 0)


class Bans:
    """The bans of one shared store; beyond `most`, the older half becomes one that covers everything before it."""

    def __init__(self, most: int = 50_000) -> None:
        self._most = most
        self._floor = START
        self._tags: dict[str, Position] = {}
        self._prefixes: dict[ByPrefix, Position] = {}
        self._uris: dict[str, Position] = {}

    def __len__(self) -> int:
        return len(self._tags) + len(self._prefixes) + len(self._uris)

    def add(self, position: Position, what: Purge) -> None:
        """In any order; one that is repeated counts from its last position."""
        match what:
            case ByTag():
                self._tags[what.tag] = max(position, self._tags.get(what.tag, START))
            case ByPrefix():
                self._prefixes[what] = max(position, self._prefixes.get(what, START))
            case ByUri():
                self._uris[what.uri] = max(position, self._uris.get(what.uri, START))
            case Everything():
                self.raise_floor(position)
                return
        if len(self) > self._most:
            # Half of them at once, or each ban more would read all of them.
            positions = sorted((*self._tags.values(), *self._prefixes.values(), *self._uris.values()))
            self.raise_floor(positions[len(positions) // 2])

    def raise_floor(self, position: Position) -> None:
        """Everything that was begun before this position is banned."""
        self._floor = max(self._floor, position)
        self.forget(position)

    def forget(self, until: Position) -> None:
        """Drop bans up to this position: whatever they cover is gone."""
        self._tags = {tag: position for tag, position in self._tags.items() if position > until}
        self._prefixes = {prefix: position for prefix, position in self._prefixes.items() if position > until}
        self._uris = {uri: position for uri, position in self._uris.items() if position > until}

    def covers(self, uri: str, tags: Collection[str], begun: Position) -> bool:
        """
        Args:
            begun: how far the log was known when the fill began.
        """
        if begun < self._floor or self._uris.get(uri, START) > begun:
            return True
        if any(self._tags.get(tag, START) > begun for tag in tags):
            return True
        return any(position > begun and prefix.covers(uri) for prefix, position in self._prefixes.items())
