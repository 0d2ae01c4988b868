"""A gateway under load for half an hour while it is edited and broken: `make soak` (DURATION=30m USERS=20).

Starts the default gateway with limits and cache in a Redis, loads it with the crowd of locustfile.py, and injects one
fault after another, round and round: endpoints come and go, the configuration changes or is faulty, Redis and processes
are killed (these in the first half only, so that what grows slowly has half the time to show it). Watches memory and
descriptors of every process. Report: build/soak/report.md; exit status 1 if a process grew without end or
requests failed that no fault explains.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests import parts
from tests.e2e.stack import CHECKOUT, SECRET, Stack
from tests.e2e.waiting import until
from tests.performance.durations import seconds
from tests.performance.load_test import Invocation, LoadError, Run, Target, locust, started_gateway
from tests.performance.sla import ERROR_RATIO
from tests.performance.soak_report import Failure, Injected, Life, Sample, Soak, markdown
from tests.redis_servers import RedisServer

REPORTS = CHECKOUT / "build" / "soak"
SAMPLE_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that happens to a gateway; `inject` returns when it is well again."""

    name: str
    inject: Callable[[], None]
    may_cost: bool = False
    ends_process: bool = False
    """One of ours, whose growth is watched from its start."""


class Faults:
    """Those of this gateway, in the order in which they are injected."""

    def __init__(self, stack: Stack, redis: RedisServer) -> None:
        self._stack = stack
        self._redis = redis
        self._edits = 0

    def all(self) -> tuple[Fault, ...]:
        return (
            Fault("an endpoint leaves and comes back", self._churn),
            Fault("the configuration is edited", self._edit),
            Fault("a faulty configuration is written and repaired", self._break),
            Fault("Redis is killed and restarted", self._kill_redis),
            self._killing("an instance of a service", "matching-2"),
            self._killing("the control plane", "control_plane", may_cost=False),
            self._killing("analytics", "analytics", may_cost=False),
            self._killing("ext_proc", "ext_proc"),
            self._killing("ext_authz", "ext_authz"),
            self._killing("Envoy", "envoy"),
        )

    def _killing(self, what: str, process: str, *, may_cost: bool = True) -> Fault:
        return Fault(f"{what} is killed", lambda: self._kill(process), may_cost, ends_process=True)

    def _churn(self) -> None:
        line = next(line for line in self._stack.config.read_text().splitlines() if "DEMO_MATCHING_2_PORT" in line)
        self._published(lambda: self._stack.edit(f"{line}\n", ""))
        self._published(
            lambda: self._stack.edit('DEMO_MATCHING_1_PORT:-8104}"}\n', f'DEMO_MATCHING_1_PORT:-8104}}"}}\n{line}\n')
        )

    def _edit(self) -> None:
        before, self._edits = self._edits, self._edits + 1
        self._stack.edit(f'"edits":{before}' if before else '"status":"ok"', f'"edits":{before + 1}')
        until(lambda: f'"edits":{before + 1}' in self._health(), "the edit is served")

    def _break(self) -> None:
        self._stack.edit("version: 1", "version: one")
        until(lambda: self._stack.metric("gateway_config_valid") == 0.0, "the fault is seen")
        self._stack.edit("version: one", "version: 1")
        until(lambda: self._stack.metric("gateway_config_valid") == 1.0, "the repair is seen")

    def _kill_redis(self) -> None:
        def store_is_up(wanted: float) -> bool:
            return self._stack.metric("gateway_authz_limiter_store_up", self._stack.ports.ext_authz_admin) == wanted

        self._redis.kill()
        until(lambda: store_is_up(0.0), "ext_authz notices that Redis is away")
        self._redis.start()
        until(lambda: store_is_up(1.0), "ext_authz has Redis again")

    def _kill(self, name: str) -> None:
        self._stack.until_restarted(name, self._stack.kill(name))
        until(self._is_well, f"the gateway is well after the death of {name}")

    def _published(self, edit: Callable[[], None]) -> None:
        before = self._generation()
        edit()
        until(lambda: self._generation() > before, "the edit is published")

    def _generation(self) -> float:
        text = httpx.get(f"http://127.0.0.1:{self._stack.ports.http}/metrics").text
        return sum(
            float(line.split()[-1]) for line in text.splitlines() if line.startswith("gateway_snapshot_generation{")
        )

    def _health(self) -> str:
        try:
            return httpx.get(f"{self._stack.url}/health").text
        except httpx.TransportError:
            return ""

    def _is_well(self) -> bool:
        """Everybody is ready, and a request passes all of them."""
        ports, headers = self._stack.ports, self._stack.bearer("soak")
        admin = (ports.http, ports.ext_authz_admin, ports.ext_proc_admin, ports.analytics_http)
        ready = [f"http://127.0.0.1:{port}/readyz" for port in admin]
        try:
            answers = [httpx.get(url) for url in ready] + [
                httpx.get(f"{self._stack.url}/api/matching/1", headers=headers),
                httpx.get(f"{self._stack.url}/api/events/popular?soak"),
            ]
        except httpx.TransportError:
            return False
        return all(answer.status_code == 200 for answer in answers)


