"""python -m control_plane as operators and supervisors see it."""

import asyncio
import re
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from tests.certificates import Authority
from tests.feature.xds.test_reconciler import FAULTY, GOOD
from tests.ports import free_port, free_ports

LIMIT_S = 30.0


@asynccontextmanager
async def control_plane(config: Path, xds: int, http: int, *flags: str) -> AsyncIterator[Process]:
    """The process; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "control_plane", "--config", str(config)),
        *("--xds-address", f"127.0.0.1:{xds}", "--http-address", f"127.0.0.1:{http}", *flags),
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def ended(process: Process) -> tuple[int, list[str]]:
    """Exit status and lines of stderr."""
    async with asyncio.timeout(LIMIT_S):
        _, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, errors.decode().splitlines()


async def get(http: int, path: str) -> tuple[int, str]:
    """Ask until somebody answers."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(LIMIT_S):
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{http}{path}") as answer:
                    return answer.status, await answer.text()
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)


async def test_it_serves_tells_how_it_is_and_ends_on_sigterm(tmp_path: Path) -> None:
    """Exit status 0, and the last good configuration is kept."""
    config, first = tmp_path / "gateway.yaml", free_ports(2)
    config.write_text(GOOD)
    async with control_plane(config, first, first + 1, "--state-dir", str(tmp_path / "state")) as process:
        assert (200, "ok\n") == await get(first + 1, "/healthz")
        while (await get(first + 1, "/readyz"))[0] != 200:  # noqa: ASYNC110 - another process sets no event here
            await asyncio.sleep(0.05)
        _, metrics = await get(first + 1, "/metrics")
        _, status = await get(first + 1, "/api/status")
        process.send_signal(signal.SIGTERM)
        code, lines = await ended(process)

    assert 0 == code, lines
    assert "gateway_config_valid 1.0" in metrics
    assert '"name":"meetinity"' in status
    assert (tmp_path / "state" / "last-good.json").exists()


async def test_it_tells_when_its_own_certificate_expires(tmp_path: Path) -> None:
    """And the CA's, by which it believes its clients."""
    config, first = tmp_path / "gateway.yaml", free_ports(2)
    config.write_text(GOOD)
    files = Authority(tmp_path).issue("server", days=30)
    flags = ("--xds-ca", str(files.ca), "--xds-cert", str(files.certificate), "--xds-key", str(files.key))
    async with control_plane(config, first, first + 1, *flags):
        _, metrics = await get(first + 1, "/metrics")
    found = {
        part: round((float(value) - time.time()) / 86_400)
        for part, value in re.findall(
            r'^gateway_certificate_expiry_timestamp_seconds\{part="(\w+)",use="xds"\} (\S+)$', metrics, re.MULTILINE
        )
    }

    assert {"certificate": 30, "ca": 1} == found


async def test_a_faulty_file_at_the_first_start_is_told_and_exits_with_2(tmp_path: Path) -> None:
    """Each fault in a line of its own, without a traceback."""
    config, first = tmp_path / "gateway.yaml", free_ports(2)
    config.write_text(FAULTY)
    async with control_plane(config, first, first + 1) as process:
        code, lines = await ended(process)

    assert 2 == code
    assert 1 == len(lines)
    assert lines[0].startswith(f"{config}:8:")
    assert "absent" in lines[0]


async def test_a_taken_port_is_told_in_one_line_and_exits_with_1(tmp_path: Path) -> None:
    """By name and number."""
    config, taken = tmp_path / "gateway.yaml", free_port()
    config.write_text(GOOD)
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", taken)
    async with server, control_plane(config, taken, free_port()) as process:
        code, lines = await ended(process)

    assert (1, [f"xDS: cannot listen on 127.0.0.1:{taken}: Address already in use"]) == (code, lines)


async def test_http_reachable_from_elsewhere_wants_a_token(tmp_path: Path) -> None:
    """The status tells names and faults."""
    config = tmp_path / "gateway.yaml"
    config.write_text(GOOD)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "control_plane", "--config", str(config), "--http-address", "0.0.0.0:0"), stderr=PIPE
    )
    code, lines = await ended(process)

    assert 2 == code
    assert "GATEWAY_TOKEN" in lines[0]
