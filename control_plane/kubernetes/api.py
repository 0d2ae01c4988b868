"""What the rest of this package needs of an API server; connection.py is the real thing.

Apart from it, so that a process outside of every cluster does not load the client (0.6 s).
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol


class CredentialsError(Exception):
    """Neither a kubeconfig nor a pod's service account can be read."""


class ConnectionLostError(Exception):
    """No answer came: unreachable, broken, too slow, or no credentials to ask with."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    retry_after: str | None = None


class Stream(Protocol):
    """The answer to a watch while it comes."""

    status: int
    retry_after: str | None

    def lines(self) -> AsyncIterator[bytes]:
        """Raises ConnectionLostError; TimeoutError after SILENCE_S without a byte."""

    async def body(self) -> bytes:
        """All of it, of an answer that is no stream."""


class Api(Protocol):
    """Requests to one API server; each raises ConnectionLostError."""

    async def request(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Mapping[str, object] | None = None
    ) -> Answer:
        """One request, its whole answer."""

    def watch(self, path: str, query: Mapping[str, str]) -> AbstractAsyncContextManager[Stream]:
        """A watch, open while the context is."""

    async def renew_credentials(self) -> None:
        """Read them again from where they came."""
