"""When the certificates expire that Envoys get as Secrets."""

from collections.abc import Iterator
from contextlib import suppress

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from control_plane.resource_types import SECRET
from control_plane.snapshot import ResourceMap
from control_plane.xds.store import Store
from gateway_runtime.certificates import first_expiry_s


def first_to_expire_s(secrets: ResourceMap) -> float | None:
    """When the first of them expires, in seconds since 1970; None: there is none."""
    found = []
    for resource in secrets.values():
        secret = secret_pb2.Secret.FromString(resource.body)
        if secret.HasField("tls_certificate"):
            with suppress(ValueError):  # added by hand, it may be anything that Envoy understands
                found.append(first_expiry_s(secret.tls_certificate.certificate_chain.inline_bytes))
    return min(found, default=None)


class ServedCertificates(Collector):
    """Looks when somebody asks; Secrets that are still the same are not parsed again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[ResourceMap, float | None]] = {}
        """By gateway: the Secrets that were looked at, and what was found."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "gateway_served_certificate_expiry_timestamp_seconds",
            "When the first of the certificates expires that Envoys get for listeners and services.",
            labels=["gateway"],
        )
        self._known = {
            name: self._looked_at(name, feed.current.snapshot.of_type(SECRET))
            for name, feed in self._store.feeds.items()
        }
        for name, (_, expiry_s) in self._known.items():
            if expiry_s is not None:
                family.add_metric([name], expiry_s)
        yield family

    def _looked_at(self, gateway: str, secrets: ResourceMap) -> tuple[ResourceMap, float | None]:
        known = self._known.get(gateway)
        return known if known is not None and known[0] is secrets else (secrets, first_to_expire_s(secrets))
