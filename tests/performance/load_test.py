"""Load on a gateway, judged by what is promised (sla.py): `make load` (Locust), `make load-k6`.

A gateway is started for the run, with the default configuration but without its limits, which a few machines would
meet at once; or GATEWAY_URL names one that runs (with the routes of envoy/gateway.yaml, its limits in force). Reports
are written to build/load/. Exit status: 0 kept, 1 not kept, 2 could not be run.
"""

import argparse
import math
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import jwt

from tests import parts
from tests.e2e.stack import CHECKOUT, SECRET, Stack
from tests.performance.durations import seconds

REPORTS = CHECKOUT / "build" / "load"
FILES = CHECKOUT / "tests" / "performance"
DEMO_SECRET = "demo-only-secret-replace-before-real-use"
_RATE = re.compile(r"rate: \d+/(second|minute)(, burst: \d+)?")


class LoadError(Exception):
    """A run that cannot start; the text is for the person at the terminal."""


@dataclass(frozen=True, slots=True)
class Target:
    """The gateway under load, and what its tokens are signed with."""

    url: str
    jwt_secret: str


@dataclass(frozen=True, slots=True)
class Run:
    """How much load for how long; smoke: errors and shape alone, each request at least once."""

    users: int
    duration_s: float
    smoke: bool = False


def without_limits(configuration: str) -> str:
    """The same gateway, which refuses nobody for asking often; the limits are still computed."""
    relaxed, count = _RATE.subn("rate: 1000000/second, burst: 1000000", configuration)
    if not count:
        raise LoadError("the configuration has no rate limits that could be relaxed")
    return relaxed


@contextmanager
def started_gateway(folder: Path, edited: Callable[[str], str] = str) -> Iterator[Stack]:
    """The default gateway with demo services on free ports, relaxed, its configuration edited by the caller."""
    stack = Stack.make(folder)
    stack.config.write_text(edited(without_limits(stack.config.read_text())))
    started = stack.up()
    if started.returncode != 0:
        raise LoadError(f"the gateway does not start:\n{started.stdout}{started.stderr}")
    try:
        yield stack
    finally:
        stack.down()


def check_answers(url: str) -> None:
    """Raises LoadError unless a gateway answers there."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5):
            pass
    except urllib.error.HTTPError:
        pass  # it answers; what the routes say is the load's business
    except (OSError, ValueError) as error:
        raise LoadError(f"nobody answers at {url} ({error}); is GATEWAY_URL right?") from None


@dataclass(frozen=True, slots=True)
class Invocation:
    """A load generator as it is run."""

    command: tuple[str, ...]
    variables: Mapping[str, str]
    report: Path


def locust(program: str, target: Target, run: Run, reports: Path) -> Invocation:
    """Everybody has a token of their own, made there."""
    users, report = str(run.users), reports / "locust.html"
    command = (
        program,
        *("-f", str(FILES / "locustfile.py"), "--headless", "--host", target.url),
        *(
            "--users",
            users,
            "--spawn-rate",
            users,
            "--run-time",
            f"{math.ceil(run.duration_s)}s",
            "--stop-timeout",
            "10",
        ),
        *("--only-summary", "--loglevel", "WARNING", "--html", str(report), "--json-file", str(reports / "locust")),
    )
    variables = {"JWT_SECRET": target.jwt_secret, "PYTHONPATH": str(CHECKOUT), "PYTHONWARNINGS": "ignore"}
    return Invocation(command, {**variables, **_judging(run)}, report)


def k6(program: str, target: Target, run: Run, reports: Path) -> Invocation:
    """All share one token; the page is k6's own, as a file, without a server beside it."""
    report = reports / "k6.html"
    command = (
        *(program, "run", "--no-usage-report", f"--summary-export={reports / 'k6.json'}"),
        str(FILES / "k6-smoke.js"),
    )
    variables = {
        "GATEWAY_URL": target.url,
        "GATEWAY_TOKEN": token(target.jwt_secret, run.duration_s),
        "USERS": str(run.users),
        "DURATION": f"{math.ceil(run.duration_s)}s",
        "K6_WEB_DASHBOARD": "true",
        "K6_WEB_DASHBOARD_PORT": "-1",
        "K6_WEB_DASHBOARD_PERIOD": "1s",
        "K6_WEB_DASHBOARD_EXPORT": str(report),
    }
    return Invocation(command, {**variables, **_judging(run)}, report)


def _judging(run: Run) -> dict[str, str]:
    return {"LOAD_TIMES": "0", "LOAD_EACH": "1"} if run.smoke else {"LOAD_TIMES": "1"}


def token(secret: str, duration_s: float) -> str:
    """A JWT as the default configuration wants it, which outlives the run."""
    now = int(time.time())
    claims = {"iss": "https://auth.meetinity.io", "aud": "meetinity-api", "sub": "load-k6", "iat": now}
    return jwt.encode({**claims, "exp": now + int(duration_s) + 600}, secret, algorithm="HS256")


TOOLS: Mapping[str, tuple[Callable[[Mapping[str, str]], str], Callable[[str, Target, Run, Path], Invocation]]] = {
    "locust": (parts.locust, locust),
    "k6": (parts.k6, k6),
}
"""How each program is found, and how it is run."""


def load(tool: str, target: Target, run: Run, reports: Path) -> int:
    """Run one tool and return its exit status (0: what is promised was kept).

    Raises:
        LoadError: the tool is missing, or nobody answers at the target.
    """
    find, invocation_of = TOOLS[tool]
    try:
        program = find(os.environ)
    except parts.MissingError as error:
        raise LoadError(str(error)) from None
    check_answers(target.url)
    reports.mkdir(parents=True, exist_ok=True)
    invocation = invocation_of(program, target, run, reports)
    # What the caller has set (GATEWAY_TOKEN, JWT_SECRET) wins.
    done = subprocess.run(invocation.command, env={**invocation.variables, **os.environ}, check=False)
    print(f"report: {invocation.report}")
    return 0 if done.returncode == 0 else 1


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.performance.load_test", description=__doc__)
    parser.add_argument("tool", choices=sorted(TOOLS))
    parser.add_argument("--url", default=os.environ.get("GATEWAY_URL", ""), help="a running gateway [GATEWAY_URL]")
    parser.add_argument("--users", type=int, default=40, help="at once [40]")
    parser.add_argument("--duration", type=seconds, default=60.0, help="90s, 5m, 1h [60s]")
    parser.add_argument("--reports", type=Path, default=REPORTS, help="folder of the reports [build/load]")
    parser.add_argument("--smoke", action="store_true", help="look at errors and shape alone, not at times")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    options = _arguments(arguments)
    run = Run(options.users, options.duration, options.smoke)
    try:
        if options.url:
            given = Target(options.url.rstrip("/"), os.environ.get("JWT_SECRET", DEMO_SECRET))
            return load(options.tool, given, run, options.reports)
        with tempfile.TemporaryDirectory(prefix="gateway-load-") as folder, started_gateway(Path(folder)) as stack:
            return load(options.tool, Target(stack.url, SECRET), run, options.reports)
    except LoadError as error:
        print(f"load: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
