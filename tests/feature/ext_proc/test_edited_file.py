"""A file with a transform, edited: from its text over real xDS to what a real ext_proc does."""

from pathlib import Path

import grpc

from control_plane.resource_types import PROCESSING_POLICY
from tests.feature.ext_authz.harness import GATEWAY, ControlPlane, control_plane, eventually
from tests.feature.ext_proc.harness import Stream, ext_proc
from tests.feature.xds.test_reconciler import Setup

FILE = """\
version: 1
name: test
listeners: [{name: public, address: 127.0.0.1, port: 10000, client_ip: {trusted_hops: 0}}]
services: {api: {endpoints: [{address: 127.0.0.1, port: 1}]}}
routes:
  - name: items
    match: {path_prefix: /}
    service: api
    auth: none
    transform:
      request: {headers: {set: {x-version: "1"}}}
      response:
        body:
          - {type: redact, fields: [password]}
"""


async def test_a_transform_that_cannot_compile_changes_nothing(tmp_path: Path) -> None:
    """It is refused with file, line and reason; the last good one is followed on, and the repaired one is ACKed."""
    async with control_plane() as plane:
        setup = Setup(tmp_path, store=plane.store)
        setup.path.write_text(FILE)
        async with setup.running(), ext_proc(plane.address) as process:
            ready = await process.line("ready")
            async with grpc.aio.insecure_channel(str(ready["address"])) as channel:
                (name,) = policies(plane)
                first = await followed(channel, name)
                setup.path.write_text(FILE.replace("[password]", "['$.users[']").replace('"1"', '"2"'))
                await eventually(lambda: not setup.is_valid())
                faults = setup.reconciler.status.faults
                while_faulty = policies(plane), await followed(channel, name)
                setup.path.write_text(FILE.replace('"1"', '"3"'))
                await process.line("policies_updated", 2)
                (new,) = policies(plane) - {name}
                repaired = await followed(channel, new)
                await eventually(lambda: is_acknowledged(plane))

    assert ("1", ({name}, "1"), "3") == (first, while_faulty, repaired)
    (fault,) = faults
    assert f"{setup.path}:14:" in fault
    assert "'$.users[' is not a JSONPath" in fault


def policies(plane: ControlPlane) -> set[str]:
    """Those that are served: an old one for a while too."""
    return set(plane.store.feeds[GATEWAY].current.snapshot.of_type(PROCESSING_POLICY))


async def followed(channel: grpc.aio.Channel, name: str) -> str:
    """The version that the service would be told under a policy."""
    stream = Stream(channel, name)
    changes = (await stream.asks()).request_headers.response.header_mutation.set_headers
    stream.call.cancel()
    return next(each.header.raw_value.decode() for each in changes if each.header.key == "x-version")


def is_acknowledged(plane: ControlPlane) -> bool:
    (client,) = plane.store.feeds[GATEWAY].clients
    told = client.session.subscriptions[PROCESSING_POLICY]
    return told.version_sent == told.version_acked and told.nack is None
