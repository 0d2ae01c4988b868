"""Processes of a gateway one by one, for what `gatewayctl up` has only one of: replicas, variants, sidecars.

Everything listens on free ports of 127.0.0.1 and ends with the block that started it.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from control_plane.translate.bootstrap import API_TYPES, BootstrapSettings, MutualTls, bootstrap
from tests.e2e.waiting import until
from tests.ports import free_port, free_ports

CHECKOUT = Path(__file__).resolve().parents[2]
START_DEADLINE_S = 30.0
Document = dict[str, object]
"""A gateway.yaml; JSON is YAML."""


@dataclass
class Process:
    """One process and where its output goes."""

    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    running: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                self.command, stdout=log, stderr=log, cwd=CHECKOUT, env={**kept, **self.environment}
            )

    def end(self, number: int = signal.SIGTERM, patience_s: float = 20) -> None:
        """Send a signal and wait for the end."""
        assert self.running is not None
        self.running.send_signal(number)
        self.running.wait(patience_s)

    def stop(self) -> None:
        """However it is doing."""
        if self.running is not None and self.running.poll() is None:
            self.running.terminate()
            try:
                self.running.wait(10)
            except subprocess.TimeoutExpired:
                self.running.kill()
                self.running.wait(10)

    def until_ready(self, url: str) -> None:
        def answers() -> bool:
            assert self.running is not None
            assert self.running.poll() is None, self.log.read_text()[-4000:]
            return is_ready(url)

        until(answers, f"{url} of {self.command[2]}", START_DEADLINE_S)


def is_ready(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


@dataclass
class Fleet:
    """What one test runs; every process ends with it."""

    folder: Path
    envoy_binary: str
    processes: list[Process] = field(default_factory=list)
    ext_procs: list["ExtProc"] = field(default_factory=list)

    def control_plane(self, *flags: str, port: int = 0, name: str = "control_plane") -> "ControlPlane":
        """Started and ready.

        Args:
            flags: what it serves (`--config FILE`) and all else; without them, gateway.yaml of the folder.
        """
        first = port or free_ports(2)
        process = Process(
            [
                *(sys.executable, "-m", "control_plane", "--log-format", "json"),
                *("--xds-address", f"127.0.0.1:{first}", "--http-address", f"127.0.0.1:{first + 1}"),
                *(flags or ("--config", str(self.folder / "gateway.yaml"))),
            ],
            self.folder / f"{name}.log",
        )
        replica = ControlPlane(process, first)
        self.processes.append(process)
        replica.start()
        return replica

    def ext_authz(self, xds_port: int) -> int:
        """Started and ready; the port of its gRPC side."""
        port, admin = free_port(), free_port()
        process = Process(
            [
                *(sys.executable, "-m", "ext_authz", "--xds-address", f"127.0.0.1:{xds_port}"),
                *("--address", f"127.0.0.1:{port}", "--admin-address", f"127.0.0.1:{admin}"),
            ],
            self.folder / "ext_authz.log",
        )
        self.processes.append(process)
        process.start()
        process.until_ready(f"http://127.0.0.1:{admin}/readyz")
        return port

    def ext_proc(self, xds_port: int, port: int, *flags: str) -> "ExtProc":
        """Started and ready."""
        admin = free_port()
        process = Process(
            [
                *(sys.executable, "-m", "ext_proc", "--xds-address", f"127.0.0.1:{xds_port}"),
                *("--address", f"127.0.0.1:{port}", "--admin-address", f"127.0.0.1:{admin}", "--notice", "0"),
                *flags,
            ],
            self.folder / f"ext_proc-{port}.log",
        )
        self.processes.append(process)
        process.start()
        process.until_ready(f"http://127.0.0.1:{admin}/readyz")
        self.ext_procs.append(ExtProc(process, port, admin))
        return self.ext_procs[-1]

    def running_ext_procs(self) -> list["ExtProc"]:
        """Those that have not ended."""
        return [each for each in self.ext_procs if each.process.running and each.process.running.poll() is None]

    def envoy(
        self,
        xds_port: int,
        *,
        cluster: str,
        node_id: str = "",
        api_type: str = "delta-grpc",
        per_type: bool = False,
        mutual_tls: MutualTls | None = None,
        token: str = "",
    ) -> "Envoy":
        """Started; it need not be ready."""
        node_id = node_id or f"{cluster}-1"
        settings = BootstrapSettings(
            name=cluster,
            node_id=node_id,
            xds_host="127.0.0.1",
            xds_port=xds_port,
            admin_port=free_port(),
            status_address="127.0.0.1",
            status_port=free_port(),
            api_type=API_TYPES[api_type],
            per_type=per_type,
            mutual_tls=mutual_tls,
            xds_token=token,
        )
        config = self.folder / f"{node_id}.pb"
        config.write_bytes(bootstrap(settings).SerializeToString())
        process = Process(
            [
                *(self.envoy_binary, "-c", str(config), "--concurrency", "2", "--use-dynamic-base-id"),
                *("--log-level", "info", "--drain-time-s", "5", "--file-flush-interval-msec", "50"),
            ],
            self.folder / f"{node_id}.log",
        )
        self.processes.append(process)
        process.start()
        return Envoy(process, settings)


@contextmanager
def fleet(folder: Path, envoy_binary: str) -> Iterator[Fleet]:
    """A fleet without processes."""
    ships = Fleet(folder, envoy_binary)
    try:
        yield ships
    finally:
        for process in reversed(ships.processes):
            process.stop()


@dataclass
class ControlPlane:
    """One replica."""

    process: Process
    port: int
    """Of xDS; HTTP has the next one."""

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port + 1}"

    def start(self) -> None:
        self.process.start()
        self.process.until_ready(f"{self.http}/readyz")

    def kill(self) -> None:
        """kill -9."""
        self.process.end(signal.SIGKILL)

    def status(self) -> "Document":
        found: Document = httpx.get(f"{self.http}/api/status").json()
        return found


@dataclass
class ExtProc:
    """One process of it."""

    process: Process
    port: int
    admin_port: int

    def metric(self, name: str) -> float:
        """The sum over all labels."""
        lines = httpx.get(f"http://127.0.0.1:{self.admin_port}/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


@dataclass
class Envoy:
    """One Envoy."""

    process: Process
    settings: BootstrapSettings

    def until_ready(self) -> None:
        self.process.until_ready(f"http://127.0.0.1:{self.settings.admin_port}/ready")

    def get(self, path: str) -> str:
        return httpx.get(f"http://127.0.0.1:{self.settings.admin_port}{path}").text

    def stat(self, name: str) -> int:
        lines = (line.rpartition(": ") for line in self.get("/stats").splitlines())
        return next((int(value) for key, _, value in lines if key == name), 0)

    def resources(self) -> dict[str, set[str]]:
        """Names of what it got over xDS, by `clusters`, `listeners`, `routes`."""
        found: dict[str, set[str]] = {"clusters": set(), "listeners": set(), "routes": set()}
        for part in json.loads(self.get("/config_dump"))["configs"]:
            for cluster in part.get("dynamic_active_clusters", ()):
                found["clusters"].add(cluster["cluster"]["name"])
            for listener in part.get("dynamic_listeners", ()):
                found["listeners"].add(listener["name"])
            for routes in part.get("dynamic_route_configs", ()):
                found["routes"].add(routes["route_config"]["name"])
        return found


def write(path: Path, document: Document) -> None:
    """As editors do: a new file in its place."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(document, indent=1))
    draft.replace(path)


class Door:
    """A TCP address whose new connections lead wherever was said last, as those of a Kubernetes Service do."""

    def __init__(self) -> None:
        self.port = 0
        self.target = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._carrying: set[asyncio.Task[None]] = set()

    async def serve(self, started: threading.Event, stop: asyncio.Event) -> None:
        server = await asyncio.start_server(self._enter, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await stop.wait()
        server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*self._carrying)

    def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._carrying.add(asyncio.get_running_loop().create_task(self._carry(reader, writer)))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(OSError):
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.target)
            self._writers.add(inner_writer)
            await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    writer.close()


@contextmanager
def door() -> Iterator[Door]:
    """Open until the block ends."""
    started, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()
    one = Door()
    thread = threading.Thread(target=loop.run_until_complete, args=(one.serve(started, stop),), name="door")
    thread.start()
    try:
        assert started.wait(10)
        yield one
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
