"""Under which names the shared store keeps things in Redis: hashes, so that no URL and no identity is readable in them.

Keys of one URI lie in one slot of a Cluster, the two logs in another.
"""

from hashlib import blake2b

from ext_proc.cache.shared import Place


class Keys:
    """All keys under one prefix."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix.encode()
        self.bans = self._prefix + b"{log}:bans"
        self.changes = self._prefix + b"{log}:changes"
        self.all_entries = _glob(self._prefix) + b"{*}e*"
        """A pattern."""

    def of_place(self, place: Place) -> tuple[bytes, bytes, bytes, bytes, bytes]:
        """Names, entry, lease, epoch, entries: all of one slot."""
        epoch, entries = self.of_uri(place.uri)
        slot = epoch[:-1]
        names, entry = _hash(place.primary), _hash(place.key)
        return slot + b"v" + names, slot + b"e" + entry, slot + b"l" + entry, epoch, entries

    def of_uri(self, uri: str) -> tuple[bytes, bytes]:
        """Epoch, entries."""
        slot = b"%b{%b}" % (self._prefix, _hash(uri))
        return slot + b"i", slot + b"u"

    def of_tag(self, tag: str) -> bytes:
        return b"%bt:%b" % (self._prefix, _hash(tag))

    def of_purge(self, name: str) -> bytes:
        """In the slot of the logs."""
        return self.bans + b":" + name.encode()


def _hash(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest().encode()


def _glob(text: bytes) -> bytes:
    return b"".join(b"\\" + bytes((octet,)) if octet in b"*?[]^\\" else bytes((octet,)) for octet in text)
