"""A server's TLS files while it runs, and when certificates expire."""

import os
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from gateway_runtime.certificates import CertificateExpiry, Renewing, expiry_of_client
from gateway_runtime.transport import TlsFiles, TransportFileError
from tests.certificates import Authority, Files

DAY_S = 86_400
NAME = "gateway_certificate_expiry_timestamp_seconds"


def _tls(files: Files) -> TlsFiles:
    return TlsFiles(str(files.certificate), str(files.key), str(files.ca))


def _days(registry: CollectorRegistry, use: str, part: str) -> int | None:
    """Until it expires, as the metric has it."""
    at_s = registry.get_sample_value(NAME, {"use": use, "part": part})
    return None if at_s is None else round((at_s - time.time()) / DAY_S)


def test_the_metric_is_of_what_is_served(tmp_path: Path) -> None:
    """A renewed certificate moves it; one that cannot be used does not; its CA has one of its own."""
    authority = Authority(tmp_path)
    files = authority.issue("server", days=10)
    tls = Renewing(_tls(files))
    registry = CollectorRegistry()
    registry.register(CertificateExpiry({"xds": tls.current}))
    assert (10, 1) == (_days(registry, "xds", "certificate"), _days(registry, "xds", "ca"))

    authority.issue("server", days=40)
    os.utime(files.certificate, ns=(1, 1))
    assert 40 == _days(registry, "xds", "certificate")

    files.certificate.write_bytes(b"half")
    assert 40 == _days(registry, "xds", "certificate")


def test_of_a_chain_it_is_the_first_to_expire_of_cas_the_last(tmp_path: Path) -> None:
    """An intermediate ends a chain; an old CA beside a new one does not."""
    authority, old = Authority(tmp_path), Authority(tmp_path, "old")
    files = authority.issue("server", days=40)
    newer = old.issue("newer", days=90)
    files.certificate.write_bytes(files.certificate.read_bytes() + old.issue("other", days=7).certificate.read_bytes())
    files.ca.write_bytes(files.ca.read_bytes() + newer.certificate.read_bytes())
    registry = CollectorRegistry()
    registry.register(CertificateExpiry({"xds": Renewing(_tls(files)).current}))

    assert (7, 90) == (_days(registry, "xds", "certificate"), _days(registry, "xds", "ca"))


def test_a_client_has_one_too(tmp_path: Path) -> None:
    """Read when asked; without a file, or in plain text, there is no value."""
    files = Authority(tmp_path).issue("client", days=20)
    registry, plain = CollectorRegistry(), CollectorRegistry()
    registry.register(expiry_of_client(_tls(files)))
    plain.register(expiry_of_client(None))
    assert (20, None) == (_days(registry, "xds_client", "certificate"), _days(plain, "xds_client", "certificate"))

    files.key.unlink()
    assert _days(registry, "xds_client", "certificate") is None


def test_files_that_cannot_be_used_at_the_start_are_refused(tmp_path: Path) -> None:
    """There is no last good content yet."""
    files = Authority(tmp_path).issue("server")
    files.key.write_bytes(b"")
    with pytest.raises(TransportFileError, match="no PEM private key"):
        Renewing(_tls(files))


def test_content_is_the_same_object_until_it_changes(tmp_path: Path) -> None:
    """That is how servers know that there is something new."""
    files = Authority(tmp_path).issue("server")
    tls = Renewing(_tls(files))
    before = tls.current()
    assert tls.current() is before
    files.key.unlink()
    assert tls.current() is before
