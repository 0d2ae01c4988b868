"""Addresses of every kind: TLS, Sentinel with a failover, a login, and those that are none."""

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ext_authz.redis_scripts import open_scripts, usable_scripts
from ext_authz.redis_store import Tuning
from gateway_runtime.redis_client import AddressError
from tests.feature.ext_authz.harness import eventually
from tests.feature.ext_authz.redis_harness import asked, charge, running
from tests.ports import free_port
from tests.redis_servers import RedisServer, redis_running

pytestmark = [pytest.mark.redis, pytest.mark.xdist_group("redis topologies")]

HOUR = 3600
QUICK = Tuning(timeout_s=0.5, probe_interval_s=0.02, announce_interval_s=0.2)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed one for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "redis")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "tls.crt", folder / "tls.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, plain)
    )
    return paths


@asynccontextmanager
async def tls_in_front_of(port: int, folder: Path) -> AsyncIterator[tuple[int, Path]]:
    """What ends TLS before a Redis: its port, and the CA to trust."""
    crt, key = certificate(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(crt, key)

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
        yield server.sockets[0].getsockname()[1], crt
    finally:
        server.close()


async def test_tls(redis: RedisServer, tmp_path: Path) -> None:
    """The certificate is verified: with its CA limits are in Redis, without it that is away."""
    async with tls_in_front_of(redis.port, tmp_path) as (port, ca):
        async with running(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={ca}") as store:
            verdicts = [(await asked(store, charge(2, HOUR))).admitted for _ in range(3)]

            assert ([True, True, False], 0) == (verdicts, store.failures)
        async with running(f"rediss://127.0.0.1:{port}/0", tuning=QUICK) as store:
            assert (await asked(store, charge(2, HOUR))).admitted
            await eventually(lambda: not store.is_up)


def sentinel_configuration(primary: int, folder: Path) -> Path:
    path = folder / "sentinel.conf"
    path.write_text(
        f"sentinel monitor main 127.0.0.1 {primary} 1\n"
        "sentinel down-after-milliseconds main 300\n"
        "sentinel failover-timeout main 2000\n"
    )
    return path


async def test_a_failover_behind_sentinel(redis_server: str, tmp_path: Path) -> None:
    """When the primary dies the limits go on in the replica that Sentinel promotes, with their fill."""
    folders = [tmp_path / name for name in ("primary", "replica", "sentinel")]
    for folder in folders:
        folder.mkdir()
    with (
        redis_running(redis_server, folders[0]) as primary,
        redis_running(redis_server, folders[1], "--replicaof", "127.0.0.1", str(primary.port)) as replica,
    ):
        await eventually(lambda: b"master_link_status:up" in replica.command("INFO", "replication"))
        configuration = sentinel_configuration(primary.port, folders[2])
        port = free_port()
        sentinel = await asyncio.create_subprocess_exec(
            *(redis_server, str(configuration), "--sentinel", "--port", str(port), "--bind", "127.0.0.1"),
            stdout=asyncio.subprocess.DEVNULL,
        )
        watcher = RedisServer(redis_server, folders[2], port=port)
        try:
            await eventually(lambda: _answers(watcher, b"num-slaves\r\n$1\r\n1"))
            async with running(f"redis+sentinel://127.0.0.1:{port}/main", tuning=QUICK) as store:
                spent = charge(3, HOUR, key="spent")
                before = [(await asked(store, spent)).admitted for _ in range(3)]
                await eventually(lambda: b":0" not in replica.command("EXISTS", f"{store_key(store)}"))
                primary.kill()
                await eventually(lambda: b"role:master" in replica.command("INFO", "replication"))
                await asked(store, charge(3, HOUR, key="notices"))
                await eventually(lambda: store.is_up and not store.fallback.debts)

                assert [True] * 3 == before
                assert not (await asked(store, spent)).admitted
                assert store.calls > 0
        finally:
            sentinel.kill()
            await sentinel.wait()


def store_key(store: object) -> str:
    return f"{vars(store)['_prefix']}{{spent}}limit"


def _answers(server: RedisServer, wanted: bytes) -> bool:
    try:
        return wanted in server.command("SENTINEL", "MASTER", "main")
    except OSError:
        return False


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost",
        "redis+sentinel://localhost",
        "redis+sentinel://localhost/main/x",
        "redis+cluster://",
        "redis://localhost:port",
    ],
)
async def test_addresses_that_are_none(url: str) -> None:
    """They are an error without the address in it; a process that has one runs, without Redis."""
    with pytest.raises(AddressError) as raised:
        open_scripts(url)
    assert "localhost" not in str(raised.value)
    async with running(usable_scripts(url), tuning=QUICK) as store:
        assert (await asked(store, charge(2, HOUR))).admitted
        await eventually(lambda: not store.is_up)
