"""Finds which resource of a refused response a client cannot take, so that it alone is withheld.

A NACK refuses a whole response and may or may not name the culprit, and Envoy has already applied the good resources of
a refused CDS, LDS or EDS response. The suspects of one response are tried in parts: with one culprit among n suspects
it is alone after at most log2(n) + 1 further responses. If what was refused beside it is refused once more, the search
goes on there, a few times; then all that is left is parked. What is parked is not sent again until its content changes.
"""

import re
from collections.abc import Collection, Mapping

_MAX_CULPRITS = 4
"""So many are looked for in one refused response."""

_NAME = re.compile(r"[^\s'\",;()\[\]{}]+")


class Quarantine:
    """Of one type on one stream."""

    def __init__(self) -> None:
        self.parked: dict[str, str] = {}
        """Version by name of what the client refuses."""
        self._versions: dict[str, str] = {}
        """Of all that is on trial."""
        self._suspects: tuple[str, ...] = ()
        """At least one of them is refused, in the versions above."""
        self._unverified: tuple[str, ...] = ()
        """Were refused together with the suspects, which may have been the others' fault."""
        self._trying: frozenset[str] = frozenset()
        self._rounds_left = 0
        self._searches_left = 0
        self._message = ""

    @property
    def is_trying(self) -> bool:
        """Whether a part of the suspects is to be sent, or has been and is not answered."""
        return bool(self._suspects)

    def withholds(self, name: str, version: str) -> bool:
        """Whether this content must not be sent now."""
        if self.parked.get(name) == version:
            return True
        return self._versions.get(name) == version and name not in self._trying

    def rejected(self, sent: Mapping[str, str], message: str) -> None:
        """The client refused a response in which these versions by name were new."""
        if not sent:
            return
        if self._suspects:
            self._unverified += tuple(name for name in self._suspects if name not in sent)
            self._rounds_left -= 1
        else:
            self._rounds_left = len(sent).bit_length()
            self._searches_left = _MAX_CULPRITS
        self._versions.update(sent)
        self._message = message
        self._narrow(tuple(sent))

    def accepted(self, sent: Collection[str]) -> None:
        """The client took a response with these names."""
        for name in sent:
            self.parked.pop(name, None)
            self._versions.pop(name, None)
        if self._suspects:
            self._rounds_left -= 1
            self._unverified = tuple(name for name in self._unverified if name not in sent)
            self._narrow(tuple(name for name in self._suspects if name not in sent))

    def skip(self) -> None:
        """Nothing of the part that was to be tried is there any more."""
        self.accepted(self._trying)

    def unanswered(self) -> None:
        """The client never answered the part that was tried: park all suspects rather than wait."""
        if self._suspects:
            self._rounds_left = 0
            self._narrow(tuple(name for name in self._suspects if name not in self._trying))

    def names(self) -> Collection[str]:
        """Of all that is suspected, parked or waiting to go out once more."""
        return {*self._versions, *self.parked}

    def forget(self, name: str) -> None:
        """The resource is gone, or has new content."""
        self.parked.pop(name, None)
        self._versions.pop(name, None)

    def _narrow(self, suspects: tuple[str, ...]) -> None:
        suspects = tuple(name for name in suspects if name in self._versions)
        if len(suspects) == 1 or (self._rounds_left <= 0 and suspects):
            for name in suspects:
                self.parked[name] = self._versions.pop(name)
            suspects = ()
        if suspects:
            self._suspects, self._trying = suspects, self._part(suspects)
            return
        # All culprits are parked. What was refused beside them goes out once more, together.
        self._suspects, self._unverified = self._unverified, ()
        self._trying = frozenset(self._suspects)
        self._searches_left -= 1
        # One for the answer to this part, if it is good.
        self._rounds_left = 1 + len(self._suspects).bit_length() if self._searches_left > 0 else 0
        if not self._suspects:
            self._versions.clear()

    def _part(self, suspects: tuple[str, ...]) -> frozenset[str]:
        """Which suspects to try next: those that the client did not name, else half of them."""
        named = set(_NAME.findall(self._message.replace(":", " "))) | set(_NAME.findall(self._message))
        innocent = [name for name in suspects if name not in named and name.strip(".:") not in named]
        if innocent and len(innocent) < len(suspects):
            return frozenset(innocent)
        return frozenset(suspects[: len(suspects) // 2])
