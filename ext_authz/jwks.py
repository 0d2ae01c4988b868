"""Fetches key sets in the background, never while a request waits, from nowhere but where the operator said.

Guards: https only, no address inside a private network, no redirects, bounded time, size and number of keys, and a
discovery document must name its own issuer byte for byte. A fetch that fails leaves the keys that are there.
"""

import asyncio
import ipaddress
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
from aiohttp import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult

from ext_authz.jwt.sources import UNKNOWN_KEY_COOLDOWN_S, KeyRing, KeySource, Schedule, lifetime_s
from gateway_runtime.telemetry import logger
from policy.jwks import MAX_BYTES, KeySet, key_set
from policy.networks import is_public

TIMEOUT_S = 5.0


class FetchError(Exception):
    """A source did not bring keys; the text says why."""


@dataclass(frozen=True, slots=True)
class FetchGuards:
    """What an operator may allow."""

    allow_http: bool = False
    allow_private: bool = False


class KeyFetcher:
    """One task for each source that a policy in force needs."""

    def __init__(
        self,
        guards: FetchGuards,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
        cooldown_s: float = UNKNOWN_KEY_COOLDOWN_S,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """
        Args:
            cooldown_s: between two fetches of a source, at least, however many tokens name unknown keys.
            timeout_s: of one fetch, discovery included.
        """
        self.ring = KeyRing(self._on_unknown_key)
        self._cooldown_s = cooldown_s
        self._timeout_s = timeout_s
        self._guards = guards
        self._monotonic_s = monotonic_s
        self._wanted: frozenset[KeySource] = frozenset()
        self._changed = asyncio.Event()
        self._hurry: dict[KeySource, asyncio.Event] = {}
        self._schedules: dict[KeySource, Schedule] = {}
        self._log = logger("jwks")

    def want(self, sources: frozenset[KeySource]) -> None:
        """Follow exactly these from now on."""
        if sources != self._wanted:
            self._wanted = sources
            self._changed.set()

    def ages_s(self) -> dict[str, float]:
        """Seconds since the last success, by URL; infinite if there was none."""
        now_s = self._monotonic_s()
        return {
            source.url: float("inf") if schedule.fetched_s is None else now_s - schedule.fetched_s
            for source, schedule in self._schedules.items()
        }

    def failures(self) -> dict[str, int]:
        """Fetches that failed since the last success, by URL."""
        return {source.url: schedule.failures for source, schedule in self._schedules.items()}

    async def run(self) -> None:
        """Fetch until cancelled."""
        async with _session(self._guards) as session, asyncio.TaskGroup() as tasks:
            following: dict[KeySource, asyncio.Task[None]] = {}
            while True:
                for source in self._wanted - following.keys():
                    following[source] = tasks.create_task(self._follow(session, source), name=f"jwks {source.url}")
                for source in following.keys() - self._wanted:
                    following.pop(source).cancel()
                    self._forget(source)
                await self._changed.wait()
                self._changed.clear()

    def _forget(self, source: KeySource) -> None:
        self.ring.drop(source)
        self._schedules.pop(source, None)
        self._hurry.pop(source, None)

    def _on_unknown_key(self, source: KeySource) -> None:
        if source in self._hurry:
            self._hurry[source].set()

    async def _follow(self, session: aiohttp.ClientSession, source: KeySource) -> None:
        """Keep one source's keys fresh."""
        schedule = self._schedules[source] = Schedule()
        hurry = self._hurry[source] = asyncio.Event()
        fetch = _Fetch(session, source, self._guards)
        while True:
            try:
                async with asyncio.timeout(self._timeout_s):
                    keys, good_for_s = await fetch()
                self.ring.hold(source, keys)
                if schedule.failures or schedule.fetched_s is None:
                    self._log.info("keys_fetched", url=source.url, keys=len(keys.keys))
                wait_s = schedule.after_success(self._monotonic_s(), good_for_s)
            except Exception as error:  # whatever a server says, it is that server's fault and nobody else's end
                wait_s = schedule.after_failure()
                level = self._log.warning if schedule.failures == 1 else self._log.debug
                level("keys_not_fetched", url=source.url, reason=str(error) or type(error).__name__)
                if schedule.is_stale(self._monotonic_s()):
                    self.ring.drop(source)
                    self._log.error("keys_too_old", url=source.url)
            await self._pause(hurry, wait_s)

    async def _pause(self, hurry: asyncio.Event, wait_s: float) -> None:
        """Wait, or as long as the cool-down if somebody needs new keys."""
        await asyncio.sleep(min(wait_s, self._cooldown_s))
        if wait_s > self._cooldown_s:
            try:
                async with asyncio.timeout(wait_s - self._cooldown_s):
                    await hurry.wait()
            except TimeoutError:
                pass
        hurry.clear()


class _Fetch:
    """Fetches one source; an answer that says the same gives the same KeySet, so that verified tokens stay known."""

    def __init__(self, session: aiohttp.ClientSession, source: KeySource, guards: FetchGuards) -> None:
        self._session = session
        self._source = source
        self._guards = guards
        self._etag = ""
        self._body = b""
        self._keys: KeySet | None = None

    async def __call__(self) -> tuple[KeySet, float]:
        url = await self._discover() if self._source.issuer else self._source.url
        return await self._key_set(url)

    async def _discover(self) -> str:
        async with self._get(self._source.url) as response:
            body = await _bounded(response)
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            raise FetchError("a discovery document that is not JSON") from None
        if not isinstance(document, dict) or document.get("issuer") != self._source.issuer:
            raise FetchError("a discovery document of another issuer")
        url = document.get("jwks_uri")
        if not isinstance(url, str):
            raise FetchError("a discovery document without jwks_uri")
        return url

    async def _key_set(self, url: str) -> tuple[KeySet, float]:
        async with self._get(url, {"If-None-Match": self._etag} if self._etag else {}) as response:
            good_for_s = lifetime_s(response.headers)
            if response.status == 304 and self._keys is not None:
                return self._keys, good_for_s
            body = await _bounded(response)
            if self._keys is None or body != self._body:
                self._keys = key_set(body, symmetric=False)
                self._body = body
            self._etag = response.headers.get("ETag", "")
            return self._keys, good_for_s

    @asynccontextmanager
    async def _get(self, url: str, headers: dict[str, str] | None = None) -> AsyncIterator[aiohttp.ClientResponse]:
        check_url(url, self._guards)
        async with self._session.get(url, headers=headers, allow_redirects=False) as response:
            if response.status not in (200, 304):
                raise FetchError(f"status {response.status}")
            yield response


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise FetchError("a compressed body, which nobody asked for")
    body = b""
    async for chunk in response.content.iter_chunked(16 * 1024):
        body += chunk
        if len(body) > MAX_BYTES:
            raise FetchError(f"more than {MAX_BYTES} bytes")
    return body


def check_url(url: str, guards: FetchGuards) -> None:
    """Raises FetchError for what must not be fetched."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise FetchError("no URL") from None
    if parts.scheme != "https" and not (parts.scheme == "http" and guards.allow_http):
        raise FetchError("not an https URL")
    if not parts.hostname or parts.username is not None or parts.password is not None:
        raise FetchError("a URL without host, or with a password")
    try:
        address = ipaddress.ip_address(parts.hostname)
    except ValueError:
        if _is_numeric(parts.hostname):
            raise FetchError("an address in another spelling than usual") from None
        return
    if not (guards.allow_private or is_public(address)):
        raise FetchError("an address inside a private network")


def _is_numeric(host: str) -> bool:
    """`127.1`, `2130706433` and `0x7f.1` are addresses for sockets, and names for whoever only looks at them."""
    try:
        socket.inet_aton(host)
    except OSError:
        return False
    return True


@asynccontextmanager
async def _session(guards: FetchGuards) -> AsyncIterator[aiohttp.ClientSession]:
    resolver = aiohttp.ThreadedResolver()
    if guards.allow_private:
        connector = aiohttp.TCPConnector(resolver=resolver)
    else:
        connector = aiohttp.TCPConnector(resolver=_PublicResolver(resolver), socket_factory=_public_socket)
    async with aiohttp.ClientSession(
        connector=connector, trust_env=False, auto_decompress=False, headers={"Accept-Encoding": "identity"}
    ) as session:
        yield session


def _public_socket(where: AddrInfoType) -> socket.socket:
    """Whatever a name or a number was taken for: no connection leads into a private network."""
    family, kind, protocol, _, address = where
    if not is_public(ipaddress.ip_address(address[0])):
        raise OSError("an address inside a private network")
    return socket.socket(family, kind, protocol)


class _PublicResolver(AbstractResolver):
    """Names that lead into a private network do not resolve; what was checked is what is connected to."""

    def __init__(self, resolver: AbstractResolver) -> None:
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found: Collection[ResolveResult] = await self._resolver.resolve(host, port, family)
        public = [each for each in found if is_public(ipaddress.ip_address(each["host"]))]
        if not public:
            raise OSError(f"{host} has no public address")
        return public

    async def close(self) -> None:
        await self._resolver.close()
