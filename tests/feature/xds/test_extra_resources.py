"""Envoy's own resources from files beside gateway.yaml, over real streams."""

from collections.abc import Callable
from pathlib import Path

import pytest
from envoy.service.discovery.v3 import discovery_pb2

from control_plane.config_file import DiskFiles, Recording
from control_plane.extra_resources import ExtraResourceError, extra_resources
from control_plane.resource_types import EXTENSION_CONFIG, EXTRA, RUNTIME, VIRTUAL_HOST
from control_plane.snapshot import Resource
from control_plane.validation.field_rules import FieldRules
from tests.feature.xds.probe import channel, delta, node, sotw
from tests.feature.xds.serving import Serving

GOOD = """
resources:
  - "@type": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig
    name: lua
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
      default_source_code: {inline_string: "function envoy_on_request(h) end"}
  - "@type": type.googleapis.com/envoy.service.runtime.v3.Runtime
    name: rt
    layer: {some.feature: 7}
  - "@type": type.googleapis.com/envoy.service.discovery.v3.Resource
    name: public/api
    resource:
      "@type": type.googleapis.com/envoy.config.route.v3.VirtualHost
      name: api
      domains: [api.example.com]
"""
_EXTENSIONS = "/envoy.service.extension.v3.ExtensionConfigDiscoveryService/StreamExtensionConfigs"
_HOSTS = "/envoy.service.route.v3.VirtualHostDiscoveryService/DeltaVirtualHosts"
Write = Callable[..., tuple[Resource, ...]]


@pytest.fixture
def read(tmp_path: Path) -> Write:
    def write_and_read(gateway: str = "meetinity", **texts: str) -> tuple[Resource, ...]:
        for name, text in texts.items():
            path = tmp_path / "extra_resources" / f"{name.replace('__', '/')}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return extra_resources(str(tmp_path / "gateway.yaml"), gateway, DiskFiles(), FieldRules())

    return write_and_read


async def test_ecds_rtds_and_vhds_are_served(xds: Serving, read: Write) -> None:
    """Aggregated, and by the services of their types."""
    xds.publish(*read(all=GOOD))
    async with channel(xds.address) as opened:
        extensions = sotw(opened, method=_EXTENSIONS)
        await extensions.subscribe("", "lua")
        hosts = delta(opened, method=_HOSTS)
        await hosts.subscribe("", "public/api")
        aggregated = delta(opened)
        await aggregated.subscribe(RUNTIME, "rt")

        assert EXTENSION_CONFIG == (await extensions.receive()).resources[0].type_url
        assert ["public/api"] == [one.name for one in (await hosts.receive()).resources]
        assert ["rt"] == [one.name for one in (await aggregated.receive()).resources]


TTL = """
resources:
  - "@type": type.googleapis.com/envoy.service.discovery.v3.Resource
    name: rt
    ttl: {ttl}
    resource: {{"@type": type.googleapis.com/envoy.service.runtime.v3.Runtime, name: rt, layer: {{a: 1}}}}
"""


async def test_a_ttl_is_served_to_who_takes_it(xds: Serving, read: Write) -> None:
    """Incremental: always; state of the world: in a wrapper, if the client says that it takes wrappers."""
    xds.publish(*read(all=TTL.format(ttl="60s")))
    wrapper = discovery_pb2.Resource()
    async with channel(xds.address) as opened:
        incremental = delta(opened)
        await incremental.subscribe(RUNTIME, "rt")
        (one,) = (await incremental.receive()).resources
        assert 60 == one.ttl.seconds
        plain = sotw(opened)
        await plain.subscribe(RUNTIME, "rt")
        assert RUNTIME == (await plain.receive()).resources[0].type_url
        sender = node()
        sender.client_features.append("xds.config.resource-in-sotw")
        knowing = sotw(opened, sender)
        await knowing.subscribe(RUNTIME, "rt")
        assert (await knowing.receive()).resources[0].Unpack(wrapper)

    assert ("rt", 60) == (wrapper.name, wrapper.ttl.seconds)


def test_a_short_ttl_is_refused(read: Write) -> None:
    """A heartbeat may be 5 s late."""
    with pytest.raises(ExtraResourceError, match="ttl: 9s is too short \\(at least 10s\\)"):
        read(all=TTL.format(ttl="9s"))


def test_all_types_are_read(read: Write) -> None:
    """Each with its name; the wrapper's wins."""
    expected = {(EXTENSION_CONFIG, "lua"), (RUNTIME, "rt"), (VIRTUAL_HOST, "public/api")}

    found = read(all=GOOD)
    assert expected == {(one.type_url, one.name) for one in found}
    assert EXTRA >= {one.type_url for one in found}


def test_a_folder_of_a_gateway_is_for_that_gateway(read: Write) -> None:
    """Files beside it are for all."""
    assert 3 == len(read("edge", edge__one=GOOD))
    assert () == read("other")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("resources: {", "no YAML"),
        ("other: []", "`resources:` and a list is wanted"),
        ("resources: [1]", "@type is wanted"),
        ('resources: [{"@type": type.googleapis.com/envoy.no.such.Type}]', "no message type"),
        (
            'resources: [{"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: a}]',
            "is not served from here",
        ),
        ('resources: [{"@type": type.googleapis.com/envoy.service.runtime.v3.Runtime, nam: a}]', "no field 'nam'"),
        ('resources: [{"@type": type.googleapis.com/envoy.service.runtime.v3.Runtime}]', "name: has to"),
        ('resources: [{"@type": type.googleapis.com/envoy.config.route.v3.VirtualHost, name: a}]', "domains"),
        (GOOD + GOOD.replace("resources:\n", ""), "resources[3]: 'lua' is in"),
    ],
)
def test_a_faulty_file_is_told_with_its_place(read: Write, text: str, told: str) -> None:
    """One line with path and index."""
    with pytest.raises(ExtraResourceError) as caught:
        read(bad=text)

    assert told in str(caught.value)
    assert "bad.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_files_are_watched(tmp_path: Path) -> None:
    """A file that appears later is a change."""
    recording = Recording()
    extra_resources(str(tmp_path / "gateway.yaml"), "meetinity", recording, FieldRules())
    assert recording.is_current()
    (tmp_path / "extra_resources").mkdir()
    (tmp_path / "extra_resources" / "a.yaml").write_text(GOOD)

    assert not recording.is_current()
