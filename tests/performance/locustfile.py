"""A day of the default gateway in small: mostly reads, some writes, a few logins; every user with a JWT of their own.

Run by `make load` (tests/performance/load_test.py), in the virtual environment of Locust: only Locust, the standard
library and sla.py are imported. With Locust's own page:

    PYTHONPATH=. .tools/load/bin/locust -f tests/performance/locustfile.py -H http://127.0.0.1:10000

Variables:

* JWT_SECRET, JWT_ISSUER, JWT_AUDIENCE: tokens are made with them; or GATEWAY_TOKEN: one for all users
* LOAD_TIMES=0 judges errors alone, LOAD_JUDGE=0 nothing
* LOAD_EACH=1: every user makes each request once at its start
* LOAD_FAILURES=FILE gets a line of JSON for each failure

A 429 with Retry-After is no failure: a limit did what it is for. It is counted by itself, so that a run that measured
a limit shows it.
"""

import base64
import hashlib
import hmac
import itertools
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from typing import Any

import gevent
from locust import HttpUser, between, events, task
from locust.env import Environment

from tests.performance.sla import Outcome, violations

DEMO_SECRET = "demo-only-secret-replace-before-real-use"
REFUSED = "refused by a limit (429)"
_numbers = itertools.count(1)


def bearer(subject: str) -> str:
    """`Bearer TOKEN`: the given token, or one of the default configuration's provider, good for a day."""
    given = os.environ.get("GATEWAY_TOKEN")
    if given:
        return f"Bearer {given}"
    now = int(time.time())
    claims = {
        "iss": os.environ.get("JWT_ISSUER", "https://auth.meetinity.io"),
        "aud": os.environ.get("JWT_AUDIENCE", "meetinity-api"),
        "sub": subject,
        "iat": now,
        "exp": now + 86_400,
    }
    signed = f"{_segment({'alg': 'HS256', 'typ': 'JWT'})}.{_segment(claims)}"
    secret = os.environ.get("JWT_SECRET", DEMO_SECRET).encode()
    digest = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"Bearer {signed}.{_base64(digest)}"


def _segment(document: object) -> str:
    return _base64(json.dumps(document).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Member(HttpUser):
    """Somebody with an account, who thinks a little between two requests."""

    wait_time = between(0.05, 0.25)

    def on_start(self) -> None:
        self._subject = f"load-{next(_numbers)}"
        self.client.headers["authorization"] = bearer(self._subject)
        if os.environ.get("LOAD_EACH") == "1":
            for each in (self.profile, self.event, self.popular, self.matches, self.change, self.propose, self.login):
                each()

    @task(30)
    def profile(self) -> None:
        self._ask("GET", f"/api/users/{random.randint(1, 3)}", "read: user", limited=True)

    @task(20)
    def event(self) -> None:
        self._ask("GET", f"/api/events/{random.randint(1, 2)}", "read: event")

    @task(25)
    def popular(self) -> None:
        self._ask("GET", f"/api/events/popular?page={random.randint(1, 20)}", "read: popular events", cached=True)

    @task(10)
    def matches(self) -> None:
        self._ask("GET", "/api/matching/1", "read: match", limited=True)

    @task(8)
    def change(self) -> None:
        self._ask("PUT", f"/api/users/{random.randint(1, 3)}", "write: user", {"city": "Lyon"}, limited=True)

    @task(5)
    def propose(self) -> None:
        self._ask("POST", "/api/matching", "write: match", {"with": "bob"}, limited=True)

    @task(2)
    def login(self) -> None:
        self._ask("POST", "/api/auth/login", "login", {"user": self._subject})

    def _ask(
        self,
        method: str,
        path: str,
        name: str,
        body: object = None,
        *,
        limited: bool = False,
        cached: bool = False,
    ) -> None:
        """One request; a failure is an answer without what the gateway promises for that route."""
        with self.client.request(method, path, name=name, json=body, catch_response=True) as answer:
            if answer.status_code == 429 and answer.headers.get("retry-after"):
                answer.request_meta["name"] = REFUSED
                answer.success()
                return
            missing = list(_missing(answer, limited=limited, cached=cached))
            if missing:
                answer.failure(f"status {answer.status_code}, not as promised: {', '.join(missing)}")


def _missing(answer: Any, *, limited: bool, cached: bool) -> Iterator[str]:
    if answer.status_code != 200:
        yield "status"
        return
    if not answer.headers.get("content-type", "").startswith("application/json"):
        yield "content-type"
    if limited and "ratelimit" not in answer.headers:
        yield "ratelimit"
    if cached and "cache-status" not in answer.headers:
        yield "cache-status"


def outcome(environment: Environment) -> Outcome:
    """Over all requests so far."""
    total = environment.stats.total
    return Outcome(
        total.num_requests,
        total.num_failures,
        total.get_response_time_percentile(0.95) or 0.0,
        total.get_response_time_percentile(0.99) or 0.0,
    )


@events.test_start.add_listener
def _show_progress(environment: Environment, **_: object) -> None:
    """A line that is written over on a terminal, every ten seconds one elsewhere."""
    if environment.parsed_options and environment.parsed_options.headless:
        gevent.spawn(_progress, environment, time.monotonic(), sys.stderr.isatty())


def _progress(environment: Environment, start: float, terminal: bool) -> None:
    assert environment.runner is not None
    planned = environment.parsed_options.run_time or 0
    while environment.runner.state not in ("stopping", "stopped"):
        gevent.sleep(1 if terminal else min(10, max(1, planned / 2)))
        seen = outcome(environment)
        elapsed = min(time.monotonic() - start, planned or 1e9)
        line = (
            f"{elapsed:4.0f}/{planned:.0f} s  {environment.runner.user_count} users  {seen.requests} requests "
            f"({environment.stats.total.current_rps:.0f}/s)  p95 {seen.p95_ms:.0f} ms  errors {seen.error_ratio:.2%}"
        )
        print(f"\r\x1b[K{line}" if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)
    if terminal:
        print(file=sys.stderr)


@events.request.add_listener
def _note_failure(name: str, exception: object, **_: object) -> None:
    target = os.environ.get("LOAD_FAILURES")
    if target and exception:
        with open(target, "a", encoding="utf-8") as file:
            file.write(json.dumps({"at": time.time(), "name": name, "error": str(exception)}) + "\n")


@events.quitting.add_listener
def _judge(environment: Environment, **_: object) -> None:
    """The exit status is 1 if something promised was not kept."""
    judges, times = (os.environ.get(name, "1") != "0" for name in ("LOAD_JUDGE", "LOAD_TIMES"))
    seen = outcome(environment)
    refused = sum(entry.num_requests for key, entry in environment.stats.entries.items() if key[0] == REFUSED)
    print(
        f"{seen.requests} requests, {seen.failures} failed, {refused} refused by limits, "
        f"p95 {seen.p95_ms:.0f} ms, p99 {seen.p99_ms:.0f} ms"
    )
    broken = violations(seen, times=times) if judges else []
    if judges:
        print("\n  ".join([f"promised: {'NOT KEPT' if broken else 'kept'}", *broken]))
    environment.process_exit_code = 1 if broken else 0
