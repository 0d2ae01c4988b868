"""gRPC without a proxy: grpcio's own xDS client finds, balances and leaves out through our server.

The client runs in a process of its own: gRPC reads GRPC_XDS_BOOTSTRAP once.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import httpx
import pytest

from tests.e2e.fleet import Fleet, fleet, write
from tests.ports import free_port

pytestmark = [pytest.mark.timeout(90)]

CLIENT = """
import collections, json, sys
import grpc

target, calls = sys.argv[1], int(sys.argv[2])
with grpc.insecure_channel(target) as channel:
    ask = channel.unary_unary("/echo.Echo/Port")
    for line in sys.stdin:
        answers = collections.Counter()
        for _ in range(calls):
            try:
                answers[ask(b"", timeout=10, wait_for_ready=line.strip() == "wait").decode()] += 1
            except grpc.RpcError as error:
                answers[error.code().name + " " + error.details()] += 1
        print(json.dumps(answers), flush=True)
"""


class Instances:
    """gRPC servers that answer with their own port."""

    def __init__(self, count: int) -> None:
        self.servers: dict[int, grpc.Server] = {}
        for _ in range(count):
            server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
            port = server.add_insecure_port("127.0.0.1:0")
            handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
                lambda _request, _context, port=port: str(port).encode()
            )
            server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("echo.Echo", {"Port": handler})])
            server.start()
            self.servers[port] = server

    @property
    def ports(self) -> list[int]:
        return list(self.servers)

    def stop(self, port: int) -> None:
        self.servers.pop(port).stop(0).wait(5)


class Client:
    """A program that calls a service by its name."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, *, wait: bool = False) -> Counter[str]:
        """What so many calls were answered, by how often."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("wait\n" if wait else "\n")
        self._process.stdin.flush()
        return Counter(json.loads(self._process.stdout.readline()))


@contextmanager
def client(folder: Path, xds_port: int, name: str, *, calls: int, gateway: str = "mesh") -> Iterator[Client]:
    bootstrap = folder / "grpc.json"
    server = {"server_uri": f"127.0.0.1:{xds_port}", "channel_creds": [{"type": "insecure"}]}
    bootstrap.write_text(json.dumps({"xds_servers": [server], "node": {"id": "caller", "cluster": gateway}}))
    process = subprocess.Popen(
        [sys.executable, "-c", CLIENT, f"xds:///{name}", str(calls)],
        env={"GRPC_XDS_BOOTSTRAP": str(bootstrap), "GRPC_VERBOSITY": "ERROR"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Client(process)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def instances() -> Iterator[Instances]:
    """Three."""
    found = Instances(3)
    yield found
    for port in found.ports:
        found.stop(port)


@pytest.fixture
def ships(tmp_path: Path) -> Iterator[Fleet]:
    """No Envoy among them."""
    with fleet(tmp_path, "") as ships:
        yield ships


def configure(folder: Path, ports: list[int], weights: list[int] | None = None) -> None:
    endpoints = [
        {"address": "127.0.0.1", "port": port, "weight": weight}
        for port, weight in zip(ports, weights or [1] * len(ports), strict=True)
    ]
    greeter = {"endpoints": endpoints, "protocol": "grpc", "circuit_breaker": {"max_requests": 100}}
    write(
        folder / "gateway.yaml",
        {
            "version": 1,
            "name": "mesh",
            "listeners": [{"name": "public", "address": "127.0.0.1", "port": free_port()}],
            "services": {"greeter": greeter, "web": {"endpoints": endpoints}},
            "routes": [{"name": "greeter", "auth": "none", "service": "greeter"}],
        },
    )


def test_a_service_is_found_by_its_name_and_balanced(tmp_path: Path, ships: Fleet, instances: Instances) -> None:
    """Every instance gets its share, and a new list of them takes effect on the open channel."""
    configure(tmp_path, instances.ports)
    control_plane = ships.control_plane()
    with client(tmp_path, control_plane.port, "greeter", calls=30) as caller:
        # Until the last one is connected, the others take its turns.
        for _ in range(200):
            if len(answers := caller.ask(wait=True)) == 3 and min(answers.values()) >= 8:
                break
        assert set(map(str, instances.ports)) == set(answers)
        assert min(answers.values()) >= 8
        configure(tmp_path, instances.ports[:1])
        for _ in range(200):
            if set(answers := caller.ask()) == {str(instances.ports[0])}:
                break

        assert {str(instances.ports[0]): 30} == answers


def test_weights_are_kept(tmp_path: Path, ships: Fleet, instances: Instances) -> None:
    """Of 8 : 1 : 1, most calls go to the first."""
    configure(tmp_path, instances.ports, [8, 1, 1])
    control_plane = ships.control_plane()
    with client(tmp_path, control_plane.port, "greeter", calls=400) as caller:
        answers = caller.ask(wait=True)
    first, second, third = (answers[str(port)] for port in instances.ports)

    assert 400 == first + second + third
    assert 280 <= first <= 360
    assert second > 10
    assert third > 10


def test_an_instance_that_fails_is_left_out(tmp_path: Path, ships: Fleet, instances: Instances) -> None:
    """gRPC notices a broken connection by itself."""
    configure(tmp_path, instances.ports)
    control_plane = ships.control_plane()
    with client(tmp_path, control_plane.port, "greeter", calls=30) as caller:
        caller.ask(wait=True)
        lost = instances.ports[0]
        instances.stop(lost)
        answers = caller.ask(wait=True)
        while len(answers) != 2:
            answers = caller.ask(wait=True)

        assert set(map(str, instances.ports)) == set(answers)


def test_nothing_else_has_a_name(tmp_path: Path, ships: Fleet, instances: Instances) -> None:
    """Neither a service of another protocol nor a listener for Envoys; the status tells a gRPC client from an Envoy."""
    configure(tmp_path, instances.ports)
    control_plane = ships.control_plane()
    with client(tmp_path, control_plane.port, "greeter", calls=1) as caller:
        caller.ask(wait=True)
        nodes = control_plane.status()["nodes"]
        assert isinstance(nodes, list)
        assert ["grpc"] == [node["kind"] for node in nodes]
    listed = httpx.get(f"{control_plane.http}/api/resources").json()["gateways"]["mesh"]["Listener"]

    assert {"public", "greeter"} == set(listed)
