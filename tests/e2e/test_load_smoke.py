"""The load tests run: both tools, against a gateway as `make load` starts it. Times are not looked at."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.stack import SECRET, Stack
from tests.performance.load_test import Run, Target, load, main, started_gateway

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("load smoke"), pytest.mark.timeout(120)]

FEW = Run(users=3, duration_s=1.0, smoke=True)
REQUESTS = {
    *("read: user", "read: event", "read: popular events", "read: match"),
    *("write: user", "write: match", "login"),
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """As `make load` starts it."""
    with started_gateway(tmp_path_factory.mktemp("load")) as stack:
        yield stack


@pytest.fixture
def target(gateway: Stack) -> Target:
    return Target(gateway.url, SECRET)


@pytest.mark.locust
def test_locust(target: Target, tmp_path: Path) -> None:
    """Every kind of request is made and answered as promised; the page and the numbers are written."""
    assert 0 == load("locust", target, FEW, tmp_path)

    entries = {entry["name"]: entry for entry in json.loads((tmp_path / "locust.json").read_text())}
    assert REQUESTS == entries.keys()
    assert {0} == {entry["num_failures"] for entry in entries.values()}
    assert all(entry["num_requests"] >= FEW.users for entry in entries.values())
    assert "<html" in (tmp_path / "locust.html").read_text()


@pytest.mark.locust
def test_a_broken_promise_fails_the_run(target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users whose tokens nobody accepts get 401s, which are errors."""
    monkeypatch.setenv("GATEWAY_TOKEN", "no token")

    assert 1 == load("locust", target, FEW, tmp_path)


@pytest.mark.k6
def test_k6(target: Target, tmp_path: Path) -> None:
    """Checks and thresholds hold, most answers come from the cache; the page and the numbers are written."""
    assert 0 == load("k6", target, Run(users=3, duration_s=3.0, smoke=True), tmp_path)

    metrics = json.loads((tmp_path / "k6.json").read_text())["metrics"]
    assert 0 == metrics["http_req_failed"]["passes"]
    assert 0.8 < metrics["cache_hits"]["value"]
    assert "<html" in (tmp_path / "k6.html").read_text()


@pytest.mark.locust
def test_nobody_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A wrong GATEWAY_URL is told in one line, at once."""
    assert 2 == main(["locust", "--url", "http://127.0.0.1:9", "--smoke", "--reports", str(tmp_path)])
    assert "load: nobody answers at http://127.0.0.1:9" in capfd.readouterr().err
