"""Key sets that are fetched: where from, which are held, when to fetch again. Pure; `ext_authz.jwks` fetches."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from policy.authz import JwtProvider, Method
from policy.jwks import KeySet

MAX_STALE_S = 24 * 3600.0
"""Keys that could not be renewed for so long are no longer trusted."""
UNKNOWN_KEY_COOLDOWN_S = 30.0
"""A token with an unknown key fetches the set again, at most this often however many come."""
DEFAULT_LIFETIME_S = 300.0
MIN_LIFETIME_S = 60.0
MAX_LIFETIME_S = 3600.0
FIRST_RETRY_S = 1.0
LAST_RETRY_S = 60.0


@dataclass(frozen=True, slots=True)
class KeySource:
    """A place that several providers may share."""

    url: str
    """Of the JWK Set, or of the issuer's discovery document."""
    issuer: str
    """That the discovery document has to name; "" if the URL is that of the set."""


def source_of(provider: JwtProvider) -> KeySource:
    """Of a provider whose keys are fetched."""
    if provider.keys_url:
        return KeySource(provider.keys_url, "")
    return KeySource(provider.issuer.rstrip("/") + "/.well-known/openid-configuration", provider.issuer)


def sources_of(methods: Iterable[Method]) -> frozenset[KeySource]:
    return frozenset(source_of(method) for method in methods if isinstance(method, JwtProvider) and method.keys is None)


class KeyRing:
    """The key sets that are held, by where they came from."""

    def __init__(self, on_unknown_key: Callable[[KeySource], None] = lambda _: None) -> None:
        """
        Args:
            on_unknown_key: told when a token names a key that a fetched set does not have.
        """
        self._sets: dict[KeySource, KeySet] = {}
        self._on_unknown_key = on_unknown_key

    def keys(self, provider: JwtProvider) -> KeySet | None:
        """The provider's keys; None as long as they have not been fetched, or can no longer be trusted."""
        return provider.keys if provider.keys is not None else self._sets.get(source_of(provider))

    def key_is_unknown(self, provider: JwtProvider) -> None:
        if provider.keys is None:
            self._on_unknown_key(source_of(provider))

    def hold(self, source: KeySource, keys: KeySet) -> None:
        self._sets[source] = keys

    def drop(self, source: KeySource) -> None:
        self._sets.pop(source, None)


@dataclass(slots=True)
class Schedule:
    """When one source is asked again; times are of a clock that never goes back."""

    fetched_s: float | None = None
    """Last success."""
    failures: int = 0

    def after_success(self, now_s: float, lifetime_s: float) -> float:
        """Seconds until the next fetch: well before the keys' time is over."""
        self.fetched_s = now_s
        self.failures = 0
        return lifetime_s * 0.8

    def after_failure(self) -> float:
        """Seconds until the next try."""
        self.failures += 1
        return float(min(LAST_RETRY_S, FIRST_RETRY_S * 2 ** min(self.failures - 1, 10)))

    def is_stale(self, now_s: float) -> bool:
        """Whether what was fetched may no longer be used."""
        return self.fetched_s is not None and now_s - self.fetched_s > MAX_STALE_S


def lifetime_s(headers: Mapping[str, str]) -> float:
    """How long a set is good for by its Cache-Control, within our own bounds."""
    for directive in headers.get("Cache-Control", "").lower().split(","):
        name, _, value = directive.strip().partition("=")
        if name == "max-age" and value.isascii() and value.isdigit():
            return min(MAX_LIFETIME_S, max(MIN_LIFETIME_S, float(value[:9])))
    return DEFAULT_LIFETIME_S
