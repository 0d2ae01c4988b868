"""A server's TLS files while it runs, and when certificates expire."""

import threading
from collections.abc import Callable, Iterator, Mapping

from cryptography import x509
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway_runtime.telemetry import logger
from gateway_runtime.transport import TlsFiles, TlsMaterial, TransportFileError


class Renewing:
    """What the files hold, also when they are replaced. What cannot be used is reported once and changes nothing."""

    def __init__(self, files: TlsFiles) -> None:
        """Raises TransportFileError: they cannot be used now."""
        self.files = files
        self._stamp = files.stamp()
        self._material = files.read()
        self._looking = threading.Lock()
        self._log = logger("transport")

    def current(self) -> TlsMaterial:
        """The newest good content, the same object while it does not change. From any thread."""
        with self._looking:
            try:
                stamp = self.files.stamp()
            except TransportFileError:
                return self._material  # in the middle of being replaced
            if stamp != self._stamp:
                self._stamp = stamp
                self._read()
            return self._material

    def _read(self) -> None:
        try:
            self._material = self.files.read()
        except TransportFileError as error:
            self._log.error("certificate_not_renewed", reason=str(error), serving="the last good one")
        else:
            self._log.info("certificate_renewed", file=self.files.certificate_file)


def first_expiry_s(pem: bytes) -> float:
    """When the first certificate of a chain expires, in seconds since 1970. Raises ValueError for what is none."""
    return min(one.not_valid_after_utc.timestamp() for one in x509.load_pem_x509_certificates(pem))


def last_expiry_s(pem: bytes) -> float:
    """When the last CA of a bundle expires: while CAs are changed, old ones may end. Raises ValueError."""
    return max(one.not_valid_after_utc.timestamp() for one in x509.load_pem_x509_certificates(pem))


class CertificateExpiry(Collector):
    """Of the certificates and CAs of our own connections."""

    def __init__(self, sources: Mapping[str, Callable[[], TlsMaterial]]) -> None:
        """
        Args:
            sources: what is used now, by what it is used for; raises TransportFileError if there is nothing.
        """
        self._sources = sources

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "gateway_certificate_expiry_timestamp_seconds",
            "When a certificate of our own connections expires, or the last CA that the other end is believed by.",
            labels=["use", "part"],
        )
        for use, source in sorted(self._sources.items()):
            try:
                material = source()
            except TransportFileError:
                continue  # whoever connects with it says so
            family.add_metric([use, "certificate"], first_expiry_s(material.certificate))
            if material.ca is not None:
                family.add_metric([use, "ca"], last_expiry_s(material.ca))
        yield family


def expiry_of_client(tls: TlsFiles | None) -> CertificateExpiry:
    """What a client of the control plane shows it; None: it connects in plain text."""
    return CertificateExpiry({} if tls is None else {"xds_client": tls.read})
