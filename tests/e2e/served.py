"""Wait until an edited configuration is served and every client has it: what `sleep 2` of a document stands for.

python -m tests.e2e.served PORT FILE, with the control plane's HTTP port. Exits with 1 if it takes too long.
"""

import re
import sys
import time
import urllib.request
from pathlib import Path

DEADLINE_S = 20.0
WORKERS_S = 0.2
"""Envoy acknowledges before its last worker has what it acknowledges."""


def is_served(metrics: str, edited_s: float) -> bool:
    """Whether the snapshot is younger than the edit, and nobody is behind it."""
    changed = re.findall(r"^gateway_snapshot_timestamp_seconds\{.*\} (\S+)$", metrics, re.MULTILINE)
    behind = re.findall(r'^gateway_xds_clients\{.*in_sync="no".*\} (\S+)$', metrics, re.MULTILINE)
    return bool(changed) and max(map(float, changed)) >= edited_s and not any(map(float, behind))


def main(port: str, file: str) -> int:
    deadline, edited_s = time.monotonic() + DEADLINE_S, Path(file).stat().st_mtime
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            if is_served(answer.read().decode(), edited_s):
                time.sleep(WORKERS_S)
                return 0
        time.sleep(0.05)
    print(f"{file} is not served after {DEADLINE_S:.0f} s")  # noqa: T201 - shown as a difference
    return 1


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
