"""Requests that fill the cache: each URL of a list, through the gateway, as a client would ask for it."""

import http.client
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Warmed:
    """What became of one URL."""

    url: str
    status: int
    """0: no answer."""
    cache: str
    """As Cache-Status says it: stored, hit, not stored, or why there was no answer."""

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 400


def urls_of(lines: Iterable[str], gateway: str) -> list[str]:
    """URLs and paths, one a line; empty lines and those that begin with # do not count.

    Raises:
        ValueError: a line that is neither; the text names it.
    """
    found = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        url = gateway.rstrip("/") + text if text.startswith("/") else text
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
            raise ValueError(f"line {number}: {text!r} is neither a path (/items) nor a URL (https://host/items)")
        found.append(url)
    return found


def warm(urls: Sequence[str], gateway: str, headers: Mapping[str, str], concurrency: int) -> list[Warmed]:
    """Ask for each of them once, some at a time, at the gateway's address; the host of a URL goes into Host."""
    with ThreadPoolExecutor(concurrency) as threads:
        return list(threads.map(lambda url: _asked(url, gateway, headers), urls))


def summary(results: Sequence[Warmed]) -> str:
    """One line: how many of which kind."""
    counts = Counter(result.cache if result.is_good else "failed" for result in results)
    return ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items())) or "nothing to do"


def _asked(url: str, gateway: str, headers: Mapping[str, str]) -> Warmed:
    target, door = urlsplit(url), urlsplit(gateway)
    kind = http.client.HTTPSConnection if door.scheme == "https" else http.client.HTTPConnection
    path = (target.path or "/") + (f"?{target.query}" if target.query else "")
    try:
        connection = kind(door.hostname or "", door.port, timeout=_TIMEOUT_S)
        try:
            connection.request("GET", path, headers={"Host": target.netloc, **headers})
            answer = connection.getresponse()
            answer.read()
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Warmed(url, 0, str(error) or type(error).__name__)
    return Warmed(url, answer.status, _outcome(answer.getheader("cache-status", "")))


def _outcome(cache_status: str) -> str:
    last = cache_status.rpartition(",")[2]
    if "; hit" in last:
        return "hit"
    return "stored" if "; stored" in last or "; collapsed" in last else "not stored"
