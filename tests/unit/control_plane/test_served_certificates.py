"""When certificates expire that Envoys get over SDS."""

import time
from pathlib import Path

from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2
from prometheus_client import CollectorRegistry

from control_plane.served_certificates import ServedCertificates
from control_plane.snapshot import Resource, Snapshot
from control_plane.xds.store import Store
from tests.certificates import Authority

NAME = "gateway_served_certificate_expiry_timestamp_seconds"


def _secret(name: str, chain: bytes) -> Resource:
    certificate = common_pb2.TlsCertificate(certificate_chain=base_pb2.DataSource(inline_bytes=chain))
    return Resource.of(name, secret_pb2.Secret(name=name, tls_certificate=certificate))


def _other() -> Resource:
    value = base_pb2.DataSource(inline_bytes=b"s3cret")
    return Resource.of("jwt", secret_pb2.Secret(name="jwt", generic_secret=secret_pb2.GenericSecret(secret=value)))


def test_the_first_to_expire_of_each_gateway(tmp_path: Path) -> None:
    """Other secrets, and what is no certificate, are passed over; a renewed one moves the metric."""
    authority = Authority(tmp_path)
    pems = {days: authority.issue(f"c{days}", days=days).certificate.read_bytes() for days in (5, 30, 60)}
    store, registry = Store(), CollectorRegistry()
    registry.register(ServedCertificates(store))
    store.publish("edge", Snapshot.of([_secret("a", pems[30]), _secret("b", pems[5]), _other(), _secret("c", b"-")]))
    store.publish("inner", Snapshot.of([_secret("a", pems[60])]))
    store.publish("plain", Snapshot.of([_other()]))

    def days(gateway: str) -> int | None:
        at_s = registry.get_sample_value(NAME, {"gateway": gateway})
        return None if at_s is None else round((at_s - time.time()) / 86_400)

    assert [5, 60, None] == [days(name) for name in ("edge", "inner", "plain")]
    store.publish("edge", Snapshot.of([_secret("a", pems[30]), _secret("b", pems[60])]))
    assert 30 == days("edge")
