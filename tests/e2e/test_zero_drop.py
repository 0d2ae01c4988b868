"""Nothing that changes fails a request: every kind of edit and every loss of a control plane, under steady load.

Each test runs in a short form always; the long form (`make test-full`) has the numbers that the project promises.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import jwt
import pytest

from tests.e2e.echo import Echo, echo
from tests.e2e.fleet import ControlPlane, Document, Envoy, Fleet, door, fleet, write
from tests.e2e.load import Tally, load
from tests.e2e.waiting import until
from tests.ports import free_port

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(120)]

VARIANTS = {
    "delta ADS": ("delta-grpc", False, "edge"),
    "ADS": ("grpc", False, "edge"),
    "delta per type": ("delta-grpc", True, "edge"),
    "per type": ("grpc", True, "edge"),
    "sidecar": ("delta-grpc", False, "sidecar"),
}
SECRET = "a secret of thirty-two bytes for tests"
LONG = pytest.param(True, id="long", marks=[pytest.mark.long, pytest.mark.timeout(900)])
SHORT = pytest.param(False, id="short")
LIVE_S = 10.0


@dataclass
class Edits:
    """A gateway.yaml that changes step by step, and how to see that the newest step is live."""

    path: Path
    port: int
    services: dict[str, Document]
    routes: list[Document]
    listener: Document = field(default_factory=dict)
    more: Document = field(default_factory=dict)
    step: int = 0

    def apply(self) -> None:
        """Write the next version; its marker is a direct response of its own."""
        self.step += 1
        marker = {
            "name": "marker",
            "match": {"path": "/marker"},
            "auth": "none",
            "direct_response": {"status": 200, "body": str(self.step)},
        }
        document = {
            "version": 1,
            "name": "zero-drop",
            "listeners": [{"name": "public", "address": "127.0.0.1", "port": self.port, **self.listener}],
            "services": self.services,
            **self.more,
            "routes": [marker, *self.routes],
        }
        write(self.path, document)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def is_live(self) -> bool:
        return httpx.get(f"{self.url}/marker").text == str(self.step)

    def make(self) -> None:
        """Write the next version and see it live."""
        self.apply()
        until(self.is_live, f"step {self.step} is live", LIVE_S)


@dataclass
class Stand:
    """A control plane, an Envoy, two services with instances of their own, and the configuration that tests edit."""

    fleet: Fleet
    control_plane: ControlPlane
    envoy: Envoy
    edits: Edits
    old: Echo
    new: Echo

    @contextmanager
    def loaded(self, path: str = "/app") -> Iterator[Tally]:
        """Under load from before the first edit until some time after the last; no request may fail."""
        with load(self.edits.url + path, clients=4, pause_s=0.01) as tally:
            tally.until_more(40)
            yield tally
            tally.until_more(100)
        assert {} == tally.failures

    def answered_by(self) -> int:
        """The port of the instance that answers /app."""
        found: int = httpx.get(self.edits.url + "/app").json()["port"]
        return found


def endpoints(ports: list[int]) -> list[Document]:
    return [{"address": "127.0.0.1", "port": port} for port in ports]


def route(**changed: object) -> Document:
    return {"name": "app", "match": {"path_prefix": "/app"}, "auth": "none", "timeout": "10s", **changed}


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    """Each of the four ways in which an Envoy can ask; a sidecar asks as its edge does."""
    return str(request.param)


@contextmanager
def standing(folder: Path, envoy_binary: str, variant: str) -> Iterator[Stand]:
    api_type, per_type, mode = VARIANTS[variant]
    with echo(3) as old, echo(3) as new, fleet(folder, envoy_binary) as ships:
        services: dict[str, Document] = {
            "old": {"endpoints": endpoints(old.ports)},
            "new": {"endpoints": endpoints(new.ports)},
        }
        more: Document = {"mode": mode}
        edits = Edits(folder / "gateway.yaml", free_port(), services, [route(service="old")], more=more)
        edits.apply()
        control_plane = ships.control_plane()
        envoy = ships.envoy(control_plane.port, cluster="zero-drop", api_type=api_type, per_type=per_type)
        envoy.until_ready()
        until(lambda: httpx.get(f"{edits.url}/app").status_code == 200, "the gateway answers")
        yield Stand(ships, control_plane, envoy, edits, old, new)


@pytest.fixture
def stand(tmp_path: Path, envoy_binary: str, variant: str) -> Iterator[Stand]:
    """A gateway of its own, asked for in each variant."""
    with standing(tmp_path, envoy_binary, variant) as stand:
        yield stand


@pytest.mark.parametrize("long", [SHORT, LONG])
def test_edits(stand: Stand, long: bool) -> None:
    """Routes, a canary, a service that goes in the edit that leaves it, limits, endpoints and the listener itself."""
    with stand.loaded():
        _edit_routes(stand, 200 if long else 4)
        _move_canary(stand, 20 if long else 4)
        _repoint(stand, 20 if long else 2)
        _edit_clusters(stand, 20 if long else 2)
        _churn_endpoints(stand, 30.0 if long else 1.0)
        _edit_listener(stand, 20 if long else 2)

    for kind in ("cluster_manager.cds", "listener_manager.lds"):
        assert 0 == stand.envoy.stat(f"{kind}.update_rejected"), kind


def _edit_routes(stand: Stand, count: int) -> None:
    """Paths, headers and time limits of a route that is in use, and routes that come and go."""
    for number in range(count):
        matched = {"path": f"/extra/{number}"}
        extra: Document = {"name": f"extra-{number}", "match": matched, "auth": "none", "service": "new"}
        changed = route(service="old", rewrite={"path_prefix": f"/edit-{number}"}, timeout=f"{10 + number % 7}s")
        stand.edits.routes = [extra, changed]
        stand.edits.make()
        assert f"/edit-{number}" == httpx.get(stand.edits.url + "/app").json()["path"]
    stand.edits.routes = [route(service="old")]
    stand.edits.make()


def _move_canary(stand: Stand, steps: int) -> None:
    """0 to 100 %."""
    for step in range(steps + 1):
        share = 100 * step // steps
        backends = [{"service": "old", "weight": 100 - share}, {"service": "new", "weight": share}]
        stand.edits.routes = [route(backends=backends)]
        stand.edits.make()
    assert stand.answered_by() in stand.new.ports


def _repoint(stand: Stand, count: int) -> None:
    """The service that the route led to is deleted in the same edit, and comes back as the target of the next."""
    names = ("first", "second")
    for number in range(count):
        name, echoes = names[number % 2], (stand.old, stand.new)[number % 2]
        stand.edits.services = {name: {"endpoints": endpoints(echoes.ports)}}
        stand.edits.routes = [route(service=name)]
        stand.edits.make()
        until(lambda echoes=echoes: stand.answered_by() in echoes.ports, "the route leads elsewhere")  # type: ignore[misc]


def _edit_clusters(stand: Stand, count: int) -> None:
    """Circuit breakers, outlier detection and the balancing of the service in use."""
    for number in range(count):
        service: Document = {
            "endpoints": endpoints(stand.old.ports),
            "circuit_breaker": {"max_connections": 500 + number, "max_requests": 500 + number},
            "load_balancing": ("round_robin", "least_request", "random")[number % 3],
        }
        if number % 2 == 0:
            service["outlier_detection"] = {"consecutive_gateway_failure": 3 + number, "interval": "5s"}
        stand.edits.services = {"old": service}
        stand.edits.routes = [route(service="old")]
        stand.edits.make()


def _churn_endpoints(stand: Stand, seconds: float) -> None:
    """Instances come and go; those of both services are alive, so every answer must be good."""
    everyone = stand.old.ports + stand.new.ports
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        number += 1
        kept = [port for place, port in enumerate(everyone) if (number >> (place % 3)) % 2 == place % 2]
        stand.edits.services["old"]["endpoints"] = endpoints(kept or everyone)
        stand.edits.make()
    stand.edits.services["old"]["endpoints"] = endpoints(everyone)
    stand.edits.make()


def _edit_listener(stand: Stand, count: int) -> None:
    """A changed listener drains the old one: its connections are told to close, no request is lost."""
    for number in range(count):
        stand.edits.listener = {"limits": {"idle_timeout": f"{200 + number}s", "request_body": f"{1 + number}MiB"}}
        stand.edits.make()


@pytest.mark.parametrize("long", [SHORT, LONG])
def test_losing_the_control_plane(stand: Stand, long: bool) -> None:
    """kill -9 and a restart; Envoy serves on and gets what changed meanwhile."""
    with stand.loaded() as tally:
        for number in range(5 if long else 1):
            stand.control_plane.kill()
            tally.until_more(50)
            stand.edits.routes = [route(service=("new", "old")[number % 2])]
            stand.edits.apply()
            stand.control_plane.start()
            until(stand.edits.is_live, "what changed meanwhile is live", LIVE_S)
            stand.edits.make()


def _rolled(stand_folder: Path, envoy_binary: str, variant: str, rounds: int) -> None:
    api_type, per_type, mode = VARIANTS[variant]
    with echo(2) as service, door() as entrance, fleet(stand_folder, envoy_binary) as ships:
        edits = Edits(
            stand_folder / "gateway.yaml",
            free_port(),
            {"old": {"endpoints": endpoints(service.ports)}},
            [route(service="old")],
            more={"mode": mode},
        )
        edits.apply()
        current = ships.control_plane(name="control_plane-0")
        entrance.target = current.port
        envoy = ships.envoy(entrance.port, cluster="zero-drop", api_type=api_type, per_type=per_type)
        envoy.until_ready()
        until(lambda: httpx.get(f"{edits.url}/app").status_code == 200, "the gateway answers")
        sent = _updates(envoy)
        with load(edits.url + "/app", clients=4, pause_s=0.01) as tally:
            for number in range(rounds):
                following = ships.control_plane(name=f"control_plane-{number + 1}")
                entrance.target = following.port
                current.process.end()
                until(lambda following=following: bool(following.status()["nodes"]), "Envoy has moved", LIVE_S)  # type: ignore[misc]
                tally.until_more(40)
                assert sent == _updates(envoy), "equal versions are not sent again"
                edits.routes = [route(service="old", timeout=f"{11 + number}s")]
                edits.make()
                sent = _updates(envoy)
                current = following
            tally.until_more(40)
    assert {} == tally.failures


def _updates(envoy: Envoy) -> tuple[int, int]:
    """How often clusters or listeners have changed."""
    return (
        envoy.stat("cluster_manager.cluster_modified") + envoy.stat("cluster_manager.cluster_added"),
        envoy.stat("listener_manager.listener_modified") + envoy.stat("listener_manager.listener_added"),
    )


@pytest.mark.parametrize("long", [SHORT, LONG])
def test_rolling_replacement(tmp_path: Path, envoy_binary: str, variant: str, long: bool) -> None:
    """A second replica takes over: nothing fails, nothing that Envoy has is changed, edits go on."""
    _rolled(tmp_path, envoy_binary, variant, 3 if long else 1)


@pytest.mark.parametrize("long", [SHORT, LONG])
def test_policies_of_two_replicas(tmp_path: Path, envoy_binary: str, long: bool) -> None:
    """Envoy hears from one replica, ext_authz from the other: no edit of a policy denies a request."""
    with echo(2) as service, fleet(tmp_path, envoy_binary) as ships:
        edits = Edits(
            tmp_path / "gateway.yaml",
            free_port(),
            {"old": {"endpoints": endpoints(service.ports)}},
            [],
            more={"auth": {"jwt": {"main": {"issuer": "i", "algorithms": ["HS256"], "secret": SECRET}}}},
        )
        _set_policy(edits, 0)
        edits.apply()
        second = ships.control_plane(name="second")
        ext_authz = ships.ext_authz(second.port)
        flags = ("--config", str(edits.path), "--ext-authz-endpoint", f"127.0.0.1:{ext_authz}")
        first = ships.control_plane(*flags, name="first")
        ships.envoy(first.port, cluster="zero-drop").until_ready()
        token = jwt.encode(
            {"iss": "i", "sub": "alice", "roles": ["r"], "exp": int(time.time()) + 3600}, SECRET, algorithm="HS256"
        )
        headers = {"authorization": f"Bearer {token}"}
        until(_answers(edits.url + "/app", headers), "the gateway answers")
        with load(edits.url + "/app", clients=4, pause_s=0.01, headers=headers) as tally:
            for number in range(200 if long else 4):
                _set_policy(edits, number + 1)
                edits.make()
                tally.until_more(10)
            tally.until_more(40)
    assert {} == tally.failures


def _set_policy(edits: Edits, number: int) -> None:
    """Another policy each time, which lets the same client pass."""
    claims = {"roles": ["r", f"edit-{number}"]}
    edits.routes = [route(service="old", auth={"any_of": ["jwt.main"], "required_claims": claims})]


def _answers(url: str, headers: dict[str, str]) -> Callable[[], bool]:
    return lambda: httpx.get(url, headers=headers).status_code == 200
