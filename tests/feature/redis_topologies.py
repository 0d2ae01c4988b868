"""Ways to a Redis that both callouts take: TLS in front of one, and Sentinel above two."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.certificates import Authority
from tests.feature.ext_authz.harness import eventually
from tests.ports import free_port
from tests.redis_servers import RedisServer, redis_running


@asynccontextmanager
async def tls_in_front_of(port: int, folder: Path) -> AsyncIterator[tuple[int, Path]]:
    """What ends TLS before a Redis: its port, and the CA to trust."""
    files = Authority(folder).issue("redis")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(copy(reader, behind_writer))
            tasks.create_task(copy(behind_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1], files.ca
    finally:
        server.close()


@dataclass
class Watched:
    """A primary with a replica, which Sentinel promotes when the primary is gone."""

    primary: RedisServer
    replica: RedisServer
    url: str
    """Of the store, by way of the Sentinel."""

    async def promoted(self) -> None:
        """The replica has become the primary."""
        await eventually(lambda: _says(self.replica, b"role:master", "INFO", "replication"))


@asynccontextmanager
async def sentinel_running(binary: str, folder: Path) -> AsyncIterator[Watched]:
    folders = [folder / name for name in ("primary", "replica", "sentinel")]
    for each in folders:
        each.mkdir()
    with (
        redis_running(binary, folders[0]) as primary,
        redis_running(binary, folders[1], "--replicaof", "127.0.0.1", str(primary.port)) as replica,
    ):
        await eventually(lambda: b"master_link_status:up" in replica.command("INFO", "replication"))
        configuration = _sentinel_configuration(primary.port, folders[2])
        port = free_port()
        sentinel = await asyncio.create_subprocess_exec(
            *(binary, str(configuration), "--sentinel", "--port", str(port), "--bind", "127.0.0.1"),
            stdout=asyncio.subprocess.DEVNULL,
        )
        watcher = RedisServer(binary, folders[2], port=port)
        try:
            await eventually(lambda: _says(watcher, b"num-slaves\r\n$1\r\n1", "SENTINEL", "MASTER", "main"))
            yield Watched(primary, replica, f"redis+sentinel://127.0.0.1:{port}/main")
        finally:
            sentinel.kill()
            await sentinel.wait()


def _sentinel_configuration(primary: int, folder: Path) -> Path:
    path = folder / "sentinel.conf"
    path.write_text(
        f"sentinel monitor main 127.0.0.1 {primary} 1\n"
        "sentinel down-after-milliseconds main 300\n"
        "sentinel failover-timeout main 2000\n"
    )
    return path


def _says(server: RedisServer, wanted: bytes, *command: str) -> bool:
    """Not while it starts, nor while Sentinel, which promotes it, closes its connections."""
    try:
        return wanted in server.command(*command)
    except OSError:
        return False
