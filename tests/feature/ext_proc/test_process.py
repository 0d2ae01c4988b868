"""`python -m ext_proc` as a process: readiness, health, workers, NACK, end."""

import asyncio
import signal
from pathlib import Path

import aiohttp
import grpc
from grpc_health.v1 import health_pb2

from control_plane.resource_types import PROCESSING_POLICY
from control_plane.snapshot import Snapshot
from control_plane.xds.store import Store
from control_plane.xds.subscription import Subscription
from protos.gateway.policy.v1 import processing_pb2
from tests.feature.ext_authz.harness import GATEWAY, control_plane, eventually
from tests.feature.ext_authz.test_process import health
from tests.feature.ext_proc.harness import Stream, ext_proc, policy, snapshot


async def test_life_of_a_process() -> None:
    """It is ready with its first policies, answers, shows metrics and ends with status 0 on SIGTERM."""
    async with control_plane() as plane:
        plane.publish(snapshot(policy()))
        async with ext_proc(plane.address) as process:
            ready = await process.line("ready")
            address, admin = str(ready["address"]), str(ready["admin"])
            async with grpc.aio.insecure_channel(address) as channel:
                await Stream(channel, "proc-1").fetches()
                hit = await Stream(channel, "proc-1").asks()
            async with aiohttp.ClientSession() as client:
                statuses = [(await client.get(f"http://{admin}{path}")).status for path in ("/healthz", "/readyz")]
                metrics = await (await client.get(f"http://{admin}/metrics")).text()

            assert b"body" == hit.immediate_response.body
            assert statuses == [200, 200]
            assert 'gateway_cache_requests_total{outcome="hit",route="items"} 1.0' in metrics
            assert health_pb2.HealthCheckResponse.SERVING == await health(address)
            assert 0 == await process.end()


async def test_not_ready_without_policies(tmp_path: Path) -> None:
    """Until the first policies are there it is NOT_SERVING; SIGINT ends it all the same."""
    address = f"unix:{tmp_path}/proc.sock"
    async with ext_proc("127.0.0.1:1", "--address", address) as process:
        assert health_pb2.HealthCheckResponse.NOT_SERVING == await health(address)

        process.process.send_signal(signal.SIGINT)

        assert 0 == await process.process.wait()


async def test_a_policy_that_cannot_be_enforced_is_refused_and_the_last_good_ones_stay() -> None:
    """NACK, with the reason in the log."""
    async with control_plane() as plane:
        plane.publish(snapshot(policy()))
        async with ext_proc(plane.address) as process:
            ready = await process.line("ready")
            bad = policy("proc-2")
            bad.request.remove_headers.append("host")
            plane.publish(snapshot(policy(), bad))
            refused = await process.line("xds_response_rejected")
            async with grpc.aio.insecure_channel(str(ready["address"])) as channel:
                answer = await Stream(channel, "proc-1").asks()

            assert "request.headers.remove.host" in str(refused["reason"])
            assert answer.HasField("request_headers")


async def test_a_transform_that_does_not_compile_is_refused_until_it_is_repaired() -> None:
    """NACK over xDS with policy, rule and reason; the last good version answers on, the repaired one is ACKed."""

    def version(number: str, *fields: str) -> Snapshot:
        """Of a route's policy, whose name tells its content."""
        message = policy(f"proc-{number}")
        message.request.set_headers.add(name="x-version", value=number)
        message.response.body.add().redact.fields.extend(fields)
        return snapshot(message)

    async with control_plane() as plane:
        plane.publish(version("1", "password"))
        async with ext_proc(plane.address) as process:
            ready = await process.line("ready")
            async with grpc.aio.insecure_channel(str(ready["address"])) as channel:

                async def told(policy_name: str) -> str:
                    stream = Stream(channel, policy_name)
                    changes = (await stream.asks("/told")).request_headers.response.header_mutation.set_headers
                    stream.call.cancel()
                    return next(each.header.raw_value.decode() for each in changes if each.header.key == "x-version")

                plane.publish(version("2", "$.users[", "password"))
                await process.line("xds_response_rejected")
                await eventually(lambda: policies_of(plane.store).nack is not None)
                nack = policies_of(plane.store).nack
                while_refused = await told("proc-1")
                plane.publish(version("3", "password"))
                await process.line("policies_updated", 2)
                await eventually(lambda: policies_of(plane.store).outstanding is None)
                served = policies_of(plane.store)
                repaired = await told("proc-3")

    assert nack is not None
    assert "proc-2" in nack.names
    assert nack.message.startswith("proc-2: response.body[0]: '$.users[' is not a JSONPath"), nack.message
    assert ("1", "3") == (while_refused, repaired)
    assert served.version_sent == served.version_acked != nack.version


def policies_of(store: Store) -> Subscription:
    """What the one client of the control plane has said of its policies."""
    (client,) = store.feeds[GATEWAY].clients
    return client.session.subscriptions[PROCESSING_POLICY]


async def test_an_open_exchange_is_finished_before_the_end() -> None:
    """SIGTERM in the middle of a miss: it is stored and answered, then the process ends."""
    async with control_plane() as plane:
        plane.publish(snapshot(policy()))
        async with ext_proc(plane.address) as process:
            ready = await process.line("ready")
            async with grpc.aio.insecure_channel(str(ready["address"])) as channel:
                stream = Stream(channel, "proc-1")
                await stream.asks()
                process.process.terminate()
                ended = asyncio.create_task(process.process.wait())
                await stream.responds({"content-length": "4"})
                last = await stream.sends(b"body")

                assert last.HasField("response_body")
                assert await stream.is_ended()
                assert 0 == await ended


async def test_a_large_body_is_worked_on_to_the_end() -> None:
    """SIGTERM while it is: its client gets it, then the process ends."""
    message = policy()
    message.response.body.add().convert.to.append(processing_pb2.Convert.CSV)
    document = b"[" + b",".join([b'{"id": %d}' % number for number in range(20_000)]) + b"]"
    async with control_plane() as plane:
        plane.publish(snapshot(message))
        async with ext_proc(plane.address) as process:
            ready = await process.line("ready")
            async with grpc.aio.insecure_channel(str(ready["address"])) as channel:
                stream = Stream(channel, "proc-1")
                await stream.asks()
                await stream.responds({"content-length": str(len(document)), "content-type": "application/json"})
                patience = await stream.sends(document)
                process.process.terminate()
                last = await stream.hears()

                assert patience.HasField("override_message_timeout")
                assert b"id\r\n0\r\n1\r\n" == last.response_body.response.body_mutation.body[:10]
                assert await stream.is_ended()
                assert 0 == await process.process.wait()


async def test_workers(tmp_path: Path) -> None:
    """Two workers serve two sockets and end with their parent."""
    async with control_plane() as plane:
        plane.publish(snapshot(policy()))
        arguments = ["--workers", "2", "--address", f"unix:{tmp_path}/proc.sock"]
        async with ext_proc(plane.address, *arguments) as process:
            await process.line("ready", 2)
            for number in range(2):
                async with grpc.aio.insecure_channel(f"unix:{tmp_path}/proc-{number}.sock") as channel:
                    assert (await Stream(channel, "proc-1").asks()).HasField("request_headers")

            assert 0 == await process.end()