@dataclass
class Watch:
    """Looks at every process of the gateway, again and again, until it is told to stop."""

    stack: Stack
    redis: RedisServer
    lives: dict[tuple[str, int], list[Sample]] = field(default_factory=dict)

    def look(self) -> None:
        state = self.stack.state()
        named = {**state.processes, "supervisor": state.supervisor}
        with suppress(AssertionError):  # it is being restarted
            named["redis"] = self.redis.pid
        for name, pid in named.items():
            if (sample := _sample(pid)) is not None:
                self.lives.setdefault((name, pid), []).append(sample)

    @contextmanager
    def running(self) -> Iterator[None]:
        ended = threading.Event()

        def run() -> None:
            while not ended.wait(SAMPLE_EVERY_S):
                self.look()

        thread = threading.Thread(target=run, name="watch")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _sample(pid: int) -> Sample | None:
    """proc(5); None if the process is gone."""
    folder = Path(f"/proc/{pid}")
    try:
        pages = int((folder / "statm").read_text().split()[1])
        descriptors = len(os.listdir(folder / "fd"))
    except OSError:
        return None
    return Sample(time.time(), pages * os.sysconf("SC_PAGE_SIZE"), descriptors)


def inject(faults: Sequence[Fault], run: Run, pause_s: float) -> list[Injected]:
    """One after another, with pauses, round and round, until 20 s before the end of the run."""
    injected: list[Injected] = []
    start = time.time()
    for fault in itertools.cycle(faults):
        if fault.ends_process and time.time() > start + run.duration_s / 2:
            continue
        time.sleep(pause_s)  # the load goes on; a pace, nothing is waited for
        if time.time() > start + run.duration_s - 20:
            break
        injected.append(_injected(fault))
    return injected


def _injected(fault: Fault) -> Injected:
    start = time.time()
    fault.inject()
    end = time.time()
    print(f"    {fault.name}: well again after {end - start:.1f} s", file=sys.stderr)
    return Injected(fault.name, start, end, fault.may_cost)


def with_redis(configuration: str, url: str) -> str:
    """The same gateway, whose limits count and whose responses are kept in Redis."""
    return f'{configuration}\nstores: {{rate_limits: redis, cache: redis, redis: {{url: "{url}"}}}}\n'


def soak(folder: Path, run: Run) -> Soak:
    """The whole run."""
    redis = RedisServer(parts.redis(os.environ), folder)
    redis.start()
    try:
        with started_gateway(folder, lambda text: with_redis(text, redis.url)) as stack:
            return _soak(folder, stack, redis, run)
    finally:
        redis.kill()


def _soak(folder: Path, stack: Stack, redis: RedisServer, run: Run) -> Soak:
    failures, watch = folder / "failures.jsonl", Watch(stack, redis)
    invocation = locust(parts.locust(os.environ), Target(stack.url, SECRET), run, REPORTS)
    with watch.running():
        generator = _start(invocation, failures)
        try:
            faults = Faults(stack, redis).all()
            pause_s = max(3.0, min(30.0, run.duration_s / (3 * len(faults))))
            injected = inject(faults, run, pause_s)
            generator.wait(run.duration_s + 60)
        finally:
            generator.kill()
            generator.wait()
    total = json.loads((REPORTS / "locust.json").read_text())
    return Soak(
        run.duration_s / 60,
        sum(entry["num_requests"] for entry in total),
        _percentile(total, 0.95),
        _percentile(total, 0.99),
        tuple(_failures(failures)),
        tuple(injected),
        tuple(Life(name, pid, tuple(samples)) for (name, pid), samples in sorted(watch.lives.items())),
    )


def _start(invocation: Invocation, failures: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        invocation.command,
        env={**os.environ, **invocation.variables, "LOAD_FAILURES": str(failures), "LOAD_JUDGE": "0"},
    )


def _failures(file: Path) -> Iterator[Failure]:
    for line in file.read_text().splitlines() if file.exists() else ():
        found = json.loads(line)
        yield Failure(found["at"], found["name"], found["error"])


def _percentile(entries: Sequence[dict[str, dict[str, int]]], part: float) -> float:
    """Over all kinds of requests, from Locust's histograms (milliseconds by count)."""
    counts: dict[float, int] = {}
    for entry in entries:
        for milliseconds, count in entry["response_times"].items():
            counts[float(milliseconds)] = counts.get(float(milliseconds), 0) + count
    left = part * sum(counts.values())
    for bucket in sorted(counts):
        left -= counts[bucket]
        if left <= 0:
            return bucket
    return 0.0


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.performance.soak", description=__doc__)
    parser.add_argument("--users", type=int, default=20, help="at once [20]")
    parser.add_argument("--duration", type=seconds, default=1800.0, help="90s, 5m, 1h [30m]")
    options = parser.parse_args(arguments)
    REPORTS.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="gateway-soak-") as folder:
            seen = soak(Path(folder), Run(options.users, options.duration))
    except (LoadError, parts.MissingError) as error:
        print(f"soak: {error}", file=sys.stderr)
        return 2
    report = markdown(seen, ERROR_RATIO)
    (REPORTS / "report.md").write_text(report)
    print(report)
    return 1 if seen.problems(ERROR_RATIO) else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
