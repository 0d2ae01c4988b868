"""Write docs/reference/metrics.md from the registries of the processes; a test compares them."""

import json
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
TARGET = CHECKOUT / "docs" / "reference" / "metrics.md"
PROCESSES = {
    "control_plane": "Port 18080.",
    "ext_authz": "Port 9101; each worker its own.",
    "ext_proc": "Port 9102; each worker its own.",
    "analytics": "`python -m control_plane --role analytics`, port 9103.",
}
_HEAD = """# Metrics

Generated from the registries of the processes (`make reference`). Each process serves its own at `/metrics`, as text or
as OpenMetrics. Labels are bounded: routes, reasons and types, never callers or paths. Envoy's own stand at port 9902,
`/stats/prometheus`; those that the alerts use are named in `deploy/monitoring/rules/`.
"""


def reference() -> str:
    """The whole document."""
    return "\n".join([_HEAD, *(_section(process, where) for process, where in PROCESSES.items())])


def _section(process: str, where: str) -> str:
    metrics = sorted(_metrics(process))
    rows = [
        f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {text} |"
        for name, kind, labels, text in metrics
    ]
    return "\n".join(
        [f"## {process}", "", where, "", "| metric | type | labels | meaning |", "|---|---|---|---|", *rows, ""]
    )


def _metrics(process: str) -> list[tuple[str, str, list[str], str]]:
    command = [sys.executable, "-m", "scripts.registries", process]
    output = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    return [(name, kind, labels, text) for name, kind, labels, text in json.loads(output.splitlines()[-1])]


if __name__ == "__main__":
    TARGET.write_text(reference())
    print(TARGET)
