"""Real Redis servers on loopback: started, killed, paused, restarted, joined to a cluster."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.ports import LAST, free_port, is_free

DEADLINE_S = 20.0


class RedisServer:
    """One server on a port of 127.0.0.1; nothing is kept on disk."""

    def __init__(self, binary: str, folder: Path, *arguments: str, port: int = 0) -> None:
        self.port = port or free_port()
        self._command = (
            *(binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"),
            *("--dir", str(folder), "--daemonize", "no", *arguments),
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                if self.command("PING").startswith((b"+PONG", b"-NOAUTH")):
                    return
            except OSError:
                pass
            assert self._process.poll() is None, "redis-server ended"
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.01)

    def command(self, *words: str) -> bytes:
        """One command and its raw answer, as far as it comes at once."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            parts = b"".join(b"$%d\r\n%b\r\n" % (len(word.encode()), word.encode()) for word in words)
            connection.sendall(b"*%d\r\n%b" % (len(words), parts))
            return connection.recv(1 << 20)

    def pause(self) -> None:
        """It keeps its connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait(timeout=DEADLINE_S)
            self._process = None


@contextlib.contextmanager
def redis_running(binary: str, folder: Path, *arguments: str, port: int = 0) -> Iterator[RedisServer]:
    server = RedisServer(binary, folder, *arguments, port=port)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextlib.contextmanager
def cluster_running(binary: str, folder: Path, nodes: int = 3) -> Iterator[list[RedisServer]]:
    """A Redis Cluster of primaries, each with its share of the slots."""
    with contextlib.ExitStack() as stack:
        servers: list[RedisServer] = []
        for number in range(nodes):
            own = folder / f"node-{number}"
            own.mkdir()
            arguments = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
            servers.append(stack.enter_context(redis_running(binary, own, *arguments, port=_port_of_a_node())))
        for server in servers[1:]:
            servers[0].command("CLUSTER", "MEET", "127.0.0.1", str(server.port))
        step = 16384 // nodes
        for number, server in enumerate(servers):
            last = 16384 if number == nodes - 1 else (number + 1) * step
            server.command("CLUSTER", "ADDSLOTS", *map(str, range(number * step, last)))
        deadline = time.monotonic() + DEADLINE_S
        while not all(_is_whole(server, nodes) for server in servers):
            assert time.monotonic() < deadline, "the cluster does not form"
            time.sleep(0.02)
        yield servers


def _port_of_a_node() -> int:
    """A node talks to the others on its port + 10000, which has to be free too, and none of the kernel's choosing."""
    while True:
        port = free_port()
        if port + 10_000 <= LAST and is_free(port + 10_000):
            return port


def _is_whole(server: RedisServer, nodes: int) -> bool:
    told = server.command("CLUSTER", "INFO")
    return b"cluster_state:ok" in told and b"cluster_slots_ok:16384" in told and b"known_nodes:%d" % nodes in told
