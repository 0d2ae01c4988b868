"""The list/watch protocol of the Kubernetes API as a state machine: it says what to ask next, and does no I/O.

List in pages, then watch from the list's resourceVersion; remember the version of every event and bookmark, so that a
watch that ends goes on where it was; list again when the server no longer knows the version (410 Gone). A list replaces
everything known, so that objects deleted meanwhile are not kept
(https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, TypeVar

T = TypeVar("T")

PAGE_SIZE = 100
"""Objects asked for at once: 100 slices of 100 endpoints are 4 MB of JSON, some 50 ms of CPU."""
WATCH_S = 240
"""A watch is asked to end after 4 to 8 minutes, so that watches spread over API servers again after one restarted."""
SILENCE_S = 90
"""Bookmarks come about once a minute; after this long without a byte the connection is taken for half-open."""
STABLE_S = 10
"""A watch that lasted this long was worth its connection, even without an event."""
_BACKOFF_BASE_S = 0.5
_BACKOFF_MAX_S = 30.0


@dataclass(frozen=True, slots=True)
class ListPage:
    """Ask for a page of the list; the first one without a token."""

    continue_token: str
    limit: int
    """0: everything at once."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Ask for the changes after a version."""

    resource_version: str
    timeout_s: int


Step = ListPage | Watch


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request or a watch failed."""

    status: int
    """HTTP status, also of an ERROR event; 0 if no answer came."""
    message: str
    reason: str = ""
    """`reason` of the Status object, e.g. Forbidden."""
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Item(Generic[T]):
    """One object of the API; `value` is None if it is not one that counts here (a slice of no Service)."""

    name: str
    value: T | None
    resource_version: str = ""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    items: tuple[Item[T], ...]
    resource_version: str
    continue_token: str = ""


@dataclass(frozen=True, slots=True)
class Put(Generic[T]):
    """ADDED or MODIFIED."""

    item: Item[T]


@dataclass(frozen=True, slots=True)
class Gone:
    """DELETED."""

    name: str
    resource_version: str


@dataclass(frozen=True, slots=True)
class Bookmark:
    resource_version: str


WatchEvent = Put[T] | Gone | Bookmark | Failure


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """Everything there is now, by name; what is not in it is gone."""

    objects: Mapping[str, T]


@dataclass(frozen=True, slots=True)
class Changed(Generic[T]):
    """One object is new or different, or gone (None)."""

    name: str
    value: T | None


Change = Listed[T] | Changed[T]


class ListWatch(Generic[T]):
    """One resource of one namespace. Ask `step()`, wait `delay_s`, do it, and tell what happened."""

    def __init__(self, random: Callable[[], float]) -> None:
        """`random` returns numbers in [0, 1)."""
        self._random = random
        self._objects: dict[str, T] = {}
        self._continue_token = ""
        self._unpaged = False
        self._resource_version: str | None = None
        self._failures = 0
        self.delay_s = 0.0
        """How long to wait before the next step."""
        self.synced = False
        """Whether a list was ever complete."""
        self.failure: Failure | None = None
        """What is wrong now; None while it works."""

    @property
    def answered(self) -> bool:
        """Whether waiting for it is over: it is known, or it may not be known (RBAC)."""
        return self.synced or (self.failure is not None and self.failure.status == 403)

    def step(self) -> Step:
        if self._resource_version is None:
            return ListPage(self._continue_token, 0 if self._unpaged else PAGE_SIZE)
        return Watch(self._resource_version, int(WATCH_S * (1 + self._random())))

    def on_page(self, page: Page[T]) -> Listed[T] | None:
        """A page has come; the last one completes the list."""
        self.delay_s = 0.0
        self._objects.update((item.name, item.value) for item in page.items if item.value is not None)
        self._continue_token = page.continue_token
        if page.continue_token:
            return None
        objects, self._objects = self._objects, {}
        self._resource_version = page.resource_version
        self._unpaged = False
        self.synced = True
        return Listed(MappingProxyType(objects))

    def on_watching(self) -> None:
        """The server has accepted the watch."""
        self.failure = None
        self.delay_s = 0.0

    def on_event(self, event: WatchEvent[T]) -> Changed[T] | None:
        """After a Failure the watch is over: the next step follows."""
        match event:
            case Put(item):
                return Changed(item.name, item.value) if self._at(item.resource_version) else None
            case Gone(name, resource_version):
                return Changed(name, None) if self._at(resource_version) else None
            case Bookmark(resource_version):
                self._at(resource_version)
            case Failure():
                self.on_failure(event)
        return None

    def on_closed(self, lasted_s: float) -> None:
        """The watch ended without an error, after so long: at its timeout, or because the server restarts."""
        if lasted_s >= STABLE_S:
            self._failures = 0
        # A server that accepts watches and ends them at once must not be asked in a hot loop.
        self.delay_s = 0.0 if self._failures == 0 and lasted_s >= 1 else self._back_off()

    def on_failure(self, failure: Failure) -> None:
        """A request failed, or the connection broke or fell silent (status 0)."""
        self.failure = failure
        # An expired version or page is no sign of trouble: the first time the list follows at once.
        first_expiry = _is_expired(failure) and self._failures == 0
        self.delay_s = max(self._back_off(), failure.retry_after_s)
        if first_expiry:
            self.delay_s = failure.retry_after_s
        if _is_expired(failure) or (failure.status == 400 and self._resource_version is not None):
            self._list_again()

    def on_silence(self) -> None:
        """Nothing came for SILENCE_S: list again at once, on another connection.

        A watch from the same version would do for a half-open connection. But a cluster that was restored from a
        backup accepts a watch from a version that it has not reached yet, and sends nothing until then.
        """
        self.on_failure(Failure(0, f"no event and no bookmark for {SILENCE_S} s"))
        self._list_again()
        self.delay_s = 0.0

    def _list_again(self) -> None:
        # A list so slow that its own pages expire is asked for in one piece.
        self._unpaged = bool(self._continue_token)
        self._objects = {}
        self._continue_token = ""
        self._resource_version = None

    def _at(self, resource_version: str) -> bool:
        """False, and the next step is a list, if versions have gone back: the cluster was restored from a backup."""
        if _number(resource_version) < _number(self._resource_version):
            self.on_failure(Failure(410, f"version {resource_version} after {self._resource_version}"))
            return False
        self._failures = 0
        if resource_version:
            self._resource_version = resource_version
        return True

    def _back_off(self) -> float:
        longest = min(_BACKOFF_MAX_S, _BACKOFF_BASE_S * 2.0 ** min(self._failures, 10))
        self._failures += 1
        return longest * (0.5 + self._random() / 2)


def _number(resource_version: str | None) -> float:
    """Versions of one resource are numbers that grow (since Kubernetes 1.35 by the API's own word)."""
    return float(resource_version) if resource_version and resource_version.isdecimal() else math.inf


def _is_expired(failure: Failure) -> bool:
    """410, or a version from the future: the cluster was restored from a backup."""
    return failure.status == 410 or "Too large resource version" in failure.message
