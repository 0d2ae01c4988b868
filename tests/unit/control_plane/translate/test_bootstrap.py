"""Envoy's bootstrap."""

from dataclasses import replace

from envoy.config.core.v3 import config_source_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2

from control_plane.translate.bootstrap import BootstrapSettings, MutualTls, bootstrap, static_bootstrap

SETTINGS = BootstrapSettings(name="meetinity", node_id="edge-1", xds_host="control-plane", xds_port=18000)


def test_everything_comes_over_one_delta_stream() -> None:
    """node.cluster is the gateway's name; clusters and listeners come over delta ADS and are waited for."""
    message = bootstrap(SETTINGS)
    dynamic = message.dynamic_resources

    assert ("meetinity", "edge-1") == (message.node.cluster, message.node.id)
    assert config_source_pb2.ApiConfigSource.DELTA_GRPC == dynamic.ads_config.api_type
    for source in (dynamic.cds_config, dynamic.lds_config):
        assert source.HasField("ads")
        assert (True, 0) == (source.HasField("initial_fetch_timeout"), source.initial_fetch_timeout.ToNanoseconds())


def test_admin_is_on_loopback_and_only_status_is_shown() -> None:
    """The admin interface binds to loopback; outside of the machine two of its paths can be read."""
    message = bootstrap(SETTINGS)
    (status,) = message.static_resources.listeners

    assert "127.0.0.1" == message.admin.address.socket_address.address
    assert (9902, "0.0.0.0") == (
        status.address.socket_address.port_value,
        status.address.socket_address.address,
    )


def test_mutual_tls_proves_the_control_planes_name() -> None:
    """With certificates the stream is encrypted both ways, and the server has to be who it is asked for as."""
    settings = replace(SETTINGS, mutual_tls=MutualTls("ca.crt", "tls.crt", "tls.key"))
    xds = next(c for c in bootstrap(settings).static_resources.clusters if c.name == "xds")
    context = tls_pb2.UpstreamTlsContext.FromString(xds.transport_socket.typed_config.value)
    validation = context.common_tls_context.validation_context

    assert "control-plane" == context.sni == validation.match_typed_subject_alt_names[0].matcher.exact
    assert "ca.crt" == validation.trusted_ca.filename


def test_an_envoy_with_a_zone_knows_the_other_envoys() -> None:
    """They come over EDS, for which the start does not wait longer than a second; without a zone nothing is asked."""
    message = bootstrap(replace(SETTINGS, zone="eu-west-1a"))
    local = message.static_resources.clusters[-1]

    assert "eu-west-1a" == message.node.locality.zone
    assert message.cluster_manager.local_cluster_name == local.name
    assert 1 == local.eds_cluster_config.eds_config.initial_fetch_timeout.seconds
    assert not bootstrap(SETTINGS).HasField("cluster_manager")


def test_a_static_bootstrap_asks_nobody() -> None:
    """Without a control plane there is no cluster for one."""
    message = static_bootstrap(SETTINGS)

    assert not message.HasField("dynamic_resources")
    assert ["admin"] == [cluster.name for cluster in message.static_resources.clusters]
