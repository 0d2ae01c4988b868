"""The HTTP side with TLS and client certificates."""

import os
import ssl
from pathlib import Path

import aiohttp
from prometheus_client import CollectorRegistry

from control_plane.admin.guard import authenticated
from control_plane.admin.http import Protection
from control_plane.admin.tls import HttpTls
from gateway_runtime.admin import admin_app, http_server
from gateway_runtime.transport import TlsFiles
from tests.certificates import Authority


def _client(authority_file: Path, pair: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority_file))
    if pair is not None:
        context.load_cert_chain(str(pair[0]), str(pair[1]))
    return context


async def test_a_client_certificate_is_enough_and_probes_need_none(tmp_path: Path) -> None:
    """mTLS in place of a token; kubelets show no certificate. New files serve without a restart."""
    authority = Authority(tmp_path)
    server, client = authority.issue("server", "localhost"), authority.issue("client", "operator")
    tls = HttpTls(TlsFiles(str(server.certificate), str(server.key), str(server.ca)))
    app = admin_app(CollectorRegistry(), lambda: None)
    app.middlewares.append(authenticated(None, by_certificate=Protection(by_certificate=True).by_certificate))
    async with http_server(app, "127.0.0.1:0", name="HTTP", tls=tls.context) as address:
        url = f"https://localhost:{address.rpartition(':')[2]}"
        async with aiohttp.ClientSession() as session:
            statuses = {}
            for name, context in (
                ("without", _client(server.ca)),
                ("with", _client(server.ca, (client.certificate, client.key))),
            ):
                for path in ("/readyz", "/metrics"):
                    async with session.get(url + path, ssl=context) as answer:
                        statuses[name, path] = answer.status

    assert {
        ("without", "/readyz"): 200,
        ("without", "/metrics"): 401,
        ("with", "/readyz"): 200,
        ("with", "/metrics"): 200,
    } == statuses


def test_files_are_read_again_and_faulty_ones_change_nothing(tmp_path: Path) -> None:
    """A certificate is renewed while the page is open."""
    authority = Authority(tmp_path)
    files = authority.issue("server", "localhost")
    tls = HttpTls(TlsFiles(str(files.certificate), str(files.key), str(files.ca)))
    assert not tls.renew()
    good = files.certificate.read_bytes()
    files.certificate.write_bytes(b"no certificate at all")
    assert not tls.renew()
    files.certificate.write_bytes(good)
    os.utime(files.certificate, ns=(1, 1))
    assert tls.renew()
