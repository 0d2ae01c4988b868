"""`gatewayctl cache warm`: a list of URLs through the gateway."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from typer.testing import CliRunner

from control_plane.cli.app import app
from control_plane.cli.cache_warming import urls_of


class Gateway(BaseHTTPRequestHandler):
    """Answers by path; a second request finds what the first has stored."""

    asked: ClassVar[list[tuple[str, str, str]]] = []

    def do_GET(self) -> None:
        self.asked.append((self.headers["host"], self.path, self.headers.get("x-tenant", "")))
        line = "edge; hit; ttl=9" if self.asked.count(self.asked[-1]) > 1 else "edge; fwd=uri-miss; stored"
        self.send_response(500 if "broken" in self.path else 200)
        self.send_header("cache-status", "origin; hit, edge; fwd=uri-miss" if "private" in self.path else line)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Nothing."""


@contextmanager
def gateway() -> Iterator[str]:
    Gateway.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_each_url_is_asked_for_once(tmp_path: Path) -> None:
    """Paths go to the gateway as they are, URLs with their own host; the summary tells what became of them."""
    urls = tmp_path / "urls"
    urls.write_text("# popular\n/a?b=1\n\nhttp://api.example.com/b\n/private\n/a?b=1\n")
    with gateway() as url:
        result = CliRunner().invoke(
            app, ["cache", "warm", str(urls), "--gateway", url, "-H", "x-tenant: t", "--concurrency", "1"]
        )
        host = url.removeprefix("http://")

    assert (0, "4 URLs: 1 hit, 1 not stored, 2 stored\n") == (result.exit_code, result.stdout)
    assert [(host, "/a?b=1"), ("api.example.com", "/b"), (host, "/private"), (host, "/a?b=1")] == [
        (asked_host, path) for asked_host, path, _ in Gateway.asked
    ]
    assert {"t"} == {tenant for *_, tenant in Gateway.asked}


def test_failures_are_named(tmp_path: Path) -> None:
    """Exit 1, and the others are warmed all the same."""
    urls = tmp_path / "urls"
    urls.write_text("/broken\n/a\n")
    with gateway() as url:
        result = CliRunner().invoke(app, ["cache", "warm", str(urls), "--gateway", url])

    assert (1, "2 URLs: 1 failed, 1 stored\n") == (result.exit_code, result.stdout)
    assert f"{url}/broken: 500\n" == result.stderr


def test_a_gateway_that_is_away(tmp_path: Path) -> None:
    """One line for each URL, without a traceback."""
    urls = tmp_path / "urls"
    urls.write_text("/a\n")
    with gateway() as url:
        pass
    result = CliRunner().invoke(app, ["cache", "warm", str(urls), "--gateway", url])

    assert (1, "1 URLs: 1 failed\n") == (result.exit_code, result.stdout)
    assert "refused" in result.stderr


@pytest.mark.parametrize("line", ["items", "ftp://host/a", "http:///a"])
def test_lines_that_are_no_urls(line: str) -> None:
    """They are named with their number."""
    with pytest.raises(ValueError, match="line 2: "):
        urls_of(["/a", line], "http://127.0.0.1:10000")


def test_bad_usage(tmp_path: Path) -> None:
    """A file that is not there, a header that is none: exit 2."""
    missing = CliRunner().invoke(app, ["cache", "warm", str(tmp_path / "missing")])
    header = CliRunner().invoke(app, ["cache", "warm", "-", "-H", "nonsense"], input="")

    assert (2, 2) == (missing.exit_code, header.exit_code)
    assert "missing" in missing.stderr
