"""The load generator: wrk if there is one or Debian's package can be fetched, else the k6 of `make setup`.

h2load is not used: it reports no percentiles. Both generators run as many connections as asked in a closed loop, so
requests per second and latency describe one and the same saturation point.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.performance.processes import BenchError

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_WRK_PACKAGE = "wrk=4.1.0-3+b2"
_WRK_LIBRARIES = (
    "libluajit-5.1-2=2.1.0~beta3+git20220320+dfsg-4.1+deb12u1",
    "libluajit2-5.1-2=2.1-20230119-1",
)
"""Debian has two packages of the same library; either does. A release that has others than these gets k6."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one load run saw from outside."""

    requests: int
    duration_s: float
    p50_s: float
    p99_s: float
    failures: int
    """Answers other than 2xx and 3xx, and broken connections."""

    @property
    def requests_per_s(self) -> float:
        return self.requests / self.duration_s if self.duration_s else 0.0


class Generator(Protocol):
    """A program that loads one URL."""

    @property
    def name(self) -> str: ...

    def run(self, url: str, headers: Mapping[str, str], *, connections: int, duration_s: float) -> Load: ...


@dataclass(frozen=True, slots=True)
class Wrk:
    path: str
    library_path: str = ""
    name: str = "wrk, one thread"

    def run(self, url: str, headers: Mapping[str, str], *, connections: int, duration_s: float) -> Load:
        # wrk takes whole seconds only
        command = [self.path, "-t1", f"-c{connections}", f"-d{max(1, round(duration_s))}s", "--latency"]
        for name, value in headers.items():
            command += ["-H", f"{name}: {value}"]
        return parse_wrk(_output([*command, url], {"LD_LIBRARY_PATH": self.library_path}))

    def works(self) -> bool:
        """False if a library is missing; `wrk -v` exits with 1, so its text decides."""
        done = subprocess.run(
            [self.path, "-v"],
            env={**os.environ, "LD_LIBRARY_PATH": self.library_path},
            capture_output=True,
            check=False,
        )
        return done.stdout.startswith(b"wrk ")


@dataclass(frozen=True, slots=True)
class K6:
    path: str
    folder: Path
    name: str = "k6"

    def run(self, url: str, headers: Mapping[str, str], *, connections: int, duration_s: float) -> Load:
        script, summary = self.folder / "load.js", self.folder / "summary.json"
        script.write_text(k6_script(url, headers, connections=connections, duration_s=duration_s))
        _output([self.path, "run", "--quiet", "--no-usage-report", f"--summary-export={summary}", str(script)], {})
        return parse_k6(summary.read_text())


def parse_wrk(output: str) -> Load:
    """Read what `wrk --latency` prints.

    Raises:
        BenchError: the text is not wrk's report.
    """
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m|h)\b", output)
    percentiles = {
        int(found[1]): float(found[2]) * _SECONDS[found[3]]
        for found in re.finditer(r"^\s+(\d+)%\s+([\d.]+)(us|ms|s|m|h)\s*$", output, re.MULTILINE)
    }
    if total is None or not {50, 99} <= percentiles.keys():
        raise BenchError(f"wrk printed no report:\n{output}")
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    return Load(
        requests=int(total[1]),
        duration_s=float(total[2]) * _SECONDS[total[3]],
        p50_s=percentiles[50],
        p99_s=percentiles[99],
        failures=(int(refused[1]) if refused else 0) + (sum(map(int, broken.groups())) if broken else 0),
    )


def k6_script(url: str, headers: Mapping[str, str], *, connections: int, duration_s: float) -> str:
    """A k6 program in which every virtual user holds one connection."""
    options = {
        "vus": connections,
        "duration": f"{duration_s}s",
        "discardResponseBodies": True,
        "summaryTrendStats": ["med", "p(99)"],
    }
    return (
        'import http from "k6/http";\n'
        f"export const options = {json.dumps(options)};\n"
        f"export default function () {{ http.get({json.dumps(url)}, {json.dumps({'headers': dict(headers)})}); }}\n"
    )


def parse_k6(summary: str) -> Load:
    """Read what `k6 run --summary-export` writes; its times are milliseconds."""
    metrics = json.loads(summary)["metrics"]
    requests, latency = metrics["http_reqs"], metrics["http_req_duration"]
    return Load(
        requests=requests["count"],
        duration_s=requests["count"] / requests["rate"] if requests["rate"] else 0.0,
        p50_s=latency["med"] / 1000,
        p99_s=latency["p(99)"] / 1000,
        failures=metrics["http_req_failed"]["passes"],
    )


def find_generator(tools: Path) -> Generator:
    """wrk from PATH or the tools folder, fetched into it without root if there is none; else k6.

    Raises:
        BenchError: there is neither, and no registry gives wrk.
    """
    wrk = _installed_wrk(tools)
    if wrk is None:
        print("==> load generator (.tools/wrk)", file=sys.stderr)  # noqa: T201 - progress, as make setup shows it
        wrk = _installed_wrk(tools) if _fetch_wrk(tools / "wrk") else None
    generator = wrk or _installed_k6(tools)
    if generator is None:
        raise BenchError("no load generator: install wrk or k6, or make a Debian registry reachable")
    return generator


def _installed_wrk(tools: Path) -> Wrk | None:
    libraries = ":".join(map(str, sorted((tools / "wrk" / "usr" / "lib").glob("*-linux-gnu"))))
    candidates = [Wrk(path) for path in [shutil.which("wrk")] if path]
    candidates.append(Wrk(str(tools / "wrk" / "usr" / "bin" / "wrk"), libraries))
    return next((wrk for wrk in candidates if os.access(wrk.path, os.X_OK) and wrk.works()), None)


def _installed_k6(tools: Path) -> K6 | None:
    path = shutil.which("k6") or shutil.which("k6", path=str(tools / "bin"))
    return K6(path, tools) if path else None


def _fetch_wrk(folder: Path) -> bool:
    """Unpack Debian's wrk and the library that it lacks on most machines into the folder."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return False
    folder.mkdir(parents=True, exist_ok=True)
    if not _succeeds(["apt-get", "download", _WRK_PACKAGE], folder):
        return False
    any(_succeeds(["apt-get", "download", library], folder) for library in _WRK_LIBRARIES)
    return all(_succeeds(["dpkg-deb", "-x", str(package), str(folder)], folder) for package in folder.glob("*.deb"))


def _succeeds(command: list[str], folder: Path) -> bool:
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0


def _output(command: list[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode != 0:
        raise BenchError(f"{command[0]} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout
