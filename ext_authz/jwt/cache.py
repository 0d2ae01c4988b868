"""What is known of tokens seen before, keyed by a digest of the whole token, so that none is held in memory."""

from typing import Generic, TypeVar

from ext_authz.jwt.verification import VerifiedToken
from ext_authz.reasons import Reason
from policy.authz import JwtProvider
from policy.jwks import KeySet

V = TypeVar("V")


class RecentEntries(Generic[V]):
    """A map that forgets what was not used lately: two generations, at most `capacity` entries, O(1) without a list."""

    def __init__(self, capacity: int) -> None:
        self._per_generation = max(1, capacity // 2)
        self._young: dict[bytes, V] = {}
        self._old: dict[bytes, V] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: bytes) -> V | None:
        value = self._young.get(key)
        if value is None:
            value = self._old.pop(key, None)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: bytes, value: V) -> None:
        if len(self._young) >= self._per_generation:
            self._old = self._young
            self._young = {}
        self._young[key] = value

    def discard(self, key: bytes) -> None:
        self._young.pop(key, None)
        self._old.pop(key, None)


class TokenCache:
    """Verified and refused tokens of all providers.

    Keys begin with the provider's digest, which has a fixed length, so an edited provider begins anew and no two pairs
    of provider and token share an entry. An entry is bound to the key set that it was made under: rotation ends it.
    Refusals that time or another key could lift are never kept.
    """

    def __init__(self, capacity: int) -> None:
        self._verified: RecentEntries[VerifiedToken] = RecentEntries(capacity)
        self._refused: RecentEntries[tuple[Reason, KeySet]] = RecentEntries(max(2, capacity // 8))
        self.hits = 0
        self.misses = 0
        """Tokens that had to be judged in full."""

    def __len__(self) -> int:
        return len(self._verified) + len(self._refused)

    def verified(self, provider: JwtProvider, keys: KeySet, token: bytes, now_s: float) -> VerifiedToken | None:
        """The token with this digest, if it was verified under these keys and is valid now."""
        entry = self._verified.get(provider.digest + token)
        if entry is None:
            return None
        if entry.keys is keys and entry.valid_from_s <= now_s < entry.valid_until_s:
            self.hits += 1
            return entry
        self._verified.discard(provider.digest + token)
        return None

    def refused(self, provider: JwtProvider, keys: KeySet, token: bytes) -> Reason | None:
        entry = self._refused.get(provider.digest + token)
        return entry[0] if entry is not None and entry[1] is keys else None

    def keep(self, provider: JwtProvider, token: bytes, verified: VerifiedToken) -> None:
        self._verified.put(provider.digest + token, verified)

    def keep_refusal(self, provider: JwtProvider, keys: KeySet, token: bytes, reason: Reason) -> None:
        if reason is Reason.SIGNATURE:
            self._refused.put(provider.digest + token, (reason, keys))
