"""python -m tests.performance.live_keys NUMBER: MiB that a process grows by when that many callers are limited at once.

A process of its own, because what Python gives back to the system is no measure of what it took.
"""
# ruff: noqa: T201 - its parent reads what it prints

import subprocess
import sys
from pathlib import Path

from ext_authz.limiter.charges import Charge
from ext_authz.limiter.memory import MemoryStore
from policy.quotas import limit
from tests.unit.ext_authz.fixtures import rate_limit

_START_US = 1_000_000_000


def growth_mib(keys: int) -> float:
    """Measured in a fresh process."""
    command = [sys.executable, "-m", "tests.performance.live_keys", str(keys)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def resident_kib() -> int:
    """VmRSS of proc(5)."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


def main(keys: int) -> None:
    store = MemoryStore(keys)
    each = limit(rate_limit(count=10, per_s=3600, key=[{"user": True}], before=False))
    before_kib = resident_kib()
    for number in range(keys):
        store.charge([Charge(each, each.quota, f"ujwt.meetinity\0user-{number:08}")], _START_US + number)
    assert len(store) == keys
    print((resident_kib() - before_kib) / 1024)


if __name__ == "__main__":
    main(int(sys.argv[1]))
