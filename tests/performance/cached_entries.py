"""python -m tests.performance.cached_entries NUMBER: MiB that a process grows by when it stores that many of 1 KiB.

A process of its own, because what Python gives back to the system is no measure of what it took.
"""
# ruff: noqa: T201 - its parent reads what it prints

import subprocess
import sys

from ext_proc.cache.memory import MemoryStore
from ext_proc.cache.storing import kept_s
from policy.cache_key import cache_uri, entry_key, primary_key
from tests.performance.live_keys import resident_kib
from tests.unit.ext_proc.rules import NOW, stored


def growth_mib(entries: int) -> float:
    """Measured in a fresh process."""
    command = [sys.executable, "-m", "tests.performance.cached_entries", str(entries)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main(entries: int) -> None:
    store = MemoryStore(max_bytes=1 << 30, max_entries=entries)
    before_kib = resident_kib()
    for number in range(entries):
        uri = cache_uri("https", "api.example.com", f"/api/items/{number}?page=1&size=20")
        primary = primary_key("0123456789abcdef/items", uri)
        headers = {"cache-control": "max-age=60", "content-type": "application/json", "etag": f'"{number:032x}"'}
        entry = stored(headers, body=b"%1024d" % number)
        key = entry_key(primary, "", ())
        store.put(key, entry, primary=primary, uri=uri, selecting=(), route="items", expires_at=NOW + kept_s(entry))
    assert len(store) == entries
    print((resident_kib() - before_kib) / 1024)


if __name__ == "__main__":
    main(int(sys.argv[1]))
