"""`python -m ext_authz` as a process: readiness, health, workers, end."""

import os
import signal
from pathlib import Path

import aiohttp
import grpc
from grpc_health.v1 import health_pb2

from tests.feature.ext_authz.harness import check, control_plane, ext_authz, snapshot
from tests.unit.ext_authz.fixtures import authz_policy, check_request, rate_limit


async def health(address: str) -> int:
    async with grpc.aio.insecure_channel(address) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/grpc.health.v1.Health/Check")
        return int(health_pb2.HealthCheckResponse.FromString(await call(b"", timeout=10, wait_for_ready=True)).status)


async def test_life_of_a_process() -> None:
    """It is ready with its first policies, answers, shows metrics and ends with status 0 on SIGTERM."""
    async with control_plane() as plane:
        plane.publish(snapshot(authz_policy("authz-1")))
        async with ext_authz(plane.address) as process:
            ready = await process.line("ready")
            address, admin = str(ready["address"]), str(ready["admin"])
            answer = await check(address, check_request(policy="authz-1"))
            async with aiohttp.ClientSession() as client:
                statuses = [(await client.get(f"http://{admin}{path}")).status for path in ("/healthz", "/readyz")]
                metrics = await (await client.get(f"http://{admin}/metrics")).text()

            assert answer.status == 200
            assert statuses == [200, 200]
            assert 'gateway_authz_decisions_total{reason="ok",route="users"} 1.0' in metrics
            assert await health(address) == health_pb2.HealthCheckResponse.SERVING
            assert await process.end() == 0


async def test_not_ready_without_policies(tmp_path: Path) -> None:
    """Until the first policies are there it is NOT_SERVING; SIGINT ends it all the same."""
    address = f"unix:{tmp_path}/authz.sock"
    async with ext_authz("127.0.0.1:1", "--address", address) as process:
        assert await health(address) == health_pb2.HealthCheckResponse.NOT_SERVING

        process.process.send_signal(signal.SIGINT)

        assert await process.process.wait() == 0


async def test_workers(tmp_path: Path) -> None:
    """Two workers serve two sockets, divide the limits, are started again when they die and end with their parent."""
    async with control_plane() as plane:
        plane.publish(snapshot(authz_policy("authz-1", rate_limits=[rate_limit("all", 10, 3600, key=[])])))
        arguments = ["--workers", "2", "--address", f"unix:{tmp_path}/authz.sock", "--admin-address", "127.0.0.1:0"]
        async with ext_authz(plane.address, *arguments) as process:
            await process.line("ready", 2)
            addresses = [f"unix:{tmp_path}/authz-{number}.sock" for number in range(2)]
            statuses = [
                [(await check(address, check_request(policy="authz-1"))).status for _ in range(6)]
                for address in addresses
            ]
            _kill_one_worker(process.process.pid)
            await process.line("ready", 3)
            after = [(await check(address, check_request(policy="authz-1"))).status for address in addresses]

            assert statuses == [[200] * 5 + [429]] * 2
            assert sorted(after) == [200, 429]
            assert await process.end() == 0


def _kill_one_worker(parent: int) -> None:
    """Kill the first child of our own process, by its id."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
