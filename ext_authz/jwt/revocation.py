"""Which tokens are revoked, as far as this process knows: the members of sets that others keep. Pure; polled elsewhere.

A member is a `jti` or a `sub`: one token, or all of a user's. A set that is not known, or has not been read for too
long, answers nothing, and then no token of its providers passes.
"""

from collections.abc import Set

from policy.stores import RevocationList

MAX_STALE_S = 30.0
"""A set that could not be read for so long is no longer trusted: tokens of its providers are refused with 503."""


class Revocations:
    """What was read last, by set."""

    def __init__(self) -> None:
        self._members: dict[RevocationList, Set[str]] = {}
        self._read_s: dict[RevocationList, float] = {}

    def of(self, source: RevocationList) -> Set[str] | None:
        """None: nobody can tell who is revoked."""
        return self._members.get(source)

    def hold(self, source: RevocationList, members: Set[str], now_s: float) -> bool:
        """Take what was read; returns whether it says something new."""
        known = self._members.get(source)
        self._read_s[source] = now_s
        if known is members or known == members:
            return False
        self._members[source] = members
        return True

    def give_up_if_stale(self, source: RevocationList, now_s: float) -> bool:
        """Forget a set that was not read for too long; returns whether this is when it ends."""
        if now_s - self._read_s.get(source, now_s) <= MAX_STALE_S:
            return False
        return self._members.pop(source, None) is not None

    def drop(self, source: RevocationList) -> None:
        """No provider in force uses it."""
        self._members.pop(source, None)
        self._read_s.pop(source, None)

    def ages_s(self, now_s: float) -> dict[str, float]:
        """Seconds since the last read, by the set's key; infinite if there was none."""
        return {source.key: now_s - self._read_s[source] for source in self._read_s}
