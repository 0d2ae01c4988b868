"""gatewayctl diff."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from typer.testing import CliRunner

from control_plane.admin.resources import resources
from control_plane.cli.app import app
from control_plane.cli.loaded import load_file
from control_plane.translate import translate
from tests.unit.control_plane.cli.test_render import CONFIGURATION

EDITED = CONFIGURATION.replace("port: 8101", "port: 8102").replace(
    "services: {", "services: {events: {endpoints: [{address: 127.0.0.1, port: 8103}]}, "
)


def _write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def _run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["diff", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_what_an_edit_adds_and_changes(tmp_path: Path) -> None:
    """One line each."""
    status, output, _ = _run(_write(tmp_path, "old", CONFIGURATION), _write(tmp_path, "new", EDITED))

    assert 0 == status
    assert [
        "+ Cluster events",
        "+ ClusterLoadAssignment events",
        "~ ClusterLoadAssignment users",
    ] == output.splitlines()


def test_what_an_edit_removes(tmp_path: Path) -> None:
    """As JSON, for programs."""
    _, output, _ = _run(_write(tmp_path, "old", EDITED), _write(tmp_path, "new", CONFIGURATION), "-o", "json")

    assert {"Cluster": ["events"], "ClusterLoadAssignment": ["events"]} == json.loads(output)["removed"]


def test_equal_files(tmp_path: Path) -> None:
    """A comment is no difference."""
    files = _write(tmp_path, "old", CONFIGURATION), _write(tmp_path, "new", CONFIGURATION + "# more\n")

    assert (0, "", "no difference\n") == _run(*files)


def test_against_the_running_gateway(tmp_path: Path) -> None:
    """It is asked by the name in the file."""
    with _running(_write(tmp_path, "old", CONFIGURATION)) as server:
        status, output, _ = _run(_write(tmp_path, "new", EDITED), "--server", server)

    assert 0 == status
    assert [
        "+ Cluster events",
        "+ ClusterLoadAssignment events",
        "~ ClusterLoadAssignment users",
    ] == output.splitlines()


def test_no_running_gateway(tmp_path: Path) -> None:
    """Exit status 1 and a line."""
    status, _, error = _run(_write(tmp_path, "new", EDITED), "--server", "http://127.0.0.1:1")

    assert 1 == status
    assert "no control plane at http://127.0.0.1:1" in error


def test_three_files(tmp_path: Path) -> None:
    """Are bad usage."""
    assert 2 == _run("a", "b", "c")[0]


@contextmanager
def _running(file: str) -> Iterator[str]:
    """The part of a control plane's HTTP side that is asked."""
    body = _resources_of(file)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert "/api/resources?gateway=test" == self.path
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, name="http")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _resources_of(file: str) -> bytes:
    loaded = load_file(file, None)
    assert loaded.gateway is not None
    return json.dumps({"gateways": {"test": resources(translate(loaded.gateway, {}, loaded.materials))}}).encode()
